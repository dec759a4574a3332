"""The values of entities as they were last read, in bounded memory, for stores that are away.

What was not asked for longest goes first. Nothing is written anywhere: a worker that starts knows nothing.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import count
from typing import Any, Final
from weakref import WeakValueDictionary

_ENTRY_BYTES: Final = 400
"""What an entry takes beside its key and values: the tuples, the dictionary's slot and link."""

Key = Mapping[str, Any]
Values = tuple[Any, ...]


class LastKnown:
    """Remembers at most so many bytes and so many entities, over all revisions of a worker."""

    def __init__(
        self, most_bytes: int, most_entities: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_bytes = most_bytes
        self._most_entities = most_entities
        self._monotonic = monotonic
        self._entries: OrderedDict[tuple[Any, ...], tuple[float, int, Values]] = OrderedDict()
        self._spaces: WeakValueDictionary[Hashable, Space] = WeakValueDictionary()
        self._numbers = count()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def space(self, what: Hashable) -> Space:
        """The part for one set of features of one store; the same for all that ask for the same."""
        found = self._spaces.get(what)
        if found is None:
            found = self._spaces[what] = Space(self, next(self._numbers))
        return found

    def put(self, key: tuple[Any, ...], values: Values) -> None:
        size = _ENTRY_BYTES + sum(map(sys.getsizeof, key)) + sum(map(_size, values))
        self.drop(key)
        if size > self._most_bytes:
            return
        self._entries[key] = (self._monotonic(), size, values)
        self.bytes += size
        while self.bytes > self._most_bytes or len(self._entries) > self._most_entities:
            self.bytes -= self._entries.popitem(last=False)[1][1]

    def get(self, key: tuple[Any, ...], max_age: float) -> Values | None:
        found = self._entries.get(key)
        if found is None or self._monotonic() - found[0] > max_age:
            return None
        self._entries.move_to_end(key)
        return found[2]

    def drop(self, key: tuple[Any, ...]) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.bytes -= found[1]


class Space:
    """The entities of one set of features."""

    def __init__(self, memory: LastKnown, number: int) -> None:
        self._memory = memory
        self._number = number

    def keep(self, keys: Sequence[Key], columns: Sequence[Sequence[Any]]) -> None:
        """Remembers what was just read: columns with one value for each key."""
        for key, values in zip(keys, zip(*columns, strict=True), strict=True):
            self._memory.put(self._key(key), values)

    def recall(self, keys: Sequence[Key], max_age: float) -> list[tuple[Any, ...]]:
        """The columns as they were kept.

        Raises:
            KeyError: with the first entity of which nothing, or nothing recent enough, is known.
        """
        rows: list[Values] = []
        for key in keys:
            values = self._memory.get(self._key(key), max_age)
            if values is None:
                raise KeyError(key)
            rows.append(values)
        return list(zip(*rows, strict=True))

    def forget(self, key: Key) -> None:
        """Drops an entity that the store does not have any more."""
        self._memory.drop(self._key(key))

    def _key(self, key: Key) -> tuple[Any, ...]:
        return (self._number, *key.values())


def _size(value: Any) -> int:
    """The bytes of a value and, roughly, of what it holds."""
    size = sys.getsizeof(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return size + sum(map(_size, value))
    if isinstance(value, dict):
        return size + sum(map(_size, value)) + sum(map(_size, value.values()))
    return size
