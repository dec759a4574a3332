"""Features of any views of a store, with their statuses and times, as Feast's feature server tells them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ml_platform.contracts.features import FeatureColumn, FeatureLookupSpec, FeatureViewLookup, OnlineView
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.errors import ServingError
from ml_platform.inference.features import open_reader
from ml_platform.inference.features.errors import FeatureStoreUnavailable
from ml_platform.inference.features.view import Row
from ml_platform.inference.featurestores.asking import Asking, StoreFailed
from ml_platform.inference.featurestores.gate import StoreGate
from ml_platform.inference.featurestores.natives import NativeMemo
from ml_platform.kit.redis.address import RedisAddress

_MEMO_LIMIT: Final = 8192
_CACHED_ENTITIES: Final = 10_000

Keys = Sequence[Sequence[bytes]]
"""For each view, the key of each entity."""
Found = Sequence[Sequence[Row | None]]
"""For each view, what each entity has there."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some features of a view."""

    view: OnlineView
    names: tuple[str, ...]


class Selection:
    """What one kind of request asks for: opened once, and asked by many at once.

    Raises `ValueError` for a store that cannot be read from here.
    """

    def __init__(
        self,
        store: FeatureStore,
        chosen: Sequence[Chosen],
        gate: StoreGate,
        deadline_ms: float,
        redis: RedisAddress | None = None,
    ) -> None:
        self.chosen = tuple(chosen)
        spec = FeatureLookupSpec(
            store_path=store.path,
            project=store.project,
            views=tuple(map(_lookup, chosen)),
            deadline_ms=deadline_ms,
            cache_entities=_CACHED_ENTITIES,
        )
        self._reader = open_reader(store, spec, redis=redis)
        self._reader.decode_by(lambda: NativeMemo(_MEMO_LIMIT))
        self._asking: Asking[Keys, Found] = Asking(gate, deadline_ms, self._read)

    def encode(self, place: int, key: Mapping[str, Any]) -> bytes:
        """The key of an entity in the view at this place; raises FeatureKeyError."""
        return self._reader.encode(place, key)

    async def read(self, keys: Keys) -> Found:
        """What the store has; raises StoreFailed when it gives no answer in time."""
        return await self._asking.ask(keys)

    async def close(self) -> None:
        await self._asking.close(self._reader.close)

    def _read(self, requests: Sequence[Keys]) -> Sequence[Found | ServingError]:
        together = [[key for keys in requests for key in keys[place]] for place in range(len(self.chosen))]
        try:
            rows = self._reader.rows(together)
        except FeatureStoreUnavailable as error:
            return [StoreFailed(f"the feature store is not available: {error}")] * len(requests)
        answers: list[Found | ServingError] = []
        start = 0
        for keys in requests:
            end = start + len(keys[0])
            answers.append([found[start:end] for found in rows])
            start = end
        return answers


def _lookup(chosen: Chosen) -> FeatureViewLookup:
    types = {feature.name: feature.type for feature in chosen.view.features}
    return FeatureViewLookup(
        name=chosen.view.name,
        join_keys=chosen.view.join_keys,
        features=tuple(
            FeatureColumn(name=name, type=types[name], column=f"{chosen.view.name}:{name}")
            for name in chosen.names
        ),
        ttl_seconds=math.inf,  # so that times are read; Feast's server gives out what is older than the ttl too
    )
