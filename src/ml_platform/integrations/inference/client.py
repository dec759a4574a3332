"""HTTP client of an inference server: status, metrics, and one prediction by one revision."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from ml_platform.contracts.serving import InferenceMetrics, InferenceStatus, RevisionState
from ml_platform.kit.errors import UnavailableError
from ml_platform.services.deployments import Answer

T = TypeVar("T")

_TIMEOUT = 5.0
_FLUSH_TIMEOUT = 15.0
_MAX_ANSWER = 16 * 1024 * 1024
_REVISION = "mlops-revision"


class InferenceClient:
    """Asks one address; behind it may stand any number of workers.

    Args:
        url: asked for before each call, since a server on port 0 finds its address when it starts.
        token: the platform's own key, which the servers know from their snapshot.
    """

    def __init__(self, url: Callable[[], str], token: str) -> None:
        self._url = url
        self._token = token
        self._client = httpx.Client(timeout=_TIMEOUT)

    def status(self) -> InferenceStatus:
        return self._get("/internal/status", InferenceStatus)

    def revision_state(self, revision_id: str) -> tuple[RevisionState | None, str | None]:
        return self.status().revision_state(revision_id)

    def applied_version(self) -> int:
        return self.status().snapshot_version

    def flush(self) -> bool:
        """Has everything that was answered until now written to the prediction log's files; whether it was."""
        try:
            response = self._client.post(
                self._url() + "/internal/flush",
                headers={"authorization": f"Bearer {self._token}"},
                timeout=_FLUSH_TIMEOUT,
            )
        except httpx.HTTPError:
            return False
        return response.status_code == 200

    def metrics(self, window_seconds: float) -> InferenceMetrics:
        window = min(86_400.0, max(1.0, window_seconds))
        return self._get(f"/internal/metrics?window={window:g}", InferenceMetrics)

    def predict(
        self,
        team: str,
        environment: str,
        name: str,
        instances: Sequence[Any],
        *,
        token: str,
        revision_id: str | None,
        timeout: float,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer:
        path = _path(team, environment, f"{quote(name, safe='')}:predict")
        return self._asked(path, _body(instances, parameters), token, revision_id, timeout)

    def explain(
        self,
        team: str,
        environment: str,
        name: str,
        instances: Sequence[Any],
        *,
        token: str,
        revision_id: str | None,
        timeout: float,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer:
        path = _path(team, environment, f"{quote(name, safe='')}:explain")
        return self._asked(path, _body(instances, parameters), token, revision_id, timeout)

    def _asked(
        self, path: str, content: bytes, token: str, revision_id: str | None, timeout: float
    ) -> Answer:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        if revision_id is not None:
            headers[_REVISION] = revision_id
        began = time.perf_counter()
        try:
            response = self._client.post(
                self._url() + path, content=content, headers=headers, timeout=timeout
            )
        except httpx.HTTPError as error:
            raise UnavailableError(f"the inference server does not answer: {type(error).__name__}") from error
        milliseconds = (time.perf_counter() - began) * 1000
        return Answer(
            status=response.status_code,
            body=_json(response),
            milliseconds=milliseconds,
            revision_id=response.headers.get(_REVISION),
            request_id=response.headers.get("x-request-id"),
        )

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str, kind: type[T]) -> T:
        try:
            response = self._client.get(
                self._url() + path, headers={"authorization": f"Bearer {self._token}"}
            )
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the inference server does not answer: {type(error).__name__}",
                hint="`mlops status` shows whether it runs; `mlops logs inference` says why not",
                retry_after=2,
            ) from error
        if response.status_code != 200:
            raise UnavailableError(
                f"the inference server answered {response.status_code} to {path.partition('?')[0]}",
                retry_after=2,
            )
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            raise UnavailableError("the inference server answered something else than was agreed") from error


def _path(team: str, environment: str, verb: str) -> str:
    return f"/{quote(team, safe='')}/{quote(environment, safe='')}/v1/models/{verb}"


def _body(instances: Sequence[Any], parameters: Mapping[str, Any] | None) -> bytes:
    given = {"parameters": dict(parameters)} if parameters else {}
    return json.dumps({"instances": list(instances), **given}, allow_nan=False).encode()


def _json(response: httpx.Response) -> Any:
    if len(response.content) > _MAX_ANSWER:
        return None
    try:
        return json.loads(response.content, parse_constant=_no_number)
    except ValueError:
        return None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
