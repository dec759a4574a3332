"""The calling application: asks for predictions as a shop's back end would."""

import itertools
import statistics
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx


@dataclass(frozen=True, slots=True)
class Measured:
    """What the application saw; times in milliseconds."""

    requests: int
    failures: int
    p50: float
    p95: float
    last: Any


class Application:
    """One keep-alive connection to an endpoint."""

    def __init__(self, endpoint: str, key: str) -> None:
        self._endpoint = endpoint
        self._client = httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=30)

    def ask(self, instances: Sequence[Mapping[str, Any]]) -> httpx.Response:
        return self._client.post(self._endpoint, json={"instances": [dict(item) for item in instances]})

    def measure(self, instances: Iterable[Mapping[str, Any]]) -> Measured:
        """One request an instance."""
        times, failures, last = [], 0, None
        for instance in instances:
            started = time.perf_counter()
            answer = self.ask([instance])
            times.append((time.perf_counter() - started) * 1e3)
            if answer.status_code == 200:
                last = answer.json()["predictions"][0]
            else:
                failures += 1
                last = answer.text
        ordered = sorted(times)
        return Measured(
            requests=len(times),
            failures=failures,
            p50=statistics.median(ordered),
            p95=ordered[int(len(ordered) * 0.95)],
            last=last,
        )

    def close(self) -> None:
        self._client.close()


class SteadyTraffic:
    """Keeps asking in the background while something else goes on."""

    def __init__(
        self, endpoint: str, key: str, instances: Sequence[Mapping[str, Any]], pause: float = 0.01
    ) -> None:
        self._application = Application(endpoint, key)
        self._instances = itertools.cycle(instances)
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answered = 0
        self.failed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        self._application.close()

    def _run(self) -> None:
        for instance in self._instances:
            if self._stop.wait(self._pause):
                return
            try:
                good = self._application.ask([instance]).status_code == 200
            except httpx.HTTPError:
                good = False
            self.answered += good
            self.failed += not good
