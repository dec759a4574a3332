"""Becomes another program while holding the lock that says it lives: `held.py NAME COMMAND...`.

The lock is a property of the open file, so it outlives `exec` and ends with the process.
"""

import fcntl
import os
import sys
from pathlib import Path

from ml_platform.server.local.layout import Layout


def main(arguments: list[str]) -> None:
    name, command = arguments[0], arguments[1:]
    layout = Layout(Path(os.environ["MLOPS_HOME"]))
    layout.run.mkdir(parents=True, exist_ok=True)
    lock = os.open(layout.run / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another one lives
    os.set_inheritable(lock, True)
    layout.write_process(name)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
