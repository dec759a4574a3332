"""Running programs that nobody has to trust: scrubbed environment, limits, a whole tree that can be ended.

Two ways in:

- `supervise` runs a program under the calling process, which must be single-threaded and have called
  `become_subreaper`: orphans of the program then come back to it, also those that left its session.
- `run_isolated` does the same from a process with threads, through a supervisor of its own. When the caller
  dies, the supervisor notices (its standard input ends) and takes the whole tree with it.

This file imports the standard library and psutil alone, because it is also that supervisor's program.
"""

import contextlib
import ctypes
import ctypes.util
import functools
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
)
"""The variables of ours that a foreign program may see; none of them is a secret of the platform."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_SECONDS = 0.2
_CHUNK = 65_536

Ending = Literal["exited", "timed_out", "cancelled", "out_of_memory", "too_many_processes"]


@dataclass(frozen=True)
class Limits:
    """What a program may use. `memory_bytes` and `processes` count its whole tree, the rest each process.

    There is no RLIMIT_NPROC: it counts every process of the user, ours and other jobs' among them.
    """

    timeout: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    address_space_bytes: int | None = None
    cpu_seconds: int | None = None
    file_bytes: int | None = None
    open_files: int | None = 4096


@dataclass(frozen=True)
class Outcome:
    """How a program ended; `exit_code` is negative for a signal, as in `subprocess`."""

    ended: Ending
    exit_code: int | None
    cpu_seconds: float
    max_rss_bytes: int
    wall_seconds: float


def scrubbed_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment built from nothing: the allow-list above, a home of its own, and `extra`."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    environment.setdefault("LANG", "C.UTF-8")
    environment |= {"HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONNOUSERSITE": "1"}
    return environment | dict(extra or {})


def openmp_variables(program: str | Path) -> dict[str, str]:
    """What a program of an environment of ours needs to find OpenMP where the system has none.

    The loader reads it when a process starts, so it cannot be set from within.
    """
    folder = Path(program).parent.parent / "lib" / "openmp"
    return {"LD_LIBRARY_PATH": str(folder)} if folder.is_dir() and not _system_openmp() else {}


@functools.cache
def _system_openmp() -> bool:
    return ctypes.util.find_library("gomp") is not None


def become_subreaper() -> None:
    """Makes orphaned descendants children of this process (Linux; elsewhere they go to init)."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def supervise(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    limits: Limits,
    output: Callable[[bytes], None],
    cancelled: Callable[[], bool] = lambda: False,
    grace: float = 2.0,
) -> Outcome:
    """Runs a program to its end and leaves none of its descendants behind.

    Args:
        argv: the program; stdin is empty, stdout and stderr go to `output` as they come.
        cwd: where it runs.
        env: all of its environment, see `scrubbed_environment`.
        limits: enforced on the way; which of them ended it is in the outcome.
        output: called with every piece of output; it should bound what it keeps, never refuse to take.
        cancelled: asked several times a second.
        grace: seconds between SIGTERM and SIGKILL when it is cancelled or out of time.

    Raises:
        OSError: the program cannot be started.
    """
    return _Supervision(argv, cwd=cwd, env=env, limits=limits, output=output).run(cancelled, grace)


