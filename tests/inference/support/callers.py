"""Callers over V1, V2 and MLflow scoring who ask without pause, and remember each answer and who gave it."""

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

from .control import CALLER

PROTOCOLS = ("v1", "v2", "scoring")


@dataclass(frozen=True)
class Answer:
    """One request: when it was begun and answered, by whom, with what."""

    protocol: str
    caller: str
    begun: float
    ended: float
    status: int
    revision: str
    value: float | None
    text: str
    retry_after: str | None

    def __str__(self) -> str:
        return f"{self.protocol} {self.caller}: {self.status} by {self.revision}: {self.text}"


class Callers:
    """Runs between `with`; nobody asks a second time. `value` is what all of them send as `x0`."""

    def __init__(
        self,
        port: int,
        name: str,
        *,
        prefix: str = "",
        token: str = CALLER,
        each: int = 2,
        value: float = 1.0,
    ) -> None:
        self._port, self._name, self._prefix, self._token, self._value = port, name, prefix, token, value
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(protocol,), name=f"{protocol}-{number}", daemon=True)
            for number in range(each)
            for protocol in PROTOCOLS
        ]
        self._answers: list[Answer] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def answers(self) -> list[Answer]:
        with self._lock:
            return list(self._answers)

    @property
    def failures(self) -> list[str]:
        return [str(answer) for answer in self.answers if answer.status != 200]

    def counts(self) -> Counter[str]:
        """Good answers by caller."""
        return Counter(answer.caller for answer in self.answers if answer.status == 200)

    def all_got(self, more: int, since: Counter[str]) -> bool:
        """Whether each caller had so many good answers more."""
        now = self.counts()
        return all(now[thread.name] >= since[thread.name] + more for thread in self._threads)

    def _run(self, protocol: str) -> None:
        caller = threading.current_thread().name
        path, body = self._request(protocol)
        headers = {
            "authorization": f"Bearer {self._token}",
            "content-type": "application/json",
            "x-caller": caller,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop.wait(0.001):
            begun = time.monotonic()
            try:
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                data = response.read()
                found = Answer(
                    protocol,
                    caller,
                    begun,
                    time.monotonic(),
                    response.status,
                    response.headers.get("mlops-revision", ""),
                    _value(protocol, data) if response.status == 200 else None,
                    data[:300].decode(errors="replace"),
                    response.headers.get("retry-after"),
                )
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                text = f"{type(error).__name__}: {error}"
                found = Answer(protocol, caller, begun, time.monotonic(), 0, "", None, text, None)
            with self._lock:
                self._answers.append(found)
        connection.close()

    def _request(self, protocol: str) -> tuple[str, bytes]:
        row: dict[str, Any]
        if protocol == "v1":
            path, row = f"/v1/models/{self._name}:predict", {"instances": [[self._value]]}
        elif protocol == "v2":
            tensor = {"name": "x0", "datatype": "FP64", "shape": [1], "data": [self._value]}
            path, row = f"/v2/models/{self._name}/infer", {"inputs": [tensor]}
        else:
            path = f"/models/{self._name}/invocations"
            row = {"dataframe_split": {"columns": ["x0"], "data": [[self._value]]}}
        return self._prefix + path, json.dumps(row).encode()


def _value(protocol: str, data: bytes) -> float:
    answer = json.loads(data)
    return float(answer["outputs"][0]["data"][0] if protocol == "v2" else answer["predictions"][0])
