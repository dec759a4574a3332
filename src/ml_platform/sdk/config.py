"""Where the platform is and who asks: arguments, else the environment, else the profile."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.sdk.errors import NotConfiguredError

_HINT = "start one with `mlops up`, sign in with `mlops login`, or set MLOPS_API_URL and MLOPS_API_KEY"


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    url: str
    key: str
    team: str | None = None

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r}, team={self.team!r})"


def profile_path() -> Path:
    """The profile that `mlops up` and `mlops login` write (0600)."""
    home = os.environ.get("MLOPS_HOME") or "~/.mlops"
    return Path(home).expanduser() / "profile.json"


def read_profile() -> dict[str, Any]:
    """The profile's content; empty when there is none.

    Raises:
        NotConfiguredError: it is there and cannot be read.
    """
    path = profile_path()
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise NotConfiguredError(f"the profile {path} cannot be read: {error}", hint=_HINT) from None
    return value if isinstance(value, dict) else {}


def write_profile(values: dict[str, Any]) -> Path:
    """Replaces the profile; only its owner can read it."""
    path = profile_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".profile.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(values, indent=2) + "\n")
    temporary.replace(path)
    return path


def resolve(url: str | None, key: str | None, team: str | None) -> Connection:
    """The connection to use.

    Raises:
        NotConfiguredError: the address or the key is nowhere to be found.
    """
    given_url = url or os.environ.get("MLOPS_API_URL")
    given_key = key or os.environ.get("MLOPS_API_KEY")
    profile = read_profile() if not (given_url and given_key) else {}
    known = str(profile.get("url") or "").rstrip("/")
    found_url = str(given_url or known).rstrip("/")
    if not found_url:
        raise NotConfiguredError("no address of a platform is known", hint=_HINT)
    if not found_url.startswith(("http://", "https://")):
        raise NotConfiguredError(f"{found_url!r} is no address: it must begin with http:// or https://")
    # A key goes only to the platform that it was kept for.
    found_key = given_key or (profile.get("key") if known == found_url else None)
    if not found_key:
        raise NotConfiguredError(f"no key for {found_url} is known", hint=_HINT)
    text = str(found_key).strip()
    if not text.isascii() or not text.isprintable() or not text:
        raise NotConfiguredError("the key holds characters that no key has", hint="copy it again")
    kept_team = profile.get("team") if given_key is None else None
    return Connection(url=found_url, key=text, team=team or os.environ.get("MLOPS_TEAM") or kept_team)
