"""One connection to Redis, with a deadline for every exchange.

The replies are parsed by hiredis; all else that a client library does (pools, retries, decoding, a Python
object for each command) costs more than the exchange itself.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any, Final

import hiredis

from ml_platform.kit.redis.address import RedisAddress
from ml_platform.kit.redis.errors import RedisError, RedisGone, RedisLate, RedisRefused
from ml_platform.kit.redis.protocol import command

MAX_REPLY_BYTES: Final = 256 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_MORE: Final = object()


class RedisConnection:
    """Connected and signed in when it is made; raises `RedisError`. Not for two threads at once.

    Deadlines are moments of the monotonic clock. After a `RedisGone` or `RedisLate` it is of no use any
    more, since a late reply would be taken for that of the next command.
    """

    def __init__(self, address: RedisAddress, until: float) -> None:
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._socket = _connected(address, until)
        try:
            self._sign_in(address, until)
        except BaseException:
            self.close()
            raise

    def exchange(self, data: bytes, count: int, until: float) -> list[Any]:
        """Sends commands and answers their `count` replies in order.

        An error that Redis gives to one of them stands in its place, as a `RedisRefused`.
        """
        replies: list[Any] = []
        received = 0
        try:
            self._socket.settimeout(_left(until))
            self._socket.sendall(data)
            while len(replies) < count:
                reply = self._reader.gets()
                if reply is not _MORE:
                    replies.append(
                        RedisRefused(str(reply)) if isinstance(reply, hiredis.ReplyError) else reply
                    )
                    continue
                self._socket.settimeout(_left(until))
                chunk = self._socket.recv(_CHUNK_BYTES)
                if not chunk:
                    raise RedisGone("it closed the connection")
                received += len(chunk)
                if received > MAX_REPLY_BYTES:
                    raise RedisGone(f"its answer is longer than {MAX_REPLY_BYTES} bytes")
                self._reader.feed(chunk)
        except TimeoutError:
            raise RedisLate("it did not answer within the deadline") from None
        except OSError as error:
            raise RedisGone(f"the connection broke ({_named(error)})") from None
        except hiredis.ProtocolError:
            raise RedisGone("its answer is not Redis's protocol") from None
        return replies

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _sign_in(self, address: RedisAddress, until: float) -> None:
        steps = []
        if address.password is not None:
            user = [address.username.encode()] if address.username else []
            steps.append(command(b"AUTH", *user, address.password.encode()))
        if address.database:
            steps.append(command(b"SELECT", b"%d" % address.database))
        for reply in self.exchange(b"".join(steps), len(steps), until):
            if isinstance(reply, RedisError):
                raise reply


def _connected(address: RedisAddress, until: float) -> socket.socket:
    plain: socket.socket | None = None
    try:
        if address.path:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            plain.settimeout(_left(until))
            plain.connect(address.path)
            return plain
        plain = socket.create_connection((address.host, address.port), timeout=_left(until))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if not address.tls:
            return plain
        plain.settimeout(_left(until))
        return _context(address).wrap_socket(plain, server_hostname=address.host)
    except BaseException as error:
        if plain is not None:
            plain.close()
        if isinstance(error, TimeoutError):
            raise RedisLate("it did not take the connection within the deadline") from None
        if isinstance(error, ssl.SSLError):
            raise RedisGone(f"TLS failed ({error.reason or 'no reason given'})") from None
        if isinstance(error, OSError):
            raise RedisGone(f"nobody answers there ({_named(error)})") from None
        raise


def _context(address: RedisAddress) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
        if address.cert_file is not None:
            context.load_cert_chain(address.cert_file, address.key_file)
    except OSError as error:  # also what OpenSSL finds in the files
        raise RedisGone(f"the certificates for TLS cannot be read ({_named(error)})") from None
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _named(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
