"""Notices a process that lives and says nothing: one that was stopped, or that waits for itself.

It is asked for `/health/live` again and again. Time in which it says nothing counts only as far as whoever
asks was awake and on time itself, so that a machine that stands still or is overloaded is no reason to end
anything; nor does it count before the first answer, since a start may take as long as it takes.
"""

import http.client
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

_LATE_SECONDS = 1.0  # whoever comes later than this to its own turn knows nothing of others
_ENOUGH_MISSES = 2
_LONGEST_TIMEOUT = 5.0
_LONGEST_PAUSE = 2.0

Probe = Callable[[float], bool]
"""Asks once, within so many seconds; whether there was an answer."""


class Silence:
    """For how long somebody has said nothing; `limit` is how long it may, 0 is for ever."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.seconds = 0.0
        self._known = False
        self._missed = 0

    def begin(self) -> None:
        """It is somebody else, who has not said anything yet."""
        self.seconds, self._known, self._missed = 0.0, False, 0

    def heard(self) -> None:
        self.seconds, self._known, self._missed = 0.0, True, 0

    def missed(self) -> None:
        self._missed += 1

    def passes(self, seconds: float, *, due: float) -> None:
        """Time went by; where it was much more than was due the listener slept, and it does not count."""
        if self._known and seconds <= due + _LATE_SECONDS:
            self.seconds += seconds

    @property
    def over(self) -> bool:
        return 0 < self.limit <= self.seconds and self._missed >= _ENOUGH_MISSES


class Watch:
    """Asks one process, in a thread of its own, and says when it has been silent for too long."""

    def __init__(self, name: str, probe: Probe, limit: float) -> None:
        self._probe = probe
        self._silence = Silence(limit)
        self._timeout = min(_LONGEST_TIMEOUT, limit / 4)
        self._pause = min(_LONGEST_PAUSE, limit / 10)
        self._pid: int | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=f"watch-{name}", daemon=True)

    def start(self) -> None:
        if self._silence.limit > 0:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def look(self, pid: int | None, elapsed: float, *, due: float) -> float | None:
        """To be called all the time: the seconds of silence when they are too many.

        Args:
            pid: of the process that is asked now.
            elapsed: the time since the last call.
            due: what it was meant to be.
        """
        with self._lock:
            if pid != self._pid:
                self._pid = pid
                self._silence.begin()
            self._silence.passes(elapsed, due=due)
            if not self._silence.over:
                return None
            found = self._silence.seconds
            self._silence.begin()  # it is said once
            return found

    def _ask(self) -> None:
        while not self._stop.wait(self._pause):
            pid = self._pid
            if pid is None:
                continue
            began = time.monotonic()
            answered = self._probe(self._timeout)
            on_time = time.monotonic() - began <= 2 * self._timeout + _LATE_SECONDS  # a probe may ask twice
            with self._lock:
                if pid != self._pid:
                    continue  # another process by now
                if answered:
                    self._silence.heard()
                elif on_time:
                    self._silence.missed()


def answers(url: str, path: str = "/health/live", *, token: str | None = None, timeout: float) -> bool:
    """Whether there is any answer at all, but for one that says that the process behind it is silent."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=timeout)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    silent_behind = token is not None and response.status == 503
    return not (silent_behind and response.headers.get_content_type() == "application/json")
