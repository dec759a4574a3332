"""Whose key the profile of this machine holds after `mlops up`."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from ml_platform.kit.secrets import write_private
from ml_platform.server.local.layout import Layout
from ml_platform.server.settings import Settings

Say = Callable[[str], None]
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def settle_profile(settings: Settings, layout: Layout, say: Say) -> None:
    """Leaves whoever is signed in here with a key that is known; else the administrator is.

    A profile of another platform is kept beside it: its key would be lost otherwise.
    """
    kept = _kept_profile(layout)
    admin = admin_key(settings)
    if kept is not None and _is_here(str(kept["url"]), settings):
        known, who = _key_known(settings, kept)
        if known:
            if kept["url"] != settings.api_url:
                write_private(layout.profile, json.dumps({**kept, "url": settings.api_url}, indent=2) + "\n")
            if kept["key"] != admin and who is not None:
                say(f"the profile stays signed in as {who}")
            return
        say("the key in the profile is not known here any more; the administrator's takes its place")
    elif kept is not None and admin is not None:
        aside = layout.profile.with_suffix(".previous.json")
        write_private(aside, json.dumps(kept, indent=2) + "\n")
        say(f"the profile was signed in at {kept['url']}; it is kept in {aside}")
    if admin is not None:
        write_private(layout.profile, json.dumps({"url": settings.api_url, "key": admin}, indent=2) + "\n")


def _kept_profile(layout: Layout) -> dict[str, Any] | None:
    try:
        kept = json.loads(layout.profile.read_text())
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(kept, dict) and all(isinstance(kept.get(n), str) and kept[n] for n in ("url", "key"))
    return kept if whole else None


def _is_here(url: str, settings: Settings) -> bool:
    """Whether an address is this installation's, also as `localhost` or at the port that it had before."""
    try:
        given, ours = httpx.URL(url), httpx.URL(settings.api_url)
    except httpx.InvalidURL:
        return False
    if given.host in _LOOPBACK and ours.host in _LOOPBACK:
        return given.scheme == ours.scheme
    return (given.scheme, given.host, given.port) == (ours.scheme, ours.host, ours.port)


def _key_known(settings: Settings, kept: dict[str, Any]) -> tuple[bool, str | None]:
    """Whether the key is one of this platform's, and whose; one that cannot be asked for counts as known."""
    headers = {"authorization": f"Bearer {kept['key']}"}
    try:
        answer = httpx.get(f"{settings.api_url}/api/v1/whoami", headers=headers, timeout=10)
        if answer.status_code == 401:
            return False, None
        me = answer.json() if answer.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):  # also a key of characters that no header holds
        return True, None
    return True, f"{me['name']} in team {kept.get('team') or me['team']}" if me else None


def admin_key(settings: Settings) -> str | None:
    """The first administrator's key, unless somebody removed it on purpose."""
    path = settings.home / "secrets" / "admin.key"
    return path.read_text().strip() if path.exists() else None
