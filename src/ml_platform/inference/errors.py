"""What the data plane raises: every failure knows its HTTP status and a message that is safe to show.

ServingError
├── Unauthenticated 401, Forbidden 403, NotFound 404, MethodNotAllowed 405
├── InvalidInput 400, TooLarge 413, WrongMediaType 415
├── UnknownEntity 422       no features are stored for an entity key
├── Unexplainable 422       the model answers with what cannot be explained
├── TooManyRequests 429    the key, or its team, has had its share of requests
├── ModelFailed 500         the model raised, or answered nonsense
├── Unsupported 501         the revision cannot do this, whatever is sent
├── Unavailable 503         loading, crashed, or a full queue; says when to retry
└── DeadlineExceeded 504    no answer in time
"""

from __future__ import annotations


class ServingError(Exception):
    """Base: `status` and a message for the caller; `retry_after` in seconds where trying again helps."""

    status = 500
    retry_after: int | None = None

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after


class Unauthenticated(ServingError):  # noqa: N818 - named as the statuses are
    status = 401


class Forbidden(ServingError):  # noqa: N818
    status = 403


class NotFound(ServingError):  # noqa: N818
    status = 404


class MethodNotAllowed(ServingError):  # noqa: N818
    status = 405


class InvalidInput(ServingError):  # noqa: N818
    status = 400


class TooLarge(ServingError):  # noqa: N818
    status = 413


class WrongMediaType(ServingError):  # noqa: N818
    status = 415


class UnknownEntity(ServingError):  # noqa: N818
    status = 422


class Unexplainable(ServingError):  # noqa: N818
    status = 422


class TooManyRequests(ServingError):  # noqa: N818
    status = 429
    retry_after = 1


class ModelFailed(ServingError):  # noqa: N818
    status = 500


class Unsupported(ServingError):  # noqa: N818
    status = 501


class Unavailable(ServingError):  # noqa: N818
    status = 503
    retry_after = 1


class DeadlineExceeded(ServingError):  # noqa: N818
    status = 504
