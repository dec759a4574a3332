"""Online features as an inference server reads and answers them, for the control plane's own route."""

from collections import OrderedDict
from typing import Final

from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.featurestores.feastserver import OpenStore, parse
from ml_platform.inference.featurestores.gate import StoreGates
from ml_platform.kit.redis import RedisAddress

MOST_ENTITIES: Final = 10_000
_DEADLINE_MS: Final = 5_000.0
_MOST_STORES: Final = 64


class FeastReads:
    """The stores that were asked lately; used from the event loop alone."""

    def __init__(self, redis: RedisAddress | None) -> None:
        self._redis = redis
        self._gates = StoreGates()
        self._stores: OrderedDict[str, OpenStore] = OrderedDict()

    async def answer(self, body: bytes, store: FeatureStore) -> bytes:
        """The answer to a request's body; raises ServingError."""
        request = parse(body, MOST_ENTITIES)
        opened = self._stores.get(store.project)
        if opened is None or not opened.still_reads(store):
            replaced, opened = opened, OpenStore(store, self._gates.of(store), _DEADLINE_MS, self._redis)
            self._stores[store.project] = opened
            if len(self._stores) > _MOST_STORES:
                await self._stores.popitem(last=False)[1].close()
            if replaced is not None:
                await replaced.close()
        self._stores.move_to_end(store.project)
        return await opened.answer(request)

    def stop(self) -> None:
        """Ends the threads."""
        self._gates.stop()
