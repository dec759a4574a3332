"""What the SDK returns: typed objects with a readable `repr`, and an HTML one for notebooks."""

from html import escape
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from ml_platform.sdk.transport import Transport

M = TypeVar("M", bound=BaseModel)


class PlatformObject(Generic[M]):
    """A resource of the platform: its last known state (`.data`) and the calls one can make on it."""

    _shown: ClassVar[tuple[str, ...]] = ()

    def __init__(self, transport: Transport, data: M) -> None:
        self._transport = transport
        self._data = data

    @property
    def data(self) -> M:
        """The resource as the server last described it."""
        return self._data

    def to_dict(self) -> dict[str, Any]:
        """The resource as JSON-able values."""
        return self._data.model_dump(mode="json")

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={value!r}" for name, value in self._summary().items())
        return f"{type(self).__name__}({parts})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
            for name, value in self._summary().items()
        )
        return f"<table><caption>{escape(type(self).__name__)}</caption>{rows}</table>"

    def _summary(self) -> dict[str, Any]:
        values = self.to_dict()
        return {name: values.get(name) for name in self._shown}
