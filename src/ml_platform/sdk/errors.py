"""What the SDK raises.

    PlatformError
    ├── ConnectionFailedError (ConnectionError)      nobody answers at that address
    ├── NotConfiguredError                           no address or no key was given
    ├── AuthenticationError                          the key is wrong, revoked or expired
    ├── AccessDeniedError (PermissionError)          known, and not allowed
    ├── NotFoundError (LookupError)                  not there, or another team's
    ├── InvalidInputError (ValueError)               what was sent cannot be taken
    ├── ConflictError                                the state does not allow it
    │   └── ApprovalRequiredError                    a person must decide first
    ├── LimitExceededError                           a quota, a rate or a size
    ├── UnavailableError                             a part of the platform is down or full
    ├── ServerError                                  something of the platform's failed
    ├── WaitTimeoutError (TimeoutError)              what was waited for is still under way
    ├── JobFailedError                               carries the tail of the log
    └── DeploymentFailedError                        carries the stage and its reason

`TABLE` maps the server's error codes to them; a code that this version does not know falls back on the
status.
"""

import builtins
from collections.abc import Sequence

from ml_platform.contracts.problems import ErrorCode, FieldProblem


class PlatformError(Exception):
    """The base of everything that the SDK raises on purpose."""

    exit_code = 1

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        request_id: str | None = None,
        fields: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.hint = hint
        self.request_id = request_id
        self.fields = list(fields)

    def __str__(self) -> str:
        return f"{self.detail} ({self.hint})" if self.hint else self.detail


class ConnectionFailedError(PlatformError, builtins.ConnectionError):
    exit_code = 7


class NotConfiguredError(PlatformError):
    exit_code = 7


class AuthenticationError(PlatformError):
    exit_code = 4


class AccessDeniedError(PlatformError, builtins.PermissionError):
    exit_code = 4


class NotFoundError(PlatformError, builtins.LookupError):
    exit_code = 3


class InvalidInputError(PlatformError, builtins.ValueError):
    exit_code = 2


class ConflictError(PlatformError):
    exit_code = 5


class ApprovalRequiredError(ConflictError):
    exit_code = 6


class LimitExceededError(PlatformError):
    exit_code = 8


class UnavailableError(PlatformError):
    exit_code = 7


class ServerError(PlatformError):
    exit_code = 1


class WaitTimeoutError(PlatformError, builtins.TimeoutError):
    exit_code = 9


class JobFailedError(PlatformError):
    exit_code = 10


class DeploymentFailedError(PlatformError):
    exit_code = 10


TABLE: dict[str, type[PlatformError]] = {
    ErrorCode.INTERNAL: ServerError,
    ErrorCode.INVALID_INPUT: InvalidInputError,
    ErrorCode.INVALID_JSON: InvalidInputError,
    ErrorCode.INVALID_DATA: InvalidInputError,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: InvalidInputError,
    ErrorCode.UNAUTHENTICATED: AuthenticationError,
    ErrorCode.FORBIDDEN: AccessDeniedError,
    ErrorCode.SELF_APPROVAL: AccessDeniedError,
    ErrorCode.NOT_FOUND: NotFoundError,
    ErrorCode.METHOD_NOT_ALLOWED: InvalidInputError,
    ErrorCode.CONFLICT: ConflictError,
    ErrorCode.IN_PROGRESS: ConflictError,
    ErrorCode.IDEMPOTENCY_MISMATCH: InvalidInputError,
    ErrorCode.GATE_FAILED: ConflictError,
    ErrorCode.ARTIFACT_CHANGED: ConflictError,
    ErrorCode.APPROVAL_REQUIRED: ApprovalRequiredError,
    ErrorCode.TOO_LARGE: LimitExceededError,
    ErrorCode.QUOTA_EXCEEDED: LimitExceededError,
    ErrorCode.RATE_LIMITED: LimitExceededError,
    ErrorCode.UNAVAILABLE: UnavailableError,
    ErrorCode.ENVIRONMENT_FAILED: JobFailedError,
    ErrorCode.JOB_FAILED: JobFailedError,
    ErrorCode.BUILD_FAILED: DeploymentFailedError,
}

_BY_STATUS: dict[int, type[PlatformError]] = {
    401: AuthenticationError,
    403: AccessDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: LimitExceededError,
    429: LimitExceededError,
    503: UnavailableError,
    504: UnavailableError,
}


def error_class(code: str | None, status: int) -> type[PlatformError]:
    """The exception of an answer."""
    if code in TABLE:
        return TABLE[code]
    return _BY_STATUS.get(status) or (InvalidInputError if 400 <= status < 500 else ServerError)
