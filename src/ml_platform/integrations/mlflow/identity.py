"""Who is asking: the answer that the control plane gives about a request.

The tracking server knows no users. It asks one callable, which sees the ASGI scope (headers, cookies)
and answers with an identity or with a refusal.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

Scope = MutableMapping[str, Any]
WorkspaceRole = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class MlflowIdentity:
    """A caller and the workspaces (teams) that are open to it.

    Attributes:
        user: name that appears in refusals and in registry writes.
        workspaces: role by workspace; any role but `write` may only read.
        default_workspace: workspace of a request that names none.
        internal: the platform itself, which may write the tags and aliases that are reserved for it.
        caller: who it is to those who authenticate, handed back to the policy as it is.
    """

    user: str
    workspaces: Mapping[str, str]
    default_workspace: str | None
    internal: bool = False
    caller: object | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in.

    `location` is where a browser that asked for a page is sent instead (the sign-in).
    """

    status: int = 401
    reason: str = "Sign in, or send an API key as bearer token"
    location: str | None = None


Authenticate = Callable[[Scope], MlflowIdentity | Refusal]
"""Called in a worker thread, once a request; it may block on a database."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return the only value of a header (lower-case name), or None when it is absent or repeated."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


def bearer_token(scope: Scope) -> str | None:
    """Return the token that the request presents: bearer, or the password of basic authentication."""
    scheme, _, credentials = (header(scope, b"authorization") or "").partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer":
        return credentials or None
    if scheme.lower() != "basic":
        return None
    try:
        _, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or None
