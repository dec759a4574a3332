"""Where a request goes: every protocol's paths, alone or below `/{team}/{environment}`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ml_platform.inference.dataplane import DEFAULT_ENVIRONMENT, Headers
from ml_platform.inference.errors import NotFound

_SHORT = 256
_MOST_KEPT = 1024


class Address(NamedTuple):
    """A path in parts; team None is the key's own, environment None is the header's or `production`."""

    team: str | None
    environment: str | None
    rest: str

    def environment_for(self, headers: Headers) -> str:
        """The path's environment, else that of the header `mlops-environment`, else `production`."""
        if self.environment is not None:
            return self.environment
        return headers.get(b"mlops-environment", b"").decode("latin-1") or DEFAULT_ENVIRONMENT


def split_path(path: str, root: str) -> Address | None:
    """The address of a path of the protocol whose paths start with `root`, or None when it is not one.

    `rest` starts with the root. What follows the root must be a new segment: `/v2x` is not below `/v2`.
    """
    # Callers ask the same few paths again and again.
    return _split_once(path, root) if len(path) <= _SHORT else _split(path, root)


def _split(path: str, root: str) -> Address | None:
    if _is_below(path, root):
        return Address(None, None, path)
    parts = path.split("/", 3)
    if len(parts) == 4 and parts[1] and parts[2] and _is_below(rest := "/" + parts[3], root):
        return Address(parts[1], parts[2], rest)
    return None


_split_once = lru_cache(_MOST_KEPT)(_split)


def address_of(path: str, root: str) -> Address:
    """As `split_path`; raises NotFound when the path is not one of the protocol."""
    address = split_path(path, root)
    if address is None:
        raise NotFound("there is no such route")
    return address


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}
