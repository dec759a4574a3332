"""What a caller may say of a prediction beside its rows: the params of a model's signature, checked once for all.

Every protocol hands on what it was given by name. The answer is one JSON object with a value for each param the
model declares, defaults included, in the signature's order: equal ones are equal texts, so that calls can share a
batch, and the log has them as the model had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ml_platform.contracts.bundles import Param
from ml_platform.inference.decoding import UNSET, InputColumn, ParamReader, annotation, explain
from ml_platform.inference.errors import InvalidInput, TooLarge

MAX_BYTES = 8192
_SHOWN = 8
_encode = msgspec.json.Encoder().encode


class Params:
    """The params of one model, of which there are some."""

    def __init__(self, declared: Sequence[Param]) -> None:
        self.declared = tuple(declared)
        self._names = [param.name for param in declared]
        fields = [
            (f"p{index}", _kind(param) | msgspec.UnsetType, UNSET) for index, param in enumerate(declared)
        ]
        renames = {f"p{index}": param.name for index, param in enumerate(declared)}
        self._form: Any = msgspec.defstruct("Params", fields, rename=renames, forbid_unknown_fields=True)
        self._defaults = self._told({})

    def read(self, given: Mapping[str, Any] | None, where: str) -> str:
        """The model's params as JSON; `where` is what the protocol calls them.

        Raises:
            InvalidInput: naming the param that is unknown or of another type.
            TooLarge: they are longer than anything that is logged with every prediction may be.
        """
        if not given:
            return self._defaults
        for name in given:
            if name not in self._names:
                more = f" and {len(self._names) - _SHOWN} more" if len(self._names) > _SHOWN else ""
                raise InvalidInput(
                    f"{where}.{name[:128]}: unknown; the model takes {', '.join(self._names[:_SHOWN])}{more}"
                )
        try:
            text = self._told(given, where)
        except msgspec.ValidationError as error:
            raise InvalidInput(explain(str(error), (), where)) from None
        if len(text) > MAX_BYTES:
            raise TooLarge(f"{where}: at most {MAX_BYTES} characters as JSON, got {len(text)}")
        return text

    def described(self) -> dict[str, dict[str, Any]]:
        """Each by its name, for a protocol's metadata."""
        return {
            param.name: {"type": param.type, "default": param.default, "shape": param.shape}
            for param in self.declared
        }

    def _told(self, given: Mapping[str, Any], where: str = "") -> str:
        values = msgspec.structs.astuple(msgspec.convert(given, self._form))
        told: dict[str, Any] = {}
        for param, value in zip(self.declared, values, strict=True):
            try:
                told[param.name] = param.default if value is UNSET else _plain(value)
            except OverflowError:  # the first and the last day of the calendar, in some zones
                raise InvalidInput(f"{where}.{param.name}: is beyond the calendar in UTC") from None
        return _encode(told).decode()


def refuse(given: Mapping[str, Any] | None, where: str) -> None:
    """For a model without params; raises InvalidInput when there are some all the same."""
    for name in given or ():
        raise InvalidInput(f"{where}.{name[:128]}: unknown; the model declares no params")


def _kind(param: Param) -> Any:
    """The type of a param's value, for msgspec; null only where nothing is the default."""
    kind = annotation(InputColumn(param.name, param.type))
    if param.shape is not None:
        kind = list.__class_getitem__(kind)
    return kind | None if param.default is None else kind


def _plain(value: Any) -> Any:
    """A moment as MLflow reads it, in UTC without saying so; all else as it is."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def translate(params: ParamReader | None, told: str | None) -> str | None:
    """One model's params as another model takes them; raises InvalidInput when it does not."""
    given = msgspec.json.decode(told, type=dict[str, Any]) if told is not None else None
    if params is None:
        refuse(given, "parameters")
        return None
    return params.read(given, "parameters")
