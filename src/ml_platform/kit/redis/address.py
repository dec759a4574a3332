"""Where a Redis server is and how to get in, from a URL as Redis clients write it.

    redis://[[user]:password@]host[:port][/database]
    rediss://...                                        the same over TLS
    unix://[[user]:password@]/path/of/socket[?db=number]

Options behind the question mark: `db`, and for TLS `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (files),
`ssl_cert_reqs` ("required" or "none"). Names and passwords are percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

_SCHEMES = ("redis", "rediss", "unix")
_TLS_FILES = {"ssl_ca_certs": "ca_file", "ssl_certfile": "cert_file", "ssl_keyfile": "key_file"}
_FORM = "expected redis://[user:password@]host[:port][/database], rediss://... or unix://..."


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """`path` is a Unix socket, in place of `host` and `port`. `str()` is safe to show."""

    host: str = ""
    port: int = 6379
    path: str = ""
    database: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __str__(self) -> str:
        place = self.path or (
            f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        )
        return f"Redis at {place}, database {self.database}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError with a text that shows nothing of the URL but the names of its options."""
        try:
            split = urlsplit(url.strip())
            port = split.port or 6379
            username = unquote(split.username, errors="strict") if split.username else None
            password = unquote(split.password, errors="strict") if split.password else None
            options = dict(parse_qsl(split.query, strict_parsing=bool(split.query), errors="strict"))
        except ValueError:
            raise ValueError(f"the address of Redis cannot be read: {_FORM}") from None
        if split.scheme not in _SCHEMES or split.fragment:
            raise ValueError(f"the address of Redis cannot be read: {_FORM}")
        if username and password is None:
            raise ValueError("the address of Redis has a user without a password")
        path = unquote(split.path)
        local = split.scheme == "unix"
        if local == bool(split.hostname) or (local and not path.startswith("/")):
            raise ValueError(f"the address of Redis names no server: {_FORM}")
        database = options.pop("db", "") or ("" if local else path.strip("/")) or "0"
        if not (database.isascii() and database.isdigit() and len(database) < 7):
            raise ValueError("the address of Redis has a database that is no number")
        tls, verify, files = _tls(options, secure=split.scheme == "rediss")
        return cls(
            host=split.hostname or "",
            port=port,
            path=path if local else "",
            database=int(database),
            username=username,
            password=password,
            tls=tls,
            verify=verify,
            **files,
        )


def _tls(options: dict[str, str], *, secure: bool) -> tuple[bool, bool, dict[str, str]]:
    files = {name: options.pop(option) for option, name in _TLS_FILES.items() if option in options}
    verify = options.pop("ssl_cert_reqs", "required")
    if verify not in {"required", "none"}:
        raise ValueError("ssl_cert_reqs in the address of Redis: expected required or none")
    if options:
        raise ValueError(f"the address of Redis has an unknown option: {min(options)[:40]!r}")
    if not secure and (files or verify == "none"):
        raise ValueError("the address of Redis has options of TLS: write rediss://")
    return secure, verify == "required", files
