"""Brings the supervisor back when it was killed or hangs: the one that watches is watched."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import structlog

from ml_platform.server.local.layout import Layout
from ml_platform.server.local.watch import Silence

_log = structlog.get_logger(__name__)
_EVERY_SECONDS = 1.0


def spawn_supervisor(layout: Layout) -> "subprocess.Popen[bytes]":
    """Starts a supervisor that outlives whoever starts it; its lock sees to it that there is only one."""
    layout.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    with layout.log_file("supervisor").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ml_platform.server.local.supervisor"],
            env={**os.environ, "MLOPS_HOME": str(layout.home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=layout.home,
        )


class Guardian:
    """A thread of the control plane.

    Args:
        hang_seconds: a supervisor that does nothing for so long is killed; 0 is never.
    """

    def __init__(self, layout: Layout, hang_seconds: float) -> None:
        self._layout = layout
        self._silence = Silence(hang_seconds)
        self._seen: tuple[int | None, int | None] = (None, None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guardian", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        child: subprocess.Popen[bytes] | None = None
        last = time.monotonic()
        while not self._stop.wait(_EVERY_SECONDS):
            now = time.monotonic()
            if child is not None and child.poll() is not None:
                child = None
            if self._layout.desired_up():
                self._listen(now - last)
                if not self._layout.alive("supervisor") and child is None:
                    _log.warning("supervisor.lost")
                    child = spawn_supervisor(self._layout)
            last = now

    def _listen(self, elapsed: float) -> None:
        pid = self._layout.pid("supervisor")
        seen = (pid, self._layout.last_beat("supervisor"))
        if pid is None or seen != self._seen:
            self._seen = seen
            self._silence.heard()
            return
        self._silence.missed()
        self._silence.passes(elapsed, due=_EVERY_SECONDS)
        if self._silence.over:
            _log.error("supervisor.hung", pid=pid, silent_seconds=round(self._silence.seconds, 1))
            self._silence.begin()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
