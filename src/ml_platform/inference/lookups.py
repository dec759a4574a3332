"""Feature look-ups for one revision: beside the loop, many entities at once, nothing made up.

Like a model's batches, whatever is waiting when the store becomes free is one look-up. A request waits for
its features no longer than the deployment says; what happens then is declared too (`FeaturePolicy`), and an
answer from defaults or from memory says so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ml_platform.contracts.bundles import FeatureRequest, Signature
from ml_platform.contracts.featurepolicy import FeaturePolicy, typed_defaults
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.decoding import UNSET, Decoded, InputColumn, Row
from ml_platform.inference.errors import InvalidInput, ServingError, UnknownEntity
from ml_platform.inference.features_api import (
    Columns,
    FeatureError,
    FeatureNotFound,
    FeatureStoreUnavailable,
    OnlineFeatures,
    OpenOnlineFeatures,
)
from ml_platform.inference.featurestores.asking import Asking, StoreFailed
from ml_platform.inference.featurestores.gate import StoreGate
from ml_platform.inference.featurestores.lastknown import LastKnown

DEFAULT: Final = "default"
LAST_KNOWN: Final = "last-known"

_OPEN_SECONDS = 3.0

Key = Mapping[str, Any]


class _Unknown(UnknownEntity):
    def __init__(self, error: FeatureNotFound) -> None:
        super().__init__(f"instances: {error}")
        self.entity = error.entity


@dataclass(frozen=True, slots=True)
class Filled:
    """Rows with every column; `fallback` says what stands for the store's answer, if something does."""

    rows: Sequence[Row]
    fallback: str | None = None


class FeatureLookups:
    """Fills the columns that a request left to the feature store.

    `fallbacks` counts the requests for which the store gave nothing, by what was done about it.
    """

    def __init__(
        self,
        store: FeatureStore,
        request: FeatureRequest,
        columns: Sequence[InputColumn],
        open_features: OpenOnlineFeatures,
        gate: StoreGate,
        memory: LastKnown,
        policy: FeaturePolicy,
        signature: Signature,
    ) -> None:
        self._positions = [
            (index, column) for index, column in enumerate(columns) if column.name in request.columns
        ]
        self._open = partial(open_features, store, request, policy.deadline_ms)
        self._gate = gate
        self._policy = policy
        self._names = tuple(column.name for _, column in self._positions)
        self._defaults = typed_defaults(policy, signature.inputs)
        place = (store.kind, store.path, store.project)
        self._known = memory.space((*place, request.entities, tuple(request.columns.items()), self._names))
        self._remembers = policy.on_store_failure == "last_known"
        self._features: OnlineFeatures | None = None
        self._asking: Asking[Sequence[Key], Columns] = Asking(
            gate, policy.deadline_ms, self._answers, self._heard
        )
        self.fallbacks: Counter[str] = Counter()

    async def fill(self, decoded: Decoded) -> Filled:
        """The rows with every UNSET value looked up; raises ServingError naming what is missing."""
        if decoded.keys is None:
            return Filled(decoded.rows)
        wanted = [index for index, row in enumerate(decoded.rows) if UNSET in row]
        if not wanted:
            return Filled(decoded.rows)
        keys = [key for index in wanted if (key := decoded.keys[index]) is not None]
        fallback = None
        try:
            columns = await self._asking.ask(keys)
        except StoreFailed as failure:
            fallback, columns = self._instead(keys, failure)
        rows = list(decoded.rows)
        for place, index in enumerate(wanted):
            rows[index] = self._filled(rows[index], columns, place, index)
        return Filled(rows, fallback)

    async def prepare(self) -> None:
        """Opens the store ahead of the first request; raises ValueError for features that do not exist."""
        try:
            await asyncio.wait_for(self._gate.threads.submit(self._opened), _OPEN_SECONDS)
        except (FeatureStoreUnavailable, TimeoutError):
            return  # it may come back; until then requests get what their policy says

    async def close(self) -> None:
        """Lets the running look-up end and closes the store; one that hangs is left to its thread."""
        await self._asking.close(self._let_go)

    def take_fallbacks(self) -> dict[str, int]:
        """The counts since the last time."""
        counts, self.fallbacks = self.fallbacks, Counter()
        return dict(counts)

    def _instead(self, keys: Sequence[Key], failure: StoreFailed) -> tuple[str, Columns]:
        """What the policy puts in the store's place; raises the failure when that is nothing."""
        policy = self._policy
        if policy.on_store_failure == "default":
            self.fallbacks[DEFAULT] += 1
            return DEFAULT, {name: [value] * len(keys) for name, value in self._defaults.items()}
        if self._remembers:
            try:
                known = self._known.recall(keys, policy.last_known_max_age_seconds)
            except KeyError as error:
                self.fallbacks["fail"] += 1
                entity = ", ".join(f"{name}={value!r}" for name, value in error.args[0].items())
                raise StoreFailed(f"{failure}; no recent values are known of {entity}") from None
            self.fallbacks[LAST_KNOWN] += 1
            return LAST_KNOWN, dict(zip(self._names, known, strict=True))
        self.fallbacks["fail"] += 1
        raise failure

    def _filled(self, row: Row, columns: Columns, place: int, index: int) -> Row:
        values = list(row)
        for position, column in self._positions:
            if values[position] is not UNSET:
                continue
            value = columns[column.name][place]
            if value is None and not column.nullable:
                raise UnknownEntity(
                    f"instances[{index}].{column.name}: the feature store has no value for this entity"
                )
            values[position] = value
        return tuple(values)

    def _heard(self, keys: Sequence[Key], answer: Columns | ServingError) -> None:
        """Remembers what the store has said, and that it has an entity no more."""
        if isinstance(answer, _Unknown):
            for key in keys:
                if answer.entity.items() <= key.items():
                    self._known.forget(key)
        elif self._remembers and not isinstance(answer, ServingError):
            self._known.keep(keys, [answer[name] for name in self._names])

    def _answers(self, requests: Sequence[Sequence[Key]]) -> Sequence[Columns | ServingError]:
        """All requests' keys in one look-up; one by one when one of them spoils it for the others."""
        together = [key for keys in requests for key in keys]
        whole = self._attempt(together)
        if isinstance(whole, ServingError):
            if len(requests) == 1 or whole.status >= 500:
                return [whole] * len(requests)
            return [self._attempt(keys) for keys in requests]
        parts: list[Columns | ServingError] = []
        start = 0
        for keys in requests:
            end = start + len(keys)
            parts.append({name: values[start:end] for name, values in whole.items()})
            start = end
        return parts

    def _attempt(self, keys: Sequence[Key]) -> Columns | ServingError:
        try:
            return self._opened().lookup(keys)
        except FeatureNotFound as error:
            return _Unknown(error)
        except FeatureStoreUnavailable as error:
            return StoreFailed(f"the feature store is not available: {error}")
        except (FeatureError, ValueError) as error:
            return InvalidInput(f"instances: {error}")

    def _opened(self) -> OnlineFeatures:
        if self._features is None:
            self._features = self._open()
        return self._features

    def _let_go(self) -> None:
        if self._features is not None:
            self._features.close()
