"""HTTP to the platform: one client, one table of errors, careful retries."""

import json as strict
import platform as machine
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from ml_platform.contracts.problems import FieldProblem
from ml_platform.sdk.config import Connection
from ml_platform.sdk.errors import (
    ConnectionFailedError,
    InvalidInputError,
    PlatformError,
    ServerError,
    error_class,
)

M = TypeVar("M", bound=BaseModel)
_RETRIES = 3
_RETRY_STATUSES = frozenset({502, 503, 504})
_MAX_RETRY_AFTER = 10.0


def at(*segments: str | int) -> str:
    """A path of segments, each quoted: a name is never taken for a part of the address.

    Raises:
        InvalidInputError: a segment is empty, or names a directory.
    """
    texts = [str(segment) for segment in segments]
    for text in texts:
        if text.strip() in {"", ".", ".."}:
            raise InvalidInputError(f"{text!r} is not a name or an id")
    return "".join("/" + quote(text, safe="@:") for text in texts)


class Transport:
    """Calls below `/api/v1`.

    A call that failed on its way is repeated when repeating is safe: a GET, or a POST that carries an
    idempotency key (every one made here does). One that had its whole time is not: nobody would wait as
    long again.
    """

    def __init__(self, connection: Connection, *, transport: httpx.BaseTransport | None = None) -> None:
        self.connection = connection
        headers = {
            "authorization": f"Bearer {connection.key}",
            "user-agent": f"ml-platform-sdk (python {machine.python_version()})",
        }
        if connection.team:
            headers["mlops-team"] = connection.team
        self._client = httpx.Client(
            headers=headers, timeout=httpx.Timeout(60, connect=5), transport=transport
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, model: type[M], params: Mapping[str, Any] | None = None) -> M:
        return _parse(self.request("GET", path, params=params), model)

    def post(self, path: str, model: type[M], json: Any = None, params: Mapping[str, Any] | None = None) -> M:
        return _parse(self.request("POST", path, json=json, params=params), model)

    def put(self, path: str, model: type[M], json: Any) -> M:
        return _parse(self.request("PUT", path, json=json), model)

    def patch(self, path: str, model: type[M], json: Any) -> M:
        return _parse(self.request("PATCH", path, json=json), model)

    def delete(self, path: str, model: type[M]) -> M:
        return _parse(self.request("DELETE", path), model)

    def pages(
        self, path: str, model: type[M], params: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[M]:
        """Every item of a list, page by page."""
        query = {k: v for k, v in (params or {}).items() if v is not None}
        seen = 0
        query["limit"] = min(limit or 100, 500)
        while True:
            answer = self.request("GET", path, params=query)
            body = _json(answer)
            if not isinstance(body, dict) or not isinstance(body.get("items"), list):
                raise _unexpected(answer)
            for item in body["items"]:
                yield _validated(item, model)
                seen += 1
                if limit is not None and seen >= limit:
                    return
            if not body.get("next_cursor"):
                return
            query["cursor"] = body["next_cursor"]

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        retries: int = _RETRIES,
    ) -> httpx.Response:
        """A call and its answer; asked again up to `retries` times while a part of the platform is away.

        Raises:
            PlatformError: the answer is an error, or there is none.
        """
        url = path if path.startswith("http") else f"{self.connection.url}/api/v1{path}"
        sent = dict(headers or {})
        if method == "POST":
            sent.setdefault("idempotency-key", uuid.uuid4().hex)
        if json is not None:
            content = _encoded(json)
            sent.setdefault("content-type", "application/json")
        query = {k: v for k, v in (params or {}).items() if v is not None}
        options: dict[str, Any] = {"params": query, "headers": sent, "content": content}
        if timeout is not None:
            options["timeout"] = timeout
        repeatable = content is None or isinstance(content, bytes)
        for attempt in range(retries + 1):
            last = attempt == retries or not repeatable
            try:
                answer = self._client.request(method, url, **options)
            except httpx.InvalidURL as error:
                raise InvalidInputError(f"{url} is not an address: {error}") from None
            except httpx.TransportError as error:
                if last or isinstance(error, httpx.ReadTimeout):
                    raise ConnectionFailedError(
                        f"the platform at {self.connection.url} does not answer: {str(error) or type(error).__name__}",
                        hint="is it running? `mlops status` says; `mlops up` starts it",
                    ) from None
                time.sleep(0.2 * 2**attempt)
                continue
            if answer.status_code in _RETRY_STATUSES and not last:
                time.sleep(_wait_of(answer, attempt))
                continue
            if answer.status_code >= 400:
                raise error_of(answer)
            return answer
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def download(self, path: str, target: Path, params: Mapping[str, Any] | None = None) -> Path:
        """Writes an answer to a file piece by piece; the file is there when it is whole, and not before.

        Raises:
            PlatformError: as `request` does.
        """
        url = f"{self.connection.url}/api/v1{path}"
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            with (
                self._client.stream("GET", url, params=dict(params or {}), timeout=600) as answer,
                draft.open("wb") as file,
            ):
                if answer.status_code >= 400:
                    answer.read()
                    raise error_of(answer)
                for piece in answer.iter_bytes():
                    file.write(piece)
            draft.replace(target)
        except httpx.TransportError as error:
            raise ConnectionFailedError(
                f"the platform at {self.connection.url} did not answer to the end: {str(error) or type(error).__name__}",
                hint="is it running? `mlops status` says; `mlops up` starts it",
            ) from None
        finally:
            draft.unlink(missing_ok=True)
        return target


def error_of(answer: httpx.Response) -> PlatformError:
    """The exception that stands for an error answer."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    detail = (
        body.get("detail")
        or body.get("error")
        or body.get("message")
        or f"the server answered {answer.status_code}"
    )
    return error_class(body.get("code"), answer.status_code)(
        str(detail),
        code=body.get("code"),
        hint=body.get("hint"),
        request_id=body.get("request_id") or answer.headers.get("x-request-id"),
        fields=_fields(body.get("errors")),
    )


def _fields(given: Any) -> list[FieldProblem]:
    items = given if isinstance(given, list) else []
    return [
        FieldProblem(field=str(item.get("field", "")), message=str(item.get("message", "")))
        for item in items
        if isinstance(item, dict)
    ]


def _wait_of(answer: httpx.Response, attempt: int) -> float:
    given = answer.headers.get("retry-after", "")
    if given.isdigit():
        return min(float(given), _MAX_RETRY_AFTER)
    return 0.2 * float(2**attempt)


def _encoded(value: Any) -> bytes:
    try:
        return strict.dumps(value, allow_nan=False, default=_plain).encode()
    except ValueError:
        raise InvalidInputError(
            "NaN and Infinity cannot be sent", hint="send None where a value is missing"
        ) from None
    except TypeError as error:
        raise InvalidInputError(f"this cannot be sent as JSON: {error}") from None


def _plain(value: Any) -> Any:
    """What numpy, pandas and datetime hold, as JSON-able values."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    msg = f"a {type(value).__name__} is neither a number, a text, a list nor a mapping"
    raise TypeError(msg)


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise _unexpected(answer) from None


def _unexpected(answer: httpx.Response) -> ServerError:
    return ServerError(
        f"{answer.request.url} did not answer as this version of the SDK expects",
        hint="is MLOPS_API_URL the platform's address? if so, upgrade the SDK",
    )


def _parse(answer: httpx.Response, model: type[M]) -> M:
    return _validated(_json(answer), model)


def _validated(value: Any, model: type[M]) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ServerError(
            f"the server's {model.__name__} is not what this version of the SDK expects: {error.errors()[0]['msg']}",
            hint="upgrade the SDK",
        ) from None
