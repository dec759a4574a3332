"""Reads the history behind a feature view, lazily and only the columns that are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl
from deltalake.exceptions import DeltaError

from ml_platform.integrations.feast.errors import FeatureSourceError
from ml_platform.integrations.feast.specs import SourceSpec

UTC_MICROS: Final = pl.Datetime("us", "UTC")


def scan_source(
    source: SourceSpec, columns: Sequence[str], storage_options: Mapping[str, str] | None = None
) -> pl.LazyFrame:
    """The source's `columns` with its time columns in UTC; raises `FeatureSourceError`, naming what lacks."""
    options = dict(storage_options or {}) or None
    times = [name for name in (source.timestamp_field, source.created_timestamp_field) if name]
    try:
        if source.format == "delta":
            frame = pl.scan_delta(source.path, storage_options=options)
        else:
            path = source.path
            is_folder = "://" not in path and Path(path).is_dir()
            frame = pl.scan_parquet(f"{path}/**/*.parquet" if is_folder else path, storage_options=options)
        schema = frame.collect_schema()
    except (pl.exceptions.PolarsError, DeltaError, OSError) as error:
        raise FeatureSourceError(
            f"the source {Path(source.path).name!r} cannot be read as {source.format}",
            hint="check that the dataset exists and that its format is the declared one",
        ) from error
    missing = [name for name in [*columns, *times] if name not in schema]
    if missing:
        raise FeatureSourceError(
            f"the source has no column {', '.join(repr(name) for name in missing[:20])}",
            hint=f"it has: {', '.join(list(schema)[:50])}",
        )
    for name in times:
        if not isinstance(schema[name], (pl.Datetime, pl.Date)):
            raise FeatureSourceError.of(name, f"expected a date or a time, the column is {schema[name]}")
    return frame.select([*columns, *times]).with_columns(to_utc(name, schema[name]) for name in times)


def to_utc(name: str, dtype: pl.DataType) -> pl.Expr:
    """A time column in UTC, microseconds; one without a zone is taken as UTC, as Feast does."""
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return column.dt.convert_time_zone("UTC").cast(UTC_MICROS)
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
