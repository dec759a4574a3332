"""Every call that clients may make, and whether it reads or writes.

The table is the allow list: what MLflow serves beyond it (AI gateway, assistant, webhooks, jobs, scorers
that run code, presigned and multipart uploads, workspace administration) is not offered at all, and a
route that a later MLflow adds stays closed until somebody adds it here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Access(Enum):
    READ = "read"
    WRITE = "write"


class Kind(Enum):
    """Who answers: MLflow's Flask application, or one of the handlers of this package."""

    FLASK = "flask"
    PAGE = "page"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    SPANS = "spans"
    SERVER_INFO = "server_info"
    WORKSPACES = "workspaces"


@dataclass(frozen=True, slots=True)
class Route:
    """One call. `operation` is its path below the API version, by which guards know it."""

    method: str
    path: str
    access: Access
    kind: Kind = Kind.FLASK
    operation: str = ""

    @property
    def carries_json(self) -> bool:
        return self.kind is Kind.FLASK and self.method != "GET" and self.operation != "upload-artifact"


# Below /api/<version>/mlflow and /ajax-api/<version>/mlflow. `*` stands for one path segment.
_READS = """
2.0 GET  experiments/get
2.0 GET  experiments/get-by-name
2.0 GET  experiments/search
2.0 POST experiments/search
2.0 GET  runs/get
2.0 POST runs/search
2.0 GET  metrics/get-history
2.0 GET  metrics/get-history-bulk-interval
2.0 GET  artifacts/list
2.0 GET  logged-models/*
2.0 GET  logged-models/*/artifacts/directories
2.0 POST logged-models/search
2.0 GET  registered-models/get
2.0 GET  registered-models/search
2.0 GET  registered-models/get-latest-versions
2.0 POST registered-models/get-latest-versions
2.0 GET  registered-models/alias
2.0 GET  model-versions/get
2.0 GET  model-versions/get-download-uri
2.0 GET  model-versions/search
3.0 GET  traces/*
3.0 GET  traces/get
3.0 GET  traces/batchGet
3.0 POST traces/batchGetInfos
3.0 POST traces/search
3.0 POST traces/metrics
3.0 POST traces/calculate-filter-correlation
3.0 GET  traces/*/assessments/*
3.0 GET  datasets/*
3.0 GET  datasets/*/records
3.0 GET  datasets/*/experiment-ids
3.0 GET  datasets/search
3.0 POST datasets/search
3.0 GET  scorers/list
"""

_WRITES = """
2.0 POST   experiments/create
2.0 POST   experiments/update
2.0 POST   experiments/delete
2.0 POST   experiments/restore
2.0 POST   experiments/set-experiment-tag
2.0 POST   experiments/delete-experiment-tag
2.0 POST   runs/create
2.0 POST   runs/update
2.0 POST   runs/delete
2.0 POST   runs/restore
2.0 POST   runs/log-metric
2.0 POST   runs/log-parameter
2.0 POST   runs/log-batch
2.0 POST   runs/log-inputs
2.0 POST   runs/log-model
2.0 POST   runs/outputs
2.0 POST   runs/set-tag
2.0 POST   runs/delete-tag
2.0 POST   logged-models
2.0 PATCH  logged-models/*
2.0 DELETE logged-models/*
2.0 POST   logged-models/*/params
2.0 PATCH  logged-models/*/tags
2.0 DELETE logged-models/*/tags/*
2.0 POST   registered-models/create
2.0 POST   registered-models/rename
2.0 PATCH  registered-models/update
2.0 DELETE registered-models/delete
2.0 POST   registered-models/set-tag
2.0 DELETE registered-models/delete-tag
2.0 POST   registered-models/alias
2.0 DELETE registered-models/alias
2.0 POST   model-versions/create
2.0 PATCH  model-versions/update
2.0 DELETE model-versions/delete
2.0 POST   model-versions/transition-stage
2.0 POST   model-versions/set-tag
2.0 DELETE model-versions/delete-tag
2.0 PATCH  traces/*/tags
2.0 DELETE traces/*/tags
2.0 POST   traces/delete-traces
2.0 POST   traces/link-to-run
2.0 POST   traces/link-prompts
3.0 POST   traces
3.0 POST   traces/delete-traces
3.0 PATCH  traces/*/tags
3.0 DELETE traces/*/tags
3.0 POST   traces/*/assessments
3.0 PATCH  traces/*/assessments/*
3.0 DELETE traces/*/assessments/*
3.0 POST   datasets/create
3.0 DELETE datasets/*
3.0 POST   datasets/*/records
3.0 DELETE datasets/*/records
3.0 POST   datasets/*/add-experiments
3.0 POST   datasets/*/remove-experiments
3.0 PATCH  datasets/*/tags
3.0 DELETE datasets/*/tags/*
"""


def _api_routes() -> list[Route]:
    routes = []
    for access, table in ((Access.READ, _READS), (Access.WRITE, _WRITES)):
        for line in table.split("\n"):
            if line:
                version, method, operation = line.split()
                routes += [
                    Route(method, f"/{api}/{version}/mlflow/{operation}", access, operation=operation)
                    for api in ("api", "ajax-api")
                ]
    return routes


def _other_routes() -> list[Route]:
    read, write = Access.READ, Access.WRITE
    routes = [
        Route("GET", "/", read, Kind.PAGE),
        Route("GET", "/static-files/**", read, Kind.PAGE),
        Route("GET", "/version", read, Kind.PAGE),
        Route("GET", "/get-artifact", read),
        Route("GET", "/model-versions/get-artifact", read),
        Route("POST", "/graphql", read, operation="graphql"),
        Route("POST", "/v1/traces", write, Kind.SPANS),
        Route("GET", "/ajax-api/3.0/mlflow/ui-telemetry", read, Kind.PAGE),
        Route("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", read, operation="search-datasets"),
        Route("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", read),
        Route("GET", "/ajax-api/2.0/mlflow/logged-models/*/artifacts/files", read),
        Route("GET", "/ajax-api/2.0/mlflow/get-trace-artifact", read),
        Route("GET", "/ajax-api/3.0/mlflow/get-trace-artifact", read),
        Route("POST", "/ajax-api/2.0/mlflow/upload-artifact", write, operation="upload-artifact"),
    ]
    for api in ("/api", "/ajax-api"):
        artifacts = f"{api}/2.0/mlflow-artifacts/artifacts"
        routes += [
            Route("GET", artifacts, read),
            Route("GET", f"{artifacts}/**", read, Kind.DOWNLOAD),
            Route("PUT", f"{artifacts}/**", write, Kind.UPLOAD),
            Route("GET", f"{api}/3.0/mlflow/server-info", read, Kind.SERVER_INFO),
            Route("GET", f"{api}/3.0/mlflow/workspaces", read, Kind.WORKSPACES),
            Route("GET", f"{api}/3.0/mlflow/workspaces/*", read, Kind.WORKSPACES),
        ]
    return routes


ROUTES: tuple[Route, ...] = (*_api_routes(), *_other_routes())


class RouteTable:
    """Finds the route of a request: exact paths by one look-up, patterns by a short scan."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact = {(route.method, route.path): route for route in routes if "*" not in route.path}
        self._patterns = [
            (route.method, _compiled(route.path), route) for route in routes if "*" in route.path
        ]

    def find(self, method: str, path: str) -> Route | None:
        if route := self._exact.get((method, path)):
            return route
        for pattern_method, pattern, route in self._patterns:
            if pattern_method == method and pattern.fullmatch(path):
                return route
        return None


def _compiled(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\*\*", ".+").replace(r"\*", "[^/]+"), re.DOTALL)
