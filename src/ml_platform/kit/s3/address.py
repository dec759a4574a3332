"""Where objects are, and how they are reached. Light: whoever only asks whether something is in S3 pays nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

SCHEME = "s3"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SEGMENT = re.compile(r"[A-Za-z0-9._=@+~-]{1,250}")


class S3AddressError(ValueError):
    """No address of ours: a mistake in a setting or a URI that leads elsewhere."""


@dataclass(frozen=True, slots=True)
class S3Address:
    """`s3://bucket/prefix`; the prefix may be empty and does not end in a slash."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, uri: str) -> S3Address:
        """Raises S3AddressError unless it is plain: no query, no `..`, nothing to be decoded."""
        parts = urlsplit(uri)
        path = parts.path.strip("/")
        segments = path.split("/") if path else []
        plain = parts.scheme == SCHEME and not parts.query and not parts.fragment and uri == unquote(uri)
        if not plain or not _BUCKET.fullmatch(parts.netloc) or not all(map(_is_plain, segments)):
            raise S3AddressError(f"{uri[:200]!r} is not s3://bucket/prefix")
        return cls(parts.netloc, path)

    def __str__(self) -> str:
        return f"{SCHEME}://{self.bucket}/{self.prefix}".rstrip("/")

    def below(self, root: S3Address) -> str | None:
        """What follows `root` in this address; None when it is not below it."""
        if self.bucket != root.bucket:
            return None
        if not root.prefix:
            return self.prefix
        start = root.prefix + "/"
        return self.prefix[len(start) :] if self.prefix.startswith(start) else None


@dataclass(frozen=True, slots=True)
class S3Connection:
    """How a store is reached; what is empty is as the standard AWS variables say."""

    endpoint: str = ""
    region: str = ""
    connect_seconds: float = 3.0
    silence_seconds: float = 10.0
    retry_seconds: float = 10.0
    retries: int = 3


def _is_plain(segment: str) -> bool:
    return _SEGMENT.fullmatch(segment) is not None and segment not in {".", ".."}
