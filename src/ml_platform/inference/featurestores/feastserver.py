"""Requests to Feast's feature server and its answers, over the readers of online stores.

The inference server answers them, and so does the control plane: nothing here knows of models.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from ml_platform.contracts.features import JoinKey
from ml_platform.contracts.serving import FeatureStore
from ml_platform.inference.errors import (
    Forbidden,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    ServingError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from ml_platform.inference.features.errors import FeatureKeyError
from ml_platform.inference.features.view import ABSENT, Row
from ml_platform.inference.featurestores.gate import StoreGate
from ml_platform.inference.featurestores.natives import finite
from ml_platform.inference.featurestores.views import Chosen, Found, Selection
from ml_platform.kit.redis.address import RedisAddress

_MOST_FEATURES: Final = 1_000
_MOST_VALUES: Final = 1_000_000
_MOST_SELECTIONS: Final = 64
_NEVER: Final = "1970-01-01T00:00:00Z"
_ERRORS: Final = "feast.errors"


class GetOnlineFeatures(msgspec.Struct, gc=False):
    """A request's body; what is not known is passed over, as Feast's server does."""

    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: list[str] = []
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


_decode = msgspec.json.Decoder(GetOnlineFeatures).decode
_encode_json = msgspec.json.Encoder().encode


class _NotThere(NotFound):
    """Something that Feast has an exception of its own for."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Clash(InvalidInput):
    """Two features that the answer could not tell apart."""


class OpenStore:
    """The selections that were asked of a store lately."""

    def __init__(
        self, store: FeatureStore, gate: StoreGate, deadline_ms: float, redis: RedisAddress | None
    ) -> None:
        self._store = store
        self._gate = gate
        self._deadline_ms = deadline_ms
        self._redis = redis
        self._selections: OrderedDict[tuple[str, ...], Selection] = OrderedDict()

    def still_reads(self, store: FeatureStore) -> bool:
        """Whether nothing about the store has changed."""
        if store is self._store:
            return True
        if store != self._store:
            return False
        self._store = store
        return True

    async def answer(self, request: GetOnlineFeatures) -> bytes:
        """The body that answers a request; raises ServingError."""
        selection = await self.selection(request)
        try:
            keys = [
                [selection.encode(place, entity) for entity in entities_of(request, one.view.join_keys)]
                for place, one in enumerate(selection.chosen)
            ]
        except FeatureKeyError as error:
            raise InvalidInput(f"entities: {error}") from None
        return answer(request, selection, await selection.read(keys))

    async def selection(self, request: GetOnlineFeatures) -> Selection:
        """What serves a request's features; raises NotFound for what there is not."""
        wanted = (*request.features, str(request.full_feature_names))
        found = self._selections.get(wanted)
        if found is not None:
            self._selections.move_to_end(wanted)
            return found
        chosen = choose(request, self._store)
        try:
            found = Selection(self._store, chosen, self._gate, self._deadline_ms, self._redis)
        except ValueError as error:
            raise Unavailable(str(error)) from error
        self._selections[wanted] = found
        if len(self._selections) > _MOST_SELECTIONS:
            await self._selections.popitem(last=False)[1].close()
        return found

    async def close(self) -> None:
        for selection in self._selections.values():
            await selection.close()


def parse(body: bytes, max_rows: int) -> GetOnlineFeatures:
    """The request, within its bounds; raises InvalidInput or TooLarge."""
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"body: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from None
    if request.feature_service is not None:
        raise _NotThere(
            "FeatureServiceNotFoundException",
            f"Feature service {request.feature_service[:128]} does not exist: list the features",
        )
    if not request.features:
        raise InvalidInput("No features specified for retrieval")
    if len(request.features) > _MOST_FEATURES:
        raise TooLarge(f"features: at most {_MOST_FEATURES}, got {len(request.features)}")
    lengths = {len(values) for values in request.entities.values()}
    if not lengths:
        raise InvalidInput("entities: no join key is given")
    if len(lengths) > 1:
        raise InvalidInput("All entity rows must have the same columns.")
    rows = lengths.pop()
    if rows > max_rows or rows * len(request.features) > _MOST_VALUES:
        raise TooLarge(
            f"entities: at most {max_rows} entities and {_MOST_VALUES} values, got {rows} entities"
        )
    return request


