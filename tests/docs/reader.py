"""Follows a document as a person would: its shell blocks and its Python blocks, in order, in one place.

Variables that a shell block exports are there in every block after it, as in one terminal. All Python
blocks of a document share one interpreter, which is a process of its own: what they import and set stays
out of the tests'.
"""

import doctest
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.markdown import Block

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_INTERPRETER = """
import contextlib, io, json, os, sys, traceback

names, answers = {"__name__": "__main__"}, sys.stdout
for request in map(json.loads, sys.stdin):
    os.environ.update(request["environment"])
    printed, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(request["code"], request["name"], "exec"), names)
    except BaseException:
        error = traceback.format_exc()
    answers.write(json.dumps({"printed": printed.getvalue(), "error": error}) + "\\n")
    answers.flush()
"""


class Reader:
    """Runs blocks; every failure is an AssertionError that names the document and the line."""

    def __init__(self, document: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self._document = document
        self._folder = folder
        self._environment = dict(environment)
        self._interpreter = subprocess.Popen(
            [sys.executable, "-c", _INTERPRETER],
            env=self._environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._interpreter.kill()
        self._interpreter.communicate()

    def follow(self, block: Block) -> None:
        """Runs a block and compares what it printed with what the document says that it prints."""
        where = f"{self._document}:{block.line}"
        printed = self._python(block, where) if block.language == "python" else self._shell(block, where)
        if block.expected is not None:
            assert doctest.OutputChecker().check_output(block.expected, printed, _FLAGS), (
                f"{where} prints\n{printed}\nthe document says\n{block.expected}"
            )

    def _python(self, block: Block, where: str) -> str:
        assert self._interpreter.stdin is not None
        assert self._interpreter.stdout is not None
        request = {
            "code": "\n" * block.line + block.text,
            "name": str(self._document),
            "environment": self._environment,
        }
        self._interpreter.stdin.write(json.dumps(request) + "\n")
        self._interpreter.stdin.flush()
        line = self._interpreter.stdout.readline()
        assert line, f"{where} ended the interpreter"
        answer = json.loads(line)
        assert answer["error"] is None, f"{where} failed:\n{answer['printed']}\n{answer['error']}"
        return str(answer["printed"])

    def _shell(self, block: Block, where: str) -> str:
        kept = self._folder / ".environment"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{block.text}\nenv -0 > '{kept}'\n"],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{where} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        pairs = (item.partition("=") for item in kept.read_text().split("\0") if item)
        self._environment = {name: value for name, _, value in pairs}
        return done.stdout
