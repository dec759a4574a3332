"""Sends OpenLineage's events on; when and in which order is the delivery's."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ml_platform.services.lineage import EventRejectedError

_TIMEOUT = httpx.Timeout(10, connect=3)
_OF_THE_EVENT = frozenset({400, 409, 413, 415, 422})
"""Answers that say something of the event. Any other that is no success is of the address, the token, the server."""
_MOST_SAID = 300


class HttpReceiver:
    """An OpenLineage endpoint, such as Marquez's `/api/v1/lineage`.

    Args:
        url: the whole address.
        token_file: holds the bearer token; read at every event, so that it may be changed.

    Raises:
        ValueError: `url` is not an http(s) address.
    """

    name = "http"

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("openlineage_url is not an http(s) address")
        self._url = url
        self._token_file = token_file
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)

    def send(self, event: Mapping[str, Any]) -> None:
        """Raises httpx.HTTPError or OSError when the receiver is away or the token cannot be read."""
        headers = {"content-type": "application/json"}
        if self._token_file is not None:
            headers["authorization"] = f"Bearer {self._token_file.expanduser().read_text().strip()}"
        answer = self._client.post(self._url, content=_encoded(event), headers=headers)
        if answer.status_code in _OF_THE_EVENT:
            raise EventRejectedError(f"{answer.status_code}: {answer.text[:_MOST_SAID]}")
        if not answer.is_success:  # `raise_for_status` would put the address, and what is in it, into logs
            raise httpx.HTTPError(f"the receiver answers {answer.status_code}")

    def close(self) -> None:
        self._client.close()


class FileReceiver:
    """JSON Lines, as OpenLineage's own file transport writes them. A line is on the disk before the next begins."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser()

    def send(self, event: Mapping[str, Any]) -> None:
        """Raises OSError when it cannot be written. Half a line, of a crash, is ended before the next one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = size > 0 and file.read(1) != b"\n"
            file.write((b"\n" if torn else b"") + _encoded(event) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Nothing is open between two events."""


def _encoded(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
