"""The way to Redis for look-ups: made beside the request, and made again when it broke.

A deadline of some milliseconds is too short for a name to be resolved and TLS to be agreed on. So a
connection is made in a thread of its own, for which requests wait only as long as they may; the next one
finds it made.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from ml_platform.inference.features.errors import FeatureStoreUnavailable
from ml_platform.kit.redis.address import RedisAddress
from ml_platform.kit.redis.connection import RedisConnection
from ml_platform.kit.redis.errors import RedisError, RedisGone, RedisLate, RedisRefused

CONNECT_SECONDS: Final = 5.0


class RedisLink:
    """Not for two threads at once. Everything that goes wrong becomes `FeatureStoreUnavailable`."""

    def __init__(self, address: RedisAddress, connect_seconds: float = CONNECT_SECONDS) -> None:
        self._address = address
        self._seconds = connect_seconds
        self._connection: RedisConnection | None = None
        self._attempt: _Attempt | None = None

    def exchange(self, data: bytes, count: int, until: float) -> list[Any]:
        """Sends commands that only read, and answers their replies; once more when the connection had broken."""
        try:
            stood = self._connection is not None
            try:
                replies = self._once(data, count, until)
            except RedisGone:
                if not stood:
                    raise
                replies = self._once(data, count, until)
        except RedisError as error:
            raise FeatureStoreUnavailable(
                f"the online store ({self._address}) cannot be read: {error}"
            ) from None
        for reply in replies:
            if isinstance(reply, RedisRefused):
                raise FeatureStoreUnavailable(f"the online store ({self._address}) refused: {reply}")
        return replies

    def close(self) -> None:
        """Ends the connection; a later exchange would make a new one."""
        self._drop()
        if self._attempt is not None:
            self._attempt.abandon()
            self._attempt = None

    def _once(self, data: bytes, count: int, until: float) -> list[Any]:
        if self._connection is None:
            self._connection = self._connected(until)
        try:
            return self._connection.exchange(data, count, until)
        except RedisError:
            self._drop()
            raise

    def _connected(self, until: float) -> RedisConnection:
        if self._attempt is None:
            self._attempt = _Attempt(self._address, self._seconds)
        try:
            connection = self._attempt.result(until)
        except RedisLate:
            if self._attempt.ended:
                self._attempt = None
            raise
        except RedisError:
            self._attempt = None
            raise
        self._attempt = None
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Attempt:
    """A connection that is being made; several requests may wait for the same one."""

    def __init__(self, address: RedisAddress, seconds: float) -> None:
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._abandoned = False
        self._connection: RedisConnection | None = None
        self._error: RedisError | None = None
        threading.Thread(target=self._run, args=(address, seconds), name="redis", daemon=True).start()

    @property
    def ended(self) -> bool:
        return self._done.is_set()

    def result(self, until: float) -> RedisConnection:
        """The connection; raises the error that it ended with, or RedisLate while it is on its way."""
        if not self._done.wait(max(until - time.monotonic(), 0)):
            raise RedisLate("it did not take the connection within the deadline")
        if self._connection is None:
            assert self._error is not None
            raise self._error
        return self._connection

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._abandoned = True
            if self._connection is not None:
                self._connection.close()

    def _run(self, address: RedisAddress, seconds: float) -> None:
        try:
            connection = RedisConnection(address, time.monotonic() + seconds)
            with self._lock:
                self._connection = connection
                if self._abandoned:
                    connection.close()
        except RedisError as error:
            self._error = error
        except Exception as error:  # whoever waits has to be told, whatever it was
            self._error = RedisGone(f"the connection could not be made ({type(error).__name__})")
        finally:
            self._done.set()
