"""What clients may change in the model registry.

Governance hangs on a few names: the alias that marks the champion and the tags under `mlops.` carry the
platform's own decisions, so a client that could write them could approve its own model.
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
]


@dataclass(frozen=True, slots=True)
class RegistryWrite:
    """One change that a client asks of the registry.

    `key` is the tag or alias, `value` the tag's value, the new name, the stage or the source.
    """

    user: str
    workspace: str
    action: RegistryAction
    model: str
    version: str | None = None
    key: str | None = None
    value: str | None = None
    internal: bool = False


class RegistryWriteRefusedError(Exception):
    """Raised by a policy; its text is what the client is told."""


RegistryPolicy = Callable[[RegistryWrite], None]
"""Called in a worker thread before the write; raises `RegistryWriteRefusedError` to stop it."""


def is_platform_tag(key: object) -> bool:
    return isinstance(key, str) and key.strip().lower().startswith(PLATFORM_TAG_PREFIX)


def protect_platform_names(write: RegistryWrite) -> None:
    """Refuse what is reserved for the platform: tags under `mlops.` and the champion alias."""
    if write.internal:
        return
    if write.action.endswith("_tag") and is_platform_tag(write.key):
        raise RegistryWriteRefusedError(f"Tag '{write.key}' is set by the platform only")
    if write.action in ("set_alias", "delete_alias") and (write.key or "").lower() in PROTECTED_ALIASES:
        raise RegistryWriteRefusedError(
            f"Alias '{write.key}' is set by the platform only; promote the version through a deployment"
        )
