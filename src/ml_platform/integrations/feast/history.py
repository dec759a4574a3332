"""Point-in-time joins: for every entity row, the features as they were known at its moment.

The result is the one of Feast's SQL offline stores. A feature row counts when its time is not after the
entity row's and, if the view has a ttl, not more than the ttl before it; the latest counts, and among
equal times the one created last. Every entity row is kept, in its order, with nulls where nothing counts.
(Feast's Dask store drops such rows and repeated ones, which would silently shrink a training set.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ml_platform.integrations.feast.errors import FeatureDefinitionError, FeatureSourceError
from ml_platform.integrations.feast.sources import scan_source, to_utc
from ml_platform.integrations.feast.specs import FeatureViewSpec

_MOMENT, _ROW, _PLACE = "__moment", "__row", "__place"


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """Some features of one view, each under the name that its column gets."""

    view: FeatureViewSpec
    columns: Mapping[str, str]


def join_history(
    entities: pl.DataFrame,
    requests: Sequence[ViewRequest],
    *,
    timestamp_column: str = "event_timestamp",
    storage_options: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """`entities` with the requested features beside it, as of `timestamp_column`.

    Raises `FeatureDefinitionError` for columns that lack, collide or have the wrong type, and
    `FeatureSourceError` when a source does not fit its view.
    """
    _check_entities(entities, requests, timestamp_column)
    moments = entities.select(
        to_utc(timestamp_column, entities.schema[timestamp_column]).alias(_MOMENT)
    ).to_series()
    result = entities
    for request in requests:
        result = result.hstack(_features_at(entities, moments, request, storage_options))
    return result


def _features_at(
    entities: pl.DataFrame,
    moments: pl.Series,
    request: ViewRequest,
    storage_options: Mapping[str, str] | None,
) -> list[pl.Series]:
    view, names = request.view, list(request.columns)
    keys, source = list(view.join_keys), request.view.source
    history = scan_source(source, [*keys, *names], storage_options)
    schema = history.collect_schema()
    left = _with_matching_keys(entities.select(keys), schema, keys)
    left = left.hstack([moments]).with_row_index(_ROW)
    order = [c for c in (source.timestamp_field, source.created_timestamp_field) if c]
    try:
        right = (
            history.drop_nulls([*keys, source.timestamp_field])
            .sort(order, maintain_order=True, nulls_last=False)
            .select(
                *keys,
                pl.col(source.timestamp_field).alias(_MOMENT),
                *(pl.col(name).alias(column) for name, column in request.columns.items()),
            )
            .collect()
        )
    except pl.exceptions.PolarsError as error:
        raise FeatureSourceError(f"the source of {view.name!r} cannot be read: {error}") from error
    if not moments.is_sorted():
        left = left.sort(_MOMENT)
    # Only places are joined and put back in order; the features themselves are moved once.
    places = right.select([*keys, _MOMENT]).with_row_index(_PLACE)
    joined = left.join_asof(
        places, on=_MOMENT, by=keys, strategy="backward", tolerance=view.ttl, check_sortedness=False
    )
    chosen = joined.select(_ROW, _PLACE).sort(_ROW)[_PLACE]
    return right.select(pl.col(list(request.columns.values())).gather(chosen)).get_columns()


def _check_entities(entities: pl.DataFrame, requests: Sequence[ViewRequest], timestamp_column: str) -> None:
    if timestamp_column not in entities.columns:
        raise FeatureDefinitionError.of(
            timestamp_column, "the entity rows have no such column of event times"
        )
    dtype = entities.schema[timestamp_column]
    if not isinstance(dtype, (pl.Datetime, pl.Date)):
        raise FeatureDefinitionError.of(timestamp_column, f"expected a date or a time, the column is {dtype}")
    taken = set(entities.columns)
    for request in requests:
        known = {field.name for field in request.view.fields}
        for name in request.columns:
            if name not in known:
                raise FeatureDefinitionError.of("features", f"{request.view.name!r} has no feature {name!r}")
        for key in request.view.join_keys:
            if key not in entities.columns:
                raise FeatureDefinitionError.of(
                    key, f"the entity rows lack the join key of {request.view.name!r}"
                )
        for column in request.columns.values():
            if column in taken:
                raise FeatureDefinitionError.of(
                    "features", f"the column {column!r} would stand twice: ask for full feature names"
                )
            taken.add(column)


def _with_matching_keys(left: pl.DataFrame, schema: pl.Schema, keys: Sequence[str]) -> pl.DataFrame:
    """Join keys in the source's own types: integers of another width are converted, nothing else is."""
    for key in keys:
        have, want = left.schema[key], schema[key]
        if have == want:
            continue
        if not (have.is_integer() and want.is_integer()) and have != pl.Null:
            raise FeatureDefinitionError.of(key, f"the entity rows hold {have}, the feature view {want}")
        # An integer that does not fit matches no entity, so it becomes null, which matches none either.
        left = left.with_columns(pl.col(key).cast(want, strict=False))
    return left
