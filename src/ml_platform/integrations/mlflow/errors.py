"""Errors in MLflow's own form, and the errors that in-process callers see.

TrackingError
├── TrackingNotFoundError
├── TrackingConflictError
└── TrackingInvalidError
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager


class RequestRefusedError(Exception):
    """A request that is answered without reaching MLflow, in MLflow's own error body."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def body(self) -> bytes:
        return json.dumps({"error_code": self.code, "message": self.message}).encode()


def invalid(message: str) -> RequestRefusedError:
    return RequestRefusedError(400, "INVALID_PARAMETER_VALUE", message)


def denied(message: str) -> RequestRefusedError:
    return RequestRefusedError(403, "PERMISSION_DENIED", message)


def missing(message: str) -> RequestRefusedError:
    return RequestRefusedError(404, "RESOURCE_DOES_NOT_EXIST", message)


class TrackingError(Exception):
    """MLflow could not do what an in-process caller asked; `code` is MLflow's own error code."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class TrackingNotFoundError(TrackingError):
    """The experiment, run, model, version or artifact does not exist in this workspace."""


class TrackingConflictError(TrackingError):
    """It exists already, or is in a state that does not allow the change."""


class TrackingInvalidError(TrackingError):
    """An argument is not acceptable to MLflow."""


_KINDS: dict[str, type[TrackingError]] = {
    "RESOURCE_DOES_NOT_EXIST": TrackingNotFoundError,
    "RESOURCE_ALREADY_EXISTS": TrackingConflictError,
    "INVALID_STATE": TrackingConflictError,
    "INVALID_PARAMETER_VALUE": TrackingInvalidError,
    "BAD_REQUEST": TrackingInvalidError,
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise MLflow's exceptions as the platform's own."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        kind = _KINDS.get(error.error_code, TrackingError)
        raise kind(error.message, error.error_code) from error
