"""A small closed-loop load: some callers that ask without pause and keep what went wrong."""

import http.client
import json
import threading
import time
from collections import Counter
from typing import Self

from .control import CALLER


class Load:
    """Runs between `with`; a caller reconnects only when the server closed a kept-alive connection first."""

    def __init__(self, port: int, instances: list, callers: int = 4, name: str = "churn") -> None:
        self._port = port
        self._body = json.dumps({"instances": instances}).encode()
        self._path = f"/v1/models/{name}:predict"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(callers)]
        self._lock = threading.Lock()
        self.statuses: Counter[int] = Counter()
        self.revisions: Counter[str] = Counter()
        self.failures: list[str] = []
        self.latest: dict[str, float] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def answered(self) -> int:
        return self.statuses[200]

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            self._ask(connection)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        headers = {"Authorization": f"Bearer {CALLER}", "Content-Type": "application/json"}
        while not self._stop.is_set():
            try:
                connection.request("POST", self._path, self._body, headers)
                response = connection.getresponse()
                data = response.read()
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
                time.sleep(0.01)
                continue
            with self._lock:
                self.statuses[response.status] += 1
                revision = response.headers.get("mlops-revision", "")
                self.revisions[revision] += 1
                self.latest[revision] = time.monotonic()
                if response.status != 200:
                    self.failures.append(f"{response.status}: {data[:200]!r}")
