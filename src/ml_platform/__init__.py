"""A self-service, multi-tenant ML platform.

`from ml_platform import Platform` is the SDK; nothing heavier is loaded, and that only when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_platform.sdk import Platform, PlatformError

__all__ = ["Platform", "PlatformError"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ml_platform import sdk

        return getattr(sdk, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
