"""Writes features into Feast's own SQLite online layout, many entities at a time.

The tables, the rows and their bytes are those of Feast's `SqliteOnlineStore`, so its client reads them.
Three things make it quick: columns are encoded at once, one statement writes all features of an entity,
and entities arrive in the order of their keys, so that every index is appended to and not searched.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from ml_platform.integrations.feast.encoding import Encoded, can_encode, encode_keys, encode_values
from ml_platform.integrations.feast.errors import FeatureSourceError
from ml_platform.integrations.feast.specs import FeatureViewSpec, FieldSpec
from ml_platform.kit.errors import UnavailableError

ENTITIES_A_BATCH: Final = 20_000
_BUSY_SECONDS: Final = 30.0
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC is what Feast stores
_MAX_FEATURES_A_STATEMENT: Final = 250

Progress = Callable[[int, int], None]
"""Called with the entities written so far, and how many there are."""

Convert = Callable[[FieldSpec, pl.Series], Encoded]
"""Encodes a column whose type is not among the simple ones."""


def prepare_store(path: Path) -> None:
    """Write-ahead logging, which stays with the file: readers are then never kept waiting by a writer."""
    with closing(_connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")


def write_online(
    path: Path,
    project: str,
    view: FeatureViewSpec,
    latest: pl.DataFrame,
    *,
    convert: Convert,
    progress: Progress | None = None,
) -> int:
    """Upserts the newest row of each entity; returns how many entities.

    `latest` has one row for each entity. A batch is one transaction, so a reader sees an entity whole; a
    repetition after a crash writes the same again.
    """
    table = _quoted(f"{project}_{view.name}")
    keys = encode_keys(view.entities, latest)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    sorted_keys = [keys[index] for index in order]
    frame = latest[order] if order else latest
    done = 0
    try:
        with closing(_connect(path)) as db:
            rebuild = _is_empty(db, table)
            if rebuild:  # an index is made in one go faster than row by row
                db.execute(f"DROP INDEX IF EXISTS {_quoted(f'{project}_{view.name}_ek')}")
            for start in range(0, len(sorted_keys), ENTITIES_A_BATCH):
                some = sorted_keys[start : start + ENTITIES_A_BATCH]
                _write_batch(db, table, view, some, frame.slice(start, len(some)), convert)
                done += len(some)
                if progress is not None:
                    progress(done, len(sorted_keys))
            index = _quoted(f"{project}_{view.name}_ek")
            db.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} (entity_key)")
    except sqlite3.Error as error:
        raise UnavailableError(
            f"the online store cannot be written: {error}", hint="apply the feature view, then try again"
        ) from error
    return done


def _write_batch(
    db: sqlite3.Connection,
    table: str,
    view: FeatureViewSpec,
    keys: Sequence[bytes],
    frame: pl.DataFrame,
    convert: Convert,
) -> None:
    source = view.source
    event_times = _stored_times(frame[source.timestamp_field])
    created = source.created_timestamp_field
    created_times = _stored_times(frame[created]) if created else [None] * len(keys)
    fields = sorted(view.fields, key=lambda field: field.name.encode())
    db.execute("BEGIN IMMEDIATE")
    try:
        for start in range(0, len(fields), _MAX_FEATURES_A_STATEMENT):
            some = fields[start : start + _MAX_FEATURES_A_STATEMENT]
            columns: list[Iterable[Any]] = [keys, event_times, created_times]
            for field in some:
                columns += encode_column(field, frame[field.name], convert)
            db.executemany(_upsert_sql(table, some), zip(*columns, strict=True))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def encode_column(field: FieldSpec, column: pl.Series, convert: Convert) -> Encoded:
    """Each value as Feast stores it; raises `FeatureSourceError` for a column of another type."""
    encoded = (
        encode_values(field.type, column) if can_encode(field.type, column.dtype) else convert(field, column)
    )
    if len(encoded.values) != len(column):
        raise FeatureSourceError.of(field.name, "the column could not be converted")
    return encoded


def _upsert_sql(table: str, fields: Sequence[FieldSpec]) -> str:
    rows = ",".join(
        f"(?1,{_literal(field.name)},?{2 * index + 4},?{2 * index + 5},?2,?3)"
        for index, field in enumerate(fields)
    )
    return (
        f"INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts) "  # noqa: S608
        f"VALUES {rows} ON CONFLICT(entity_key, feature_name) DO UPDATE SET value = excluded.value, "
        "value_text = excluded.value_text, event_ts = excluded.event_ts, created_ts = excluded.created_ts"
    )


def _stored_times(column: pl.Series) -> list[int | None]:
    """Feast stores whole seconds of the naive UTC time read as if it were local; so do we."""
    micros = column.dt.epoch("us").to_list()
    if time.timezone == 0 and not time.daylight:
        return [None if value is None else int(value / 1_000_000) for value in micros]
    known: dict[int | None, int | None] = {None: None}
    for value in set(micros) - {None}:
        known[value] = int((_EPOCH + timedelta(microseconds=value)).timestamp())
    return [known[value] for value in micros]


def latest_rows(history: pl.LazyFrame, view: FeatureViewSpec, start: datetime, end: datetime) -> pl.DataFrame:
    """The newest row of each entity within [start, end]; among equal times the one created last."""
    source = view.source
    order = [name for name in (source.timestamp_field, source.created_timestamp_field) if name]
    moment = pl.col(source.timestamp_field)
    return (
        history.filter(moment.is_between(pl.lit(start.astimezone(UTC)), pl.lit(end.astimezone(UTC))))
        .sort(order, nulls_last=False, maintain_order=True)
        .unique(subset=list(view.join_keys), keep="last", maintain_order=True)
        .collect()
    )


def _connect(path: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, cached_statements=16)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA cache_size=-65536")
    except sqlite3.Error as error:
        raise UnavailableError(f"the online store cannot be opened: {error}") from error
    return db


def _is_empty(db: sqlite3.Connection, table: str) -> bool:
    return db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None  # noqa: S608 - quoted


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
