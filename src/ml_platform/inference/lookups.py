"""Feature look-ups for one revision: beside the loop, many entities at once, nothing made up.

Like a model's batches, whatever is waiting when the store becomes free is one look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ml_platform.contracts.bundles import FeatureRequest
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.decoding import UNSET, Decoded, InputColumn, Row
from ml_platform.inference.errors import InvalidInput, ServingError, Unavailable, UnknownEntity
from ml_platform.inference.features_api import (
    Columns,
    FeatureError,
    FeatureNotFound,
    FeatureStoreUnavailable,
    OnlineFeatures,
    OpenOnlineFeatures,
)

Key = Mapping[str, Any]


class FeatureLookups:
    """Fills the columns that a request left to the feature store."""

    def __init__(
        self,
        store: FeatureStore,
        request: FeatureRequest,
        columns: Sequence[InputColumn],
        open_features: OpenOnlineFeatures,
        executor: ThreadPoolExecutor,
    ) -> None:
        self._store = store
        self._request = request
        self._positions = [
            (index, column) for index, column in enumerate(columns) if column.name in request.columns
        ]
        self._open = open_features
        self._executor = executor
        self._features: OnlineFeatures | None = None
        self._waiting: list[tuple[Sequence[Key], asyncio.Future[Columns]]] = []
        self._task: asyncio.Task[None] | None = None

    async def fill(self, decoded: Decoded) -> Sequence[Row]:
        """The rows with every UNSET value looked up; raises ServingError naming what is missing."""
        if decoded.keys is None:
            return decoded.rows
        wanted = [index for index, row in enumerate(decoded.rows) if UNSET in row]
        if not wanted:
            return decoded.rows
        keys = [decoded.keys[index] for index in wanted]
        columns = await self._lookup([key for key in keys if key is not None])
        rows = list(decoded.rows)
        for place, index in enumerate(wanted):
            rows[index] = self._filled(rows[index], columns, place, index)
        return rows

    async def prepare(self) -> None:
        """Opens the store ahead of the first request; raises ValueError for features that do not exist."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._opened)
        except FeatureStoreUnavailable:
            return  # it may come back; requests are told until then

    async def close(self) -> None:
        if self._task is not None:
            await self._task
        if self._features is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._features.close)

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

    def _lookup(self, keys: Sequence[Key]) -> asyncio.Future[Columns]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Columns] = loop.create_future()
        self._waiting.append((keys, future))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                answers = await loop.run_in_executor(self._executor, self._read, [keys for keys, _ in batch])
                for (_, future), answer in zip(batch, answers, strict=True):
                    if future.done():
                        continue
                    if isinstance(answer, ServingError):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:
            self._task = None

    def _read(self, requests: list[Sequence[Key]]) -> list[Columns | ServingError]:
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
            return UnknownEntity(f"instances: {error}")
        except FeatureStoreUnavailable as error:
            return Unavailable(f"the feature store is not available: {error}")
        except (FeatureError, ValueError) as error:
            return InvalidInput(f"instances: {error}")

    def _opened(self) -> OnlineFeatures:
        if self._features is None:
            self._features = self._open(self._store, self._request)
        return self._features
