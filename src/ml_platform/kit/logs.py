"""Structured logs: one JSON object a line, with the request's id, and without secrets."""

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from ml_platform.kit.strictjson import finite

_TOKEN = re.compile(r"mlops_[0-9a-z]{26}_[A-Za-z0-9_-]{20,}")
_BLANK = "[redacted]"
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
                redact,  # once more: messages of other libraries are put together only here
                structlog.processors.JSONRenderer(serializer=_one_line),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "httpx", "alembic", "dbos"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _one_line(event: dict[str, Any], **options: Any) -> str:
    return json.dumps(finite(event), allow_nan=False, **options)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blanks whatever is named like a secret or looks like one of our tokens."""
    for key, value in event.items():
        event[key] = _BLANK if key.lower() in _SECRET_KEYS else _clean(value)
    return event


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return _TOKEN.sub(_BLANK, value) if "mlops_" in value else value
    if isinstance(value, bytes):
        return _clean(value.decode("utf-8", "replace"))
    if depth > 5:
        return "..."
    if isinstance(value, Mapping):
        return {
            key: _BLANK if str(key).lower() in _SECRET_KEYS else _clean(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth + 1) for item in value]
    return value
