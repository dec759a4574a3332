"""A server's processes: started, found again wherever they hide, weighed, stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import psutil

MARK = "BENCH_SERVER"
START_SECONDS = 180


class StartError(Exception):
    """A server did not come up; the message has the tail of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server with all its processes: its descendants, and those that carry its mark.

    A server that leaves its parent (Ray) keeps the mark in its environment; one whose environment is
    scrubbed (our isolated models) remains a descendant.
    """

    def __init__(self, command: list, home: Path, environment: dict[str, str]) -> None:
        self._mark = uuid.uuid4().hex
        self.log = home / "server.log"
        home.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=home,
                start_new_session=True,
                env={**os.environ, **environment, MARK: self._mark},
            )

    def wait_for(self, check) -> None:
        """Until `check()` is true; an OSError means not yet."""
        until = time.monotonic() + START_SECONDS
        last: object = "nothing was answered"
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if check():
                    return
            except OSError as error:  # refused, timed out, or an HTTP status
                last = error
            time.sleep(0.05)
        code = self.process.poll()
        how = f"ended with {code}" if code is not None else f"did not answer in {START_SECONDS} s ({last})"
        raise StartError(f"{how}: {self.log.read_text(errors='replace')[-1500:]}")

    def processes(self) -> list[psutil.Process]:
        found = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(self.process.pid)
            found = {one.pid: one for one in (main, *main.children(recursive=True))}
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if one.environ().get(MARK) == self._mark:
                    found[one.pid] = one
        return list(found.values())

    def cpu_seconds(self) -> dict[int, float]:
        """User and system time of each process, its ended children included."""
        taken = {}
        for one in self.processes():
            with contextlib.suppress(psutil.Error):
                taken[one.pid] = sum(one.cpu_times()[:4])
        return taken

    def memory(self) -> dict:
        """PSS in MB: pages that are shared count in parts, so that their sum is what is really used."""
        sizes = []
        for one in self.processes():
            with contextlib.suppress(psutil.Error):
                sizes.append(one.memory_full_info().pss / 1e6)
        return {"pss_mb": sum(sizes), "processes": len(sizes)}

    def stop(self) -> None:
        everyone = self.processes()
        self._send(everyone[:1], signal.SIGTERM)
        psutil.wait_procs(everyone, timeout=15)
        left = self.processes()
        self._send(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)

    @staticmethod
    def _send(processes: list[psutil.Process], signum: int) -> None:
        for one in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signum)


def post(url: str, body: bytes, headers: dict[str, str], timeout: float = 60) -> tuple[bytes, dict]:
    """The answer's body and headers; raises OSError for anything but a 2xx."""
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        raise OSError(f"{error.code}: {error.read()[:500].decode(errors='replace')}") from error


def cpu_between(before: dict[int, float], after: dict[int, float]) -> float:
    """Seconds of CPU between two looks."""
    return sum(value - before.get(pid, 0.0) for pid, value in after.items())