def choose(request: GetOnlineFeatures, store: FeatureStore) -> list[Chosen]:
    """The features by their views, in the order in which they are asked for; raises NotFound, InvalidInput."""
    views = {view.name: view for view in store.views}
    wanted: dict[str, list[str]] = {}
    answered: set[str] = set()
    for reference in request.features:
        view, colon, feature = reference.partition(":")
        if not (view and colon and feature):
            raise InvalidInput(f"features: {reference[:128]!r} is not written view:feature")
        if view not in views:
            raise _NotThere("FeatureViewNotFoundException", f"Feature view {view[:128]} does not exist")
        if feature not in {known.name for known in views[view].features}:
            raise _NotThere(
                "FeastObjectNotFoundException", f"Feature {feature[:128]} not found in projection {view}"
            )
        name = named(view, feature, request.full_feature_names)
        if name in answered:
            raise _Clash(f"two of the features are called {name}: ask for each once, or for full names")
        answered.add(name)
        wanted.setdefault(view, []).append(feature)
    return [Chosen(views[view], tuple(names)) for view, names in wanted.items()]


def named(view: str, feature: str, full: bool) -> str:
    return f"{view}__{feature}" if full else feature


def entities_of(request: GetOnlineFeatures, join_keys: Sequence[JoinKey]) -> list[Mapping[str, Any]]:
    """The keys of a view's entities; raises InvalidInput when one is missing."""
    columns = []
    for key in join_keys:
        values = request.entities.get(key.name)
        if values is None:
            raise InvalidInput(f"entities: the join key {key.name!r} is missing")
        columns.append(values if key.type != "BYTES" else [_raw(key.name, value) for value in values])
    names = [key.name for key in join_keys]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _raw(name: str, value: Any) -> bytes:
    """Bytes, which JSON does not have, come in base64, as they are answered."""
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidInput(f"entities: {name}: expected bytes in base64") from None


def answer(request: GetOnlineFeatures, selection: Selection, found: Found) -> bytes:
    """The body: join keys first, then the features of one view after the other."""
    join_keys = {key.name for one in selection.chosen for key in one.view.join_keys}
    names, results = [], []
    for name, values in request.entities.items():
        if name in join_keys:
            names.append(name)
            results.append(_vector(values, ["PRESENT"] * len(values), [_NEVER] * len(values)))
    for one, rows in zip(selection.chosen, found, strict=True):
        times = [_NEVER if row is None or row[0] is None else told(row[0]) for row in rows]
        for place, feature in enumerate(one.names):
            names.append(named(one.view.name, feature, request.full_feature_names))
            results.append(_column(rows, place, times))
    metadata: dict[str, Any] = {"feature_names": names}
    if request.include_feature_view_version_metadata:
        metadata["feature_view_metadata"] = [{"name": one.view.name} for one in selection.chosen]
    return _encode_json({"results": results, "metadata": metadata})


def _column(rows: Sequence[Row | None], place: int, times: list[str]) -> dict[str, Any]:
    values, statuses = [], []
    for row in rows:
        value = ABSENT if row is None else row[1][place]
        there = value is not ABSENT
        if type(value) is float:
            value = finite(value)
        values.append(value if there else None)
        statuses.append("PRESENT" if there else "NOT_FOUND")
    return _vector(values, statuses, times)


def _vector(values: list[Any], statuses: list[str], times: list[str]) -> dict[str, Any]:
    vector: dict[str, Any] = {"values": values, "statuses": statuses}
    if times:
        vector["event_timestamps"] = times
    return vector


@lru_cache(4096)
def told(moment: float) -> str:
    """A time as Feast's server writes it, in whole seconds of UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def refusal(error: ServingError) -> bytes:
    """The text that Feast's client reads: its own exception as JSON within JSON, or just what is wrong."""
    if isinstance(error, Unauthenticated | MethodNotAllowed):
        return _encode_json({"detail": str(error)})
    return exception_of(error) or _encode_json(str(error))


def exception_of(error: ServingError) -> bytes | None:
    """What is wrong as an exception of Feast's own, where it has one."""
    kind = None
    if isinstance(error, _NotThere):
        kind = error.kind
    elif isinstance(error, Forbidden):
        kind = "FeastPermissionError"
    elif isinstance(error, _Clash):
        kind = "FeatureNameCollisionError"
    if kind is None:
        return None
    detail = {"module": _ERRORS, "class": kind, "message": str(error)}
    return _encode_json(_encode_json(detail).decode())
