"""Structured logs: one JSON object a line, with the request's id, and without secrets."""

import logging
import re
import sys
from typing import Any

import structlog

_TOKEN = re.compile(r"mlops_[0-9a-z]{26}_[A-Za-z0-9_-]{20,}")
_SECRET_KEYS = frozenset({"token", "password", "secret", "authorization", "cookie", "code"})


def configure(level: str = "INFO") -> None:
    """Sets up structlog and the standard library's logging for a process of ours; logs go to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "httpx", "alembic", "dbos"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def redact(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Blanks whatever is named like a secret or looks like one of our tokens."""
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS:
            event[key] = "[redacted]"
        elif isinstance(value, str) and "mlops_" in value:
            event[key] = _TOKEN.sub("[redacted]", value)
    return event
