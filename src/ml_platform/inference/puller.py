"""Follows the desired state: one long poll after another, on a thread of the parent process.

Trouble of any kind (no network, a wrong answer, an invalid snapshot) is remembered for the status, and
tried again after a pause; what was applied last stays applied.
"""

from __future__ import annotations

import http.client
import logging
import random
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ml_platform.contracts.serving import MAX_SNAPSHOT_BYTES, Snapshot, SnapshotError, decode_snapshot

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 0.2
_LAST_PAUSE = 1.0
_EXTRA_SECONDS = 10.0


class PullError(Exception):
    """The control plane's answer is not one that can be used."""


class SnapshotPuller:
    """Calls `received(snapshot, bytes)` on its own thread for every snapshot that is new and valid.

    Args:
        url: the control plane's address.
        token_file: read before each request, so that a new token needs no restart; "" sends none.
        wait: seconds for which the control plane may hold a poll open.
        version: the version that is applied already, -1 for none.
        contact: told after each attempt what went wrong, or None.
    """

    def __init__(
        self,
        url: str,
        token_file: str,
        wait: float,
        version: int,
        received: Callable[[Snapshot, bytes], None],
        contact: Callable[[str | None], None],
    ) -> None:
        self._url = urlsplit(url)
        if self._url.scheme not in {"http", "https"} or not self._url.hostname:
            raise ValueError(f"control_url: {url!r} is not an http(s) address")
        self._token_file = token_file
        self._wait = wait
        self._version = version
        self._received = received
        self._contact = contact
        self._stop = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Asks the thread to end; it is a daemon and may be waiting for an answer."""
        self._stop.set()

    def _run(self) -> None:
        pause, said = _FIRST_PAUSE, ""
        while not self._stop.is_set():
            try:
                self._poll()
            except (OSError, http.client.HTTPException, PullError, SnapshotError) as error:
                self._disconnect()
                message = f"{type(error).__name__}: {error}"
                if message != said:
                    _log.warning("no desired state from the control plane: %s", message)
                said = message
                self._contact(message)
                self._stop.wait(pause * (0.5 + random.random()))  # noqa: S311 - spreads retries
                pause = min(pause * 2, _LAST_PAUSE)
            else:
                self._contact(None)
                said = ""
                pause = _FIRST_PAUSE

    def _poll(self) -> None:
        connection = self._connect()
        path = f"{self._url.path.rstrip('/')}/api/v1/inference/snapshot?after={self._version}&wait={self._wait:g}"
        connection.request("GET", path, headers=self._headers())
        response = connection.getresponse()
        data = response.read(MAX_SNAPSHOT_BYTES + 1)
        if response.status == 204:
            return
        if response.status != 200:
            raise PullError(f"status {response.status}: {data[:200].decode(errors='replace')}")
        snapshot = decode_snapshot(data)
        if snapshot.version == self._version:
            raise PullError(f"version {snapshot.version} again, which was not asked for")
        self._received(snapshot, data)
        self._version = snapshot.version

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._token_file:
            headers["Authorization"] = f"Bearer {Path(self._token_file).expanduser().read_text().strip()}"
        return headers

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = self._url.hostname or "", self._url.port
            timeout = self._wait + _EXTRA_SECONDS
            if self._url.scheme == "https":
                context = ssl.create_default_context()
                self._connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
