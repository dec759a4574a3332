"""A typed table from interface to implementation, filled by the composition root alone."""

from typing import TypeVar, cast

T = TypeVar("T")


class Components:
    """What the running process is made of. Services ask by interface and never learn the vendor."""

    def __init__(self) -> None:
        self._parts: dict[type, object] = {}

    def provide(self, interface: type[T], implementation: T) -> T:
        """Says which implementation stands behind `interface`; a second one replaces the first."""
        self._parts[interface] = implementation
        return implementation

    def get(self, interface: type[T]) -> T:
        """The implementation of `interface`; a missing one is a fault of the composition root."""
        try:
            return cast("T", self._parts[interface])
        except KeyError:
            msg = f"no implementation of {interface.__module__}.{interface.__qualname__} was provided"
            raise LookupError(msg) from None
