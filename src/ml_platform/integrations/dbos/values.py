"""What goes into the records and comes out of them: strict JSON, bounded, and errors without tracebacks."""

import json
from collections.abc import Mapping
from typing import Any

import structlog

from ml_platform.kit.durable import MAX_PAYLOAD_BYTES, NotJsonError, StepFailedError, WorkflowError
from ml_platform.kit.errors import AppError

_log = structlog.get_logger(__name__)


def recorded(value: Any, what: str) -> Any:
    """The value as it will be read back (tuples become lists); raises NotJsonError when it cannot be."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJsonError(f"{what} is not JSON: {error}") from error
    if size > MAX_PAYLOAD_BYTES:
        raise NotJsonError(f"{what} takes {size} bytes; at most {MAX_PAYLOAD_BYTES} can be recorded")
    return json.loads(text)


def describe(error: Exception, workflow_id: str, step: str | None) -> WorkflowError:
    """An exception as it may be shown: planned errors in their own words, others by their type alone."""
    if isinstance(error, StepFailedError):
        return error.error
    if isinstance(error, AppError):
        extra = _json_object(error.extra)
        return WorkflowError(str(error.code), error.detail, step=step, hint=error.hint, extra=extra)
    if isinstance(error, NotJsonError):
        return WorkflowError("not_json", str(error), step=step)
    _log.error("workflow.unplanned_error", workflow_id=workflow_id, step=step, exc_info=error)
    return WorkflowError("internal_error", f"unexpected {type(error).__name__}", step=step)


def to_record(error: WorkflowError) -> dict[str, Any]:
    return {
        "code": error.code,
        "detail": error.detail,
        "step": error.step,
        "hint": error.hint,
        "extra": None if error.extra is None else dict(error.extra),
    }


def from_record(record: Mapping[str, Any]) -> WorkflowError:
    return WorkflowError(
        code=str(record["code"]),
        detail=str(record["detail"]),
        step=record.get("step"),
        hint=record.get("hint"),
        extra=record.get("extra"),
    )


def _json_object(value: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return dict(recorded(value, "extra")) or None
    except NotJsonError:  # an error's decoration must not hide the error
        return None
