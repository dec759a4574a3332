"""The application's own route table: what tests of every route go through, so that none escapes them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from ml_platform.contracts.identity import Permission
from ml_platform.server.gate import OPEN_PATHS

API = "/api/v1"


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    permissions: tuple[Permission, ...]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def open(self) -> bool:
        return self.path in OPEN_PATHS

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)(?::\w+)?}", self.path)

    def filled(self, values: dict[str, str]) -> str:
        return re.sub(r"{(\w+)(?::\w+)?}", lambda found: values[found[1]], self.path)


def routes_of(app: FastAPI) -> list[Route]:
    """Every route but those of mounted applications."""
    found = []
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute):
            assert context.path == "/mlflow", f"{context.path} is neither a route of ours nor MLflow"
            continue
        permissions = tuple(_permissions(context.dependant))
        assert context.path is not None
        found += [Route(method, context.path, permissions) for method in sorted(context.methods or ())]
    return found


def _permissions(dependant: Any) -> Iterator[Permission]:
    permission = getattr(dependant.call, "permission", None)
    if permission is not None:
        yield permission
    for child in dependant.dependencies:
        yield from _permissions(child)
