"""What really runs: each service is asked for its health, and none is listed that nobody asked."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from ml_platform.sdk.deployments import Deployments
from ml_platform.sdk.errors import PlatformError
from ml_platform.sdk.transport import Transport

# The control plane's own services: what they are, and a list of each, which tells whether it answers.
_RESOURCES = {
    "datasets": "data catalogue",
    "feature-views": "feature store",
    "experiments": "experiment tracking",
    "jobs": "training",
    "models": "model registry",
    "deployments": "deployment pipeline",
    "approvals": "governance",
    "alerts": "monitoring",
    "audit/events": "audit log",
    "teams": "identity",
}


@dataclass(frozen=True, slots=True)
class Service:
    """One service as a caller sees it."""

    name: str
    kind: str
    url: str
    protocol: str
    version: str | None
    health: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Services:
    """`platform.services`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, inference_url: str | None = None) -> list[Service]:
        """Every service with its address and its health now.

        Args:
            inference_url: address of the inference server; default: the one that a deployment names.
        """
        url = self._transport.connection.url
        api = self._asked("control-plane", "control plane", url, "HTTP", "/health/ready")
        found = [api, self._tracking(url)]
        predictions = inference_url or self._inference_url()
        if predictions is not None:
            found.append(
                self._asked("inference", "inference server", predictions, "KServe V1", "/health/ready")
            )
        return [*found, *self._resources(f"{url}/api/v1", api.version)]

    def _asked(self, name: str, kind: str, url: str, protocol: str, path: str) -> Service:
        answer = self._get(url + path)
        version = None
        if isinstance(answer, httpx.Response) and "json" in answer.headers.get("content-type", ""):
            version = answer.json().get("version")
        return Service(name, kind, url, protocol, version, _health(answer))

    def _tracking(self, url: str) -> Service:
        answer = self._get(f"{url}/mlflow/version")
        version = answer.text.strip()[:40] if isinstance(answer, httpx.Response) else None
        return Service(
            "mlflow", "experiment tracking", f"{url}/mlflow", "MLflow REST", version, _health(answer)
        )

    def _resources(self, url: str, version: str | None) -> Iterator[Service]:
        for path, kind in _RESOURCES.items():
            answer = self._get(f"{url}/{path}?limit=1")
            if _health(answer) == "absent":
                continue
            yield Service(path.partition("/")[0], kind, f"{url}/{path}", "REST", version, _health(answer))

    def _inference_url(self) -> str | None:
        try:
            found = Deployments(self._transport).list(limit=1)
        except PlatformError:
            return None
        if not found:
            return None
        parts = urlsplit(found[0].endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def _get(self, url: str) -> httpx.Response | PlatformError:
        try:
            return self._transport.request("GET", url, timeout=5)
        except PlatformError as error:
            return error


def _health(answer: httpx.Response | PlatformError) -> str:
    """`forbidden` is an answer: the service runs, and this key may not use it."""
    if isinstance(answer, httpx.Response):
        return "ready"
    return {3: "absent", 4: "forbidden", 7: "unavailable"}.get(answer.exit_code, "failing")
