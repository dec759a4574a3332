"""Brings the supervisor back when it was killed: the one that watches is watched."""

import os
import subprocess
import sys
import threading

import structlog

from ml_platform.server.local.layout import Layout

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
    """A thread of the control plane."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guardian", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        child: subprocess.Popen[bytes] | None = None
        while not self._stop.wait(_EVERY_SECONDS):
            if child is not None and child.poll() is not None:
                child = None
            if self._layout.desired_up() and not self._layout.alive("supervisor") and child is None:
                _log.warning("supervisor.lost")
                child = spawn_supervisor(self._layout)
