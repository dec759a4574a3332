"""The real `mlops`, in this process: what it writes where, and its exit code."""

import contextlib
import io
import json
import sys
import threading
from dataclasses import dataclass
from typing import Any, TextIO

import pytest

from ml_platform.cli.main import main


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:
        """What `--output json` wrote; strict JSON and nothing else."""
        return json.loads(self.stdout, parse_constant=_refuse)


class _OfThisThread(io.TextIOBase):
    """Keeps what one thread writes; the server's threads, in the same process, write where they did.

    There is one for each stream and it lives as long as the process: before Python 3.14 `print` in another
    thread may still be using the `sys.stdout` that is being replaced, and must not find it freed.
    """

    def __init__(self) -> None:
        self._owner: int | None = None
        self._others: TextIO = io.StringIO()
        self._kept = io.StringIO()

    def write(self, text: str) -> int:
        mine = threading.get_ident() == self._owner
        return (self._kept if mine else self._others).write(text)

    def take(self, others: TextIO) -> None:
        """From now on this thread's; `others` is where everybody else's goes on going."""
        self._owner, self._others, self._kept = threading.get_ident(), others, io.StringIO()

    @property
    def text(self) -> str:
        return self._kept.getvalue()


_OUT, _ERR = _OfThisThread(), _OfThisThread()


class Mlops:
    """Runs commands with an environment of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def use(self, **variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                self._patch.delenv(name, raising=False)
            else:
                self._patch.setenv(name, value)

    def __call__(self, *arguments: object, stdin: str = "") -> Ran:
        _OUT.take(sys.stdout)
        _ERR.take(sys.stderr)
        self._patch.setattr(sys, "argv", ["mlops", *map(str, arguments)])
        self._patch.setattr(sys, "stdin", io.StringIO(stdin))
        code = 0
        with contextlib.redirect_stdout(_OUT), contextlib.redirect_stderr(_ERR):
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
        return Ran(code, _OUT.text, _ERR.text)

    def json(self, *arguments: object, stdin: str = "") -> Any:
        """The data of a command that must succeed."""
        ran = self(*arguments, "--output", "json", stdin=stdin)
        assert ran.code == 0, ran.stderr
        return ran.data


def _refuse(token: str) -> None:
    pytest.fail(f"{token} is not JSON")
