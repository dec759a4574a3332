"""The program between a worker and an isolated model: nothing that the model starts outlives it.

It runs on the worker's own interpreter and holds no code of the model. Orphans come back to it, also those
that left the session, so that when the model ends, the worker asks (SIGTERM) or the worker is gone, it can
end all of them and remove their directory. Meanwhile it looks at their memory and their number each second,
so that the worker has nothing to do with that.

Its exit code is the model's, 128 and the number of a signal, or one of those below.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OUT_OF_MEMORY = 121
TOO_MANY_PROCESSES = 122
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 1.0
_PATIENCE = 10.0
_KILL_ME_FIRST = "800"
_LINUX = sys.platform == "linux"


def main() -> int:
    setup: dict[str, Any] = json.loads(sys.argv[1])
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whatever of the worker's came along
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != setup["parent"]:
            return 1  # it died before we could ask to be told
    model = os.fork()
    if not model:
        _become(setup)
    _let_go_of_pipes()
    ended, code = _watch(model, setup, woken, asked)
    ended |= _end_all(model, ended)
    shutil.rmtree(setup["home"], ignore_errors=True)
    return code if code is not None else _exit_code(ended.get(model, 0))


def _watch(
    model: int, setup: dict[str, Any], woken: int, asked: list[int]
) -> tuple[dict[int, int], int | None]:
    """Until the model has ended or must; what has ended meanwhile, and the exit code when we know better."""
    ended: dict[int, int] = {}
    looked = time.monotonic()
    while model not in ended and not asked:
        select.select([woken], [], [], _LOOK_SECONDS)
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)
        ended |= _reap()
        if model not in ended and time.monotonic() - looked >= _LOOK_SECONDS:
            looked = time.monotonic()
            excess = _excess(setup["memory_bytes"], setup["processes"])
            if excess is not None:
                return ended, excess
    return ended, None


def _excess(memory_bytes: int, processes: int) -> int | None:
    tree = _descendants(os.getpid())
    if processes and len(tree) > processes:
        return TOO_MANY_PROCESSES
    # Forked processes share pages, which are counted once for each: the proportional size decides.
    if memory_bytes and sum(map(_resident, tree)) > memory_bytes and sum(map(_share, tree)) > memory_bytes:
        return OUT_OF_MEMORY
    return None


def _become(setup: dict[str, Any]) -> None:
    """In the new process: gives up what it must not have, and becomes the model's program."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if _LINUX:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _lower_priority(setup["nice"])
        requests, answers = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)  # what the model prints
        for end in (requests, answers):
            os.set_inheritable(end, True)
        program = setup["program"]
        os.execv(program[0], [*program, str(requests), str(answers)])  # noqa: S606
    except BaseException as error:
        os.write(2, f"the model's program cannot be started: {error}\n".encode())
    finally:
        os._exit(code)


def _lower_priority(nice: int) -> None:
    """Loops of a model take what the workers leave over, and it is the first to go when memory is short."""
    if nice:
        os.nice(nice)
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        _write("/proc/self/autogroup", str(nice))  # where sessions share the machine, nice counts within one
    _write("/proc/self/oom_score_adj", _KILL_ME_FIRST)


def _write(path: str, text: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).write_text(text)


def _let_go_of_pipes() -> None:
    """So that the worker sees the model's end of them close."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


def _end_all(model: int, before: dict[int, int]) -> dict[int, int]:
    """Ends every descendant; what was reaped, with its status."""
    ended: dict[int, int] = {}
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        tree = _descendants(os.getpid())
        if model not in before and model not in ended:
            tree.append(model)  # where nobody tells us of descendants, at least itself and its group
        if not tree:
            break
        # A group is killed in one step, in which none of its members can fork; so groups first.
        groups = set()
        for pid in tree:
            with contextlib.suppress(OSError):
                groups.add(os.getpgid(pid))
        for group in groups - {os.getpgrp(), 0, 1}:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        for pid in tree:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
        ended |= _reap()
    return ended


def _reap() -> dict[int, int]:
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    return ended


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = list(_children(waiting.pop()))
        found += children
        waiting += children
    return found


def _children(pid: int) -> Iterable[int]:
    """Those that any of its threads started."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, path.read_text().split())


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def _share(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(pid)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
