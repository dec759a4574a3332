"""Problem details (RFC 9457) and the stable codes that programs may rely on."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ErrorCode(StrEnum):
    """Stable names of what went wrong; the text beside them may change, these do not."""

    INTERNAL = "internal"
    INVALID_INPUT = "invalid_input"
    INVALID_JSON = "invalid_json"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    IN_PROGRESS = "in_progress"
    TOO_LARGE = "too_large"
    QUOTA_EXCEEDED = "quota_exceeded"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INVALID_DATA = "invalid_data"
    GATE_FAILED = "gate_failed"
    APPROVAL_REQUIRED = "approval_required"
    SELF_APPROVAL = "self_approval"
    ARTIFACT_CHANGED = "artifact_changed"
    ENVIRONMENT_FAILED = "environment_failed"
    JOB_FAILED = "job_failed"
    BUILD_FAILED = "build_failed"


class FieldProblem(BaseModel):
    """One field of the input and what was expected of it."""

    field: str
    message: str


class Problem(BaseModel):
    """The body of every error of our own API (`application/problem+json`)."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = Field(default=None, description="What the caller can do about it")
    request_id: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)


def title_of(code: str) -> str:
    """A code as a short human title."""
    return code.replace("_", " ").capitalize()


JSON = dict[str, Any] | list[Any] | str | int | float | bool | None