def run_isolated(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    limits: Limits,
    output_bytes: int = 65_536,
) -> tuple[Outcome, str]:
    """Supervises a program from a process that has threads; returns the end of its output beside the outcome.

    Raises:
        RuntimeError: the supervisor itself died.
        OSError: the program cannot be started.
    """
    request = {
        "argv": list(argv),
        "cwd": str(cwd),
        "env": dict(env),
        "limits": asdict(limits),
        "output": output_bytes,
    }
    supervisor = subprocess.Popen(
        [sys.executable, "-I", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=scrubbed_environment(cwd),
    )
    # Waiting reads until the supervisor closes its end: it enforces the time limit itself.
    with supervisor:
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                supervisor.stdin.write(json.dumps(request).encode() + b"\n")
                supervisor.stdin.flush()
            answer = supervisor.stdout.read()
        finally:
            with contextlib.suppress(BrokenPipeError):
                supervisor.stdin.close()
    if not answer:
        msg = f"the supervisor of {argv[0]} died (exit code {supervisor.returncode})"
        raise RuntimeError(msg)
    result = json.loads(answer)
    if "error" in result:
        raise OSError(result["error"])
    return Outcome(**result["outcome"]), result["output"]


def kill_where_environment(name: str, value: str) -> int:
    """Ends every process of this user that was started with `name=value`; returns how many there were.

    For what a supervisor that was killed itself has left behind.
    """
    own, killed = os.getpid(), 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != own and process.environ().get(name) == value:
                process.kill()
                killed += 1
    return killed


class Tail:
    """Keeps the last bytes of an output, and says whether there were more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def text(self) -> str:
        cut = "[...] " if self.total > self._limit else ""
        return cut + bytes(self._kept[-self._limit :]).decode(errors="replace")


class _Supervision:
    """One program, from its start to the end of its last descendant."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        output: Callable[[bytes], None],
    ) -> None:
        self._limits = limits
        self._output = output
        self._started = time.monotonic()
        self._cpu = 0.0
        self._peak = 0
        self._sampled = 0.0
        self._process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**openmp_variables(argv[0]), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_limiter(limits),  # noqa: PLW1509 - this process has one thread, see `supervise`
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._watch_exit()

    def run(self, cancelled: Callable[[], bool], grace: float) -> Outcome:
        try:
            ended = self._until_ended(cancelled)
            if ended in ("cancelled", "timed_out"):
                self._ask_to_stop(grace)
            self._kill_everything()
            self._drain_rest()
        except BaseException:
            self._kill_everything()
            raise
        finally:
            self._selector.close()
            if self._process.stdout is not None:
                self._process.stdout.close()
        wall = time.monotonic() - self._started
        return Outcome(ended, self._process.returncode, round(self._cpu, 3), self._peak, round(wall, 3))

    def _watch_exit(self) -> None:
        """Wakes the loop at the moment of exit, also when a descendant keeps the pipe open."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._pidfd = os.fdopen(os.pidfd_open(self._process.pid), "rb", closefd=True, buffering=0)
                self._selector.register(self._pidfd, selectors.EVENT_READ)

    def _until_ended(self, cancelled: Callable[[], bool]) -> Ending:
        limits = self._limits
        while True:
            self._pump(_SAMPLE_SECONDS / 2)
            self._reap()
            if self._process.returncode is not None:
                return "exited"
            if cancelled():
                return "cancelled"
            if limits.timeout is not None and time.monotonic() - self._started > limits.timeout:
                return "timed_out"
            if time.monotonic() - self._sampled >= _SAMPLE_SECONDS:
                excess = self._sample()
                if excess is not None:
                    return excess

    def _sample(self) -> Ending | None:
        self._sampled = time.monotonic()
        tree = descendants()
        if self._limits.processes is not None and len(tree) > self._limits.processes:
            return "too_many_processes"
        rss = sum(map(_rss, tree))
        limit = self._limits.memory_bytes
        # Forked processes share pages, which RSS counts once for each: the proportional size decides.
        if limit is not None and rss > limit and (len(tree) == 1 or sum(map(_pss, tree)) > limit):
            self._peak = max(self._peak, rss)
            return "out_of_memory"
        self._peak = max(self._peak, rss)
        return None

    def _pump(self, timeout: float) -> bool:
        """Takes what output there is; False once the pipe has ended."""
        for key, _ in self._selector.select(timeout):
            if key.fd != self._pipe:
                self._selector.unregister(key.fileobj)
                self._pidfd.close()
                continue
            try:
                data = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(self._pipe)
                return False
            self._output(data)
        return bool(self._selector.get_map())

    def _ask_to_stop(self, grace: float) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and self._process.returncode is None:
            self._pump(0.05)
            self._reap()

    def _kill_everything(self, patience: float = 15.0) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            tree = descendants()
            if not tree:
                break
            # A group is killed in one step, in which none of its members can fork; so groups first.
            kill_processes(tree)
            self._reap()
            self._pump(0.01)
        self._reap()

    def _drain_rest(self) -> None:
        deadline = time.monotonic() + 2.0
        while self._pipe in {key.fd for key in self._selector.get_map().values()}:
            if time.monotonic() > deadline:
                return  # somebody who escaped holds the other end; what was written until now is kept
            self._pump(0.05)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._cpu += usage.ru_utime + usage.ru_stime
            unit = 1 if sys.platform == "darwin" else 1024
            self._peak = max(self._peak, usage.ru_maxrss * unit)
            if pid == self._process.pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)


def descendants(pid: int | None = None) -> list[int]:
    """All living processes below `pid` (default: this one)."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def kill_processes(pids: Iterable[int]) -> None:
    """SIGKILL to the groups of these processes (never to our own group), then to each of them."""
    groups = set()
    pids = list(pids)
    for pid in pids:
        with contextlib.suppress(OSError):
            groups.add(os.getpgid(pid))
    for group in groups - {os.getpgrp(), 0, 1}:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _pss(pid: int) -> int:
    try:
        with Path(f"/proc/{pid}/smaps_rollup").open() as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration, ValueError):
        return _rss(pid)


def _limiter(limits: Limits) -> Callable[[], None]:
    bounds = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.address_space_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ]
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # before the fork: loading allocates
    parent = os.getpid()

    def apply() -> None:
        os.umask(0o077)
        for which, value in bounds:
            if value is not None:
                hard = resource.getrlimit(which)[1]
                allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(which, (allowed, allowed))
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we could ask to be told
                os._exit(1)

    return apply


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def _serve() -> None:
    """The supervisor's program: one request on stdin, one answer on stdout."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    become_subreaper()
    tail = Tail(request["output"])

    def caller_is_gone() -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            return bool(selector.select(0))

    try:
        outcome = supervise(
            request["argv"],
            cwd=Path(request["cwd"]),
            env=request["env"],
            limits=Limits(**request["limits"]),
            output=tail.add,
            cancelled=caller_is_gone,
            grace=0.0,
        )
        answer: dict[str, Any] = {"outcome": asdict(outcome), "output": tail.text()}
    except OSError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _serve()
