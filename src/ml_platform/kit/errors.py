"""Errors that carry their own answer: a stable code, an HTTP status, a safe text, and what to do next.

AppError
├── BadInputError       400, 422   what was sent cannot be taken
├── UnauthenticatedError      401   nobody known asks
├── ForbiddenError            403   known, and not allowed
├── NotFoundError             404   not there, or not yours
├── ConflictError             409   the state does not allow it
├── TooLargeError             413
├── TooManyError              429   a quota or a rate is used up
└── UnavailableError          503   a part is down or full; try again later
"""

from typing import Any

from ml_platform.contracts.problems import ErrorCode, FieldProblem

_LISTED = frozenset(
    {"alert", "approval", "dataset", "deployment", "experiment", "job", "key", "model", "team", "user"}
)
_OTHERWISE = {
    "feature view": "features list",
    "rollout": "deployments rollouts",
    "training set": "features training-sets",
}


class AppError(Exception):
    """The base of every error that a caller may see."""

    status = 500
    code = ErrorCode.INTERNAL

    def __init__(
        self,
        detail: str,
        *,
        hint: str | None = None,
        code: ErrorCode | None = None,
        fields: list[FieldProblem] | None = None,
        retry_after: int | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.fields = fields or []
        self.retry_after = retry_after
        self.extra = extra or {}
        if code is not None:
            self.code = code


class BadInputError(AppError):
    status = 422
    code = ErrorCode.INVALID_INPUT

    @classmethod
    def of(cls, field: str, message: str, *, hint: str | None = None) -> "BadInputError":
        """One wrong field, named."""
        problem = FieldProblem(field=field, message=message)
        return cls(f"{field}: {message}", fields=[problem], hint=hint)


class UnauthenticatedError(AppError):
    status = 401
    code = ErrorCode.UNAUTHENTICATED


class ForbiddenError(AppError):
    status = 403
    code = ErrorCode.FORBIDDEN


class NotFoundError(AppError):
    status = 404
    code = ErrorCode.NOT_FOUND

    @classmethod
    def of(cls, kind: str, name: str) -> "NotFoundError":
        """A thing that is not there, and the command that lists those that are."""
        command = f"{kind}s list" if kind in _LISTED else _OTHERWISE.get(kind)
        hint = f"list what there is: mlops {command}" if command is not None else None
        return cls(f"{kind} {name!r} was not found", hint=hint)


class ConflictError(AppError):
    status = 409
    code = ErrorCode.CONFLICT


class TooLargeError(AppError):
    status = 413
    code = ErrorCode.TOO_LARGE


class TooManyError(AppError):
    status = 429
    code = ErrorCode.QUOTA_EXCEEDED


class UnavailableError(AppError):
    status = 503
    code = ErrorCode.UNAVAILABLE
