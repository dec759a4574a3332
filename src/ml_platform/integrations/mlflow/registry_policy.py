"""What clients may change in the model registry, and in the files that its versions were made from.

Governance hangs on a few names: the alias that marks the champion and the tags under `mlops.` carry the
platform's own decisions, so a client that could write them could approve its own model. Everything else that
a client writes is asked of a policy first, and the policy hears how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

PLATFORM_TAG_PREFIX = "mlops."
PROTECTED_ALIASES = frozenset({"champion"})

RegistryAction = Literal[
    "create_registered_model",
    "update_registered_model",
    "rename_registered_model",
    "delete_registered_model",
    "set_registered_model_tag",
    "delete_registered_model_tag",
    "set_alias",
    "delete_alias",
    "create_model_version",
    "update_model_version",
    "delete_model_version",
    "transition_stage",
    "set_model_version_tag",
    "delete_model_version_tag",
    "delete_logged_model",
    "write_artifact",
]


@dataclass(frozen=True, slots=True)
class RegistryWrite:
    """One change that a client asks for.

    `key` is the tag or alias, `value` the tag's value, the new name, the stage or the source. For a logged
    model and for artifacts `model` is the path or the id; `caller` is what the authentication said who it is.
    """

    user: str
    workspace: str
    action: RegistryAction
    model: str
    version: str | None = None
    key: str | None = None
    value: str | None = None
    internal: bool = False
    caller: object | None = None


class RegistryWriteRefusedError(Exception):
    """Raised by a policy; its text is what the client is told."""


Outcome = Callable[[bool], None]
"""Told whether MLflow did what was permitted."""
RegistryPolicy = Callable[[RegistryWrite], Outcome | None]
"""Called in a worker thread before the write; raises `RegistryWriteRefusedError` to stop it."""


def is_platform_tag(key: object) -> bool:
    return isinstance(key, str) and key.strip().lower().startswith(PLATFORM_TAG_PREFIX)


def protect_platform_names(write: RegistryWrite) -> None:
    """Refuse what is reserved for the platform: tags under `mlops.` and the champion alias."""
    if write.internal:
        return
    if write.action.endswith("_tag") and is_platform_tag(write.key):
        raise RegistryWriteRefusedError(
            f"Tag '{write.key}' is set by the platform only (policy platform-tags-are-the-platforms)"
        )
    if (
        write.action in ("set_alias", "delete_alias")
        and (write.key or "").strip().lower() in PROTECTED_ALIASES
    ):
        raise RegistryWriteRefusedError(
            f"Alias '{write.key}' is set by the platform only; promote the version through a deployment"
            " (policy champions-prove-themselves)"
        )
