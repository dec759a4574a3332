"""Keeps the control plane and the inference server alive: `python -m ml_platform.server.local.supervisor`.

It starts whatever is not alive, also what an earlier supervisor had started and lost, waits longer after
every quick death, kills whatever lives and does not answer (`watch`), and on SIGTERM stops everything, the
jobs and model processes included.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import structlog

from ml_platform.kit import logs
from ml_platform.kit.clock import rfc3339, utc_now
from ml_platform.kit.locks import LockHeldError
from ml_platform.server.local.children import Child, children_of
from ml_platform.server.local.layout import PROCESSES, Layout
from ml_platform.server.settings import Settings

_log = structlog.get_logger(__name__)
_TICK_SECONDS = 0.2
_BEAT_SECONDS = 1.0
_STEADY_SECONDS = 30.0
_LONGEST_WAIT = 10.0
_LARGEST_LOG = 32 * 2**20
_OURS = re.compile(r"ml_platform[./](integrations|inference|server[./]main)")


class Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._layout = Layout(settings.home)
        self._stop = threading.Event()
        self._children = children_of(settings)
        self._restarts: dict[str, Any] = {}
        self._beaten = 0.0

    def stop(self, *_: Any) -> None:
        self._stop.set()

    def run(self) -> None:
        """Until `stop`, or until somebody says that nothing should run."""
        self._restarts = self._layout.process("supervisor").get("restarts", {})  # of one that was killed
        self._say()
        for child in self._children:
            child.watch.start()
        last = time.monotonic()
        while not self._stop.is_set() and self._layout.desired_up():
            now = time.monotonic()
            self._beat(now)
            for child in self._children:
                self._tend(child)
                self._listen(child, now - last)
            last = now
            self._stop.wait(_TICK_SECONDS)
        for child in self._children:
            child.watch.stop()
        self._stop_all()
        self._restarts = {}
        self._say()

    def _say(self) -> None:
        """Leaves the facts for `status`."""
        self._layout.write_process(
            "supervisor",
            api_url=self._settings.api_url,
            inference_url=self._settings.inference_url,
            restarts=self._restarts,
        )

    def _beat(self, now: float) -> None:
        """By this the guardian sees that this process does not hang itself."""
        if now - self._beaten >= _BEAT_SECONDS:
            self._layout.beat("supervisor")
            self._beaten = now

    def _tend(self, child: Child) -> None:
        now = time.monotonic()
        if child.popen is not None and child.popen.poll() is not None:
            steady = now - child.started > _STEADY_SECONDS
            child.deaths = 0 if steady else child.deaths + 1
            wait = 0.0 if child.deaths <= 1 else min(_LONGEST_WAIT, 0.25 * 2 ** min(child.deaths, 10))
            child.not_before = now + wait
            code = child.popen.returncode
            _log.warning("child.died", child=child.name, code=code, waits=wait)
            self._note(child, child.hung or f"it ended with {code}")
            child.popen, child.hung = None, None
        if child.popen is None and now >= child.not_before and not self._alive(child):
            if child.hung is not None:  # an earlier supervisor's child, so there is no code
                self._note(child, child.hung)
                child.hung = None
            child.popen = self._start(child)
            child.started = now
            count = self._restarts.get(child.name, {}).get("count", 0)
            _log.info("child.started", child=child.name, pid=child.popen.pid, restarts=count)

    def _note(self, child: Child, reason: str) -> None:
        before = self._restarts.get(child.name, {}).get("count", 0)
        fact = {"count": before + 1, "at": rfc3339(utc_now()), "reason": reason}
        self._restarts = {**self._restarts, child.name: fact}
        self._say()

    def _listen(self, child: Child, elapsed: float) -> None:
        pid = child.popen.pid if child.popen is not None else self._layout.pid(child.name)
        silent = child.watch.look(pid, elapsed, due=_TICK_SECONDS)
        if pid is None or silent is None:
            return
        child.hung = f"killed: it gave no answer for {silent:.0f} s"
        _log.error("child.hung", child=child.name, pid=pid, silent_seconds=round(silent, 1))
        _kill_group(pid)

    def _alive(self, child: Child) -> bool:
        """Somebody may have been started by a supervisor before this one."""
        return self._layout.alive(child.name)

    def _start(self, child: Child) -> "subprocess.Popen[bytes]":
        path = self._layout.log_file(child.name)
        _rotate(path)
        with path.open("ab") as log:
            return subprocess.Popen(
                child.command,
                env={**os.environ, "MLOPS_HOME": str(self._settings.home), **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._settings.home,
            )

    def _stop_all(self) -> None:
        """The inference server last: it answers until the end."""
        for name in PROCESSES:
            _terminate(self._layout.pid(name), self._settings.shutdown_seconds + 5)
        for process in processes_of(self._settings.home):
            _terminate(process.pid, 5)


def processes_of(home: Path) -> list[psutil.Process]:
    """Every other process of this installation: jobs, model processes, what they started."""
    needle, own, found = str(home), os.getpid(), []
    for process in psutil.process_iter():
        if process.pid in (own, os.getppid()):
            continue
        try:
            environment = process.environ()
            ours = environment.get("MLOPS_HOME") == needle or any(
                value.startswith(needle + os.sep)
                for key, value in environment.items()
                if key.startswith("MLOPS_")
            )
            marked = ours or any(part.startswith(needle + os.sep) for part in process.cmdline())
        except (psutil.Error, OSError):
            continue
        if marked and _is_python_of_ours(process):
            found.append(process)
    return found


def _is_python_of_ours(process: psutil.Process) -> bool:
    """Not the user's editor, shell or `mlops` that merely has `MLOPS_HOME` set or a file of ours open."""
    try:
        return "MLOPS_JOB_ID" in process.environ() or any(map(_OURS.search, process.cmdline()))
    except (psutil.Error, OSError):
        return False


def _kill_group(pid: int) -> None:
    """A child leads a group of its own; who hangs in it, such as a worker, would keep the port."""
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def _terminate(pid: int | None, seconds: float) -> None:
    if pid is None:
        return
    try:
        process = psutil.Process(pid)
        process.terminate()
        process.wait(seconds)
    except psutil.TimeoutExpired:
        _log.warning("child.killed", pid=pid)
        process.kill()
    except psutil.NoSuchProcess:
        return


def _rotate(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))


def main() -> int:
    settings = Settings()
    logs.configure(settings.log_level)
    layout = Layout(settings.home)
    try:
        with layout.hold("supervisor"):
            supervisor = Supervisor(settings)
            signal.signal(signal.SIGTERM, supervisor.stop)
            signal.signal(signal.SIGINT, supervisor.stop)
            supervisor.run()
    except LockHeldError:
        return 0  # another one is there already
    return 0


if __name__ == "__main__":
    sys.exit(main())
