"""Every error of our own API as a problem (RFC 9457)."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from ml_platform.contracts.base import SLUG_PATTERN
from ml_platform.contracts.problems import ErrorCode, FieldProblem, Problem, title_of
from ml_platform.kit.errors import AppError
from ml_platform.kit.strictjson import finite
from ml_platform.server.media import has_body, is_json

_log = structlog.get_logger(__name__)
_CODES = {
    400: ErrorCode.INVALID_INPUT,
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    409: ErrorCode.CONFLICT,
    413: ErrorCode.TOO_LARGE,
    415: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
}
_NO_NAME = re.compile(
    r"\[[a-z]+\]"
)  # how pydantic says that it means a key, or which form of a value it took


def install(app: FastAPI) -> None:
    """Adds the handlers of all errors."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


def answer(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error that was raised outside of any route."""
    return next(_HANDLERS[kind] for kind in type(error).__mro__ if kind in _HANDLERS)(request, error)


def problem_response(
    request_id: str | None,
    *,
    status: int,
    code: str,
    detail: str,
    hint: str | None = None,
    fields: list[FieldProblem] | None = None,
    extra: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An answer of `application/problem+json`."""
    body = Problem(
        title=title_of(code),
        status=status,
        code=code,
        detail=detail,
        hint=hint,
        request_id=request_id,
        errors=fields or [],
        **(extra or {}),
    )
    return JSONResponse(
        _readable(finite(body.model_dump(exclude_none=True))),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def _readable(value: Any) -> Any:
    """Text that has an encoding: callers may name things in lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_readable(key): _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list) else value


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


def _app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return problem_response(
        _request_id(request),
        status=error.status,
        code=error.code,
        detail=error.detail,
        hint=error.hint,
        fields=error.fields,
        extra=error.extra,
        headers=headers,
    )


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields, status, code = [], 422, ErrorCode.INVALID_INPUT
    for item in error.errors()[:20]:
        path = [str(part) for part in item["loc"]]
        if item["type"] == "json_invalid":
            status, code = 400, ErrorCode.INVALID_JSON
        if path == ["body"] and has_body(request.headers) and not is_json(request.headers):
            return _not_json(request)
        name = ".".join(part for part in path[1:] if not _NO_NAME.fullmatch(part)) or path[0]
        fields.append(FieldProblem(field=name[:200], message=_message(item)[:500]))
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields[:5]) or "the input is not valid"
    return problem_response(_request_id(request), status=status, code=code, detail=detail, fields=fields)


def _message(item: Mapping[str, Any]) -> str:
    """What is wrong, in words rather than in a regular expression."""
    if item["type"] == "string_pattern_mismatch" and item["ctx"]["pattern"] == SLUG_PATTERN:
        return "must be 1 to 63 lower-case letters, digits, '-' or '_', with a letter or digit at both ends"
    return str(item["msg"]).removeprefix("Value error, ")


def _not_json(request: Request) -> JSONResponse:
    given = request.headers.get("content-type", "nothing")[:100]
    return problem_response(
        _request_id(request),
        status=415,
        code=ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        detail=f"content-type: {given} was given, application/json is needed",
        hint="curl needs --json, or -H 'Content-Type: application/json'",
    )


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail, hint = str(error.detail), None
    if detail == HTTPStatus(error.status_code).phrase:  # the router's own, which says no more than the status
        detail, hint = _of_router(request, error), "every route: /docs to read, /openapi.json for programs"
    return problem_response(
        _request_id(request),
        status=error.status_code,
        code=_CODES.get(error.status_code, ErrorCode.INVALID_INPUT),
        detail=detail,
        hint=hint,
        headers=dict(error.headers) if error.headers else None,
    )


def _of_router(request: Request, error: HTTPException) -> str:
    route = f"{request.method[:20]} {request.url.path[:200]}"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"there is no route {route}: this path takes {(error.headers or {}).get('Allow', 'another method')}"
    return f"there is no route {route}" if error.status_code == HTTPStatus.NOT_FOUND else str(error.detail)


def _integrity_error(request: Request, _error: Exception) -> JSONResponse:
    """Two callers made the same thing at once and the database let one of them win."""
    _log.warning("database.conflict", exc_info=True)
    return problem_response(
        _request_id(request),
        status=409,
        code=ErrorCode.CONFLICT,
        detail="somebody else changed the same thing at the same moment",
        hint="read it again and repeat the call",
    )


def _unstorable(request: Request, _error: Exception) -> JSONResponse:
    """A last net: what reaches the database is checked before, so this is logged as ours to mend."""
    _log.error("database.refused_value", exc_info=True)
    return problem_response(
        _request_id(request),
        status=422,
        code=ErrorCode.INVALID_INPUT,
        detail="a value is outside of what can be stored",
    )


def _database_away(request: Request, _error: Exception) -> JSONResponse:
    _log.error("database.unavailable", exc_info=True)
    return problem_response(
        _request_id(request),
        status=503,
        code=ErrorCode.UNAVAILABLE,
        detail="the database does not answer",
        hint="try again; predictions go on meanwhile. `mlops doctor` says more",
        headers={"retry-after": "5"},
    )


def _unexpected(request: Request, _error: Exception) -> JSONResponse:
    _log.error("request.failed", exc_info=True)
    return problem_response(
        _request_id(request),
        status=500,
        code=ErrorCode.INTERNAL,
        detail="something of ours failed; it was logged under the request id",
        hint="mlops logs api",
    )


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
    AppError: _app_error,
    RequestValidationError: _validation_error,
    HTTPException: _http_error,
    IntegrityError: _integrity_error,
    OperationalError: _database_away,
    InterfaceError: _database_away,
    DataError: _unstorable,
    PoolTimeoutError: _database_away,
    Exception: _unexpected,
}
