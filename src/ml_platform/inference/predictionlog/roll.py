"""Rolls complete spool segments into Parquet: `python -m ml_platform.inference.predictionlog.roll`.

A process of its own, started when there is something to do: Arrow's memory and its work are then neither
the workers' nor permanent. A segment's files are named after it, so rolling it again after a crash
replaces them and doubles nothing; the segment goes once its files stand under their final names.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.inference.predictionlog.schema import COLUMNS, FEATURE_PREFIX, FEATURE_TYPES
from ml_platform.inference.predictionlog.spool import (
    Record,
    SegmentHeader,
    read_segment,
    remove_drafts,
    spooled_bytes,
    sync_directory,
    take_complete,
)

_log = logging.getLogger(__name__)
_US_PER_DAY = 86_400 * 1_000_000
_ROWS_AT_ONCE = 50_000
_json = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Rolled:
    """What became of some segments.

    Rows that are Parquet now, requests that could not be read, requests whose events there was no room for.
    """

    rows: int = 0
    unreadable: int = 0
    unsent: int = 0


def roll(spool: Path, root: Path, events: Path | None = None, events_bytes: int = 0) -> Rolled:
    """Rolls every complete segment; those that stand as Parquet are removed, or handed on to `events`.

    Where `events_bytes` wait already the newest are not handed on, as everywhere in this log.
    """
    remove_drafts(spool)
    rolled = Rolled()
    for path, file in take_complete(spool):
        try:
            requests = _roll_segment(path, file, root, rolled)
        except msgspec.DecodeError as error:  # of another version of ours: kept for a person to look at
            _log.error("%s cannot be read and is set aside: %s", path.name, error)
            path.rename(path.with_suffix(".unreadable"))
            continue
        if events is not None and spooled_bytes(events) + path.stat().st_size <= events_bytes:
            path.rename(events / path.name)
            continue
        if events is not None:
            rolled.unsent += requests
        path.unlink()
    return rolled


def arrow_schema(header: SegmentHeader) -> pa.Schema:
    """The columns of a file: `COLUMNS`, then the features."""
    fields = [pa.field(name, _arrow_type(kind)) for name, kind in COLUMNS]
    features = [
        pa.field(FEATURE_PREFIX + name, _arrow_type(FEATURE_TYPES[kind])) for name, kind in header.columns
    ]
    return pa.schema([*fields, *features])


def partition(root: Path, header: SegmentHeader, day: int) -> Path:
    date = datetime.fromtimestamp(day * _US_PER_DAY / 1e6, UTC).date().isoformat()
    parts = (("team", header.team), ("environment", header.environment), ("endpoint", header.endpoint))
    return root.joinpath(*(f"{name}={quote(value, safe='')}" for name, value in parts), f"date={date}")


def _roll_segment(path: Path, file: IO[bytes], root: Path, rolled: Rolled) -> int:
    """Writes drafts beside their final names, then publishes them all; how many requests there are.

    A final name follows from the segment, the revision and the day alone: after a crash at any point the
    segment is still there, and rolling it again replaces what it had published.
    """
    writers: dict[tuple[int, int], tuple[pq.ParquetWriter, Path]] = {}
    requests = 0
    try:
        for number, header, day, records in _batches(file):
            requests += len(records)
            table = _readable(header, records, rolled)
            if (number, day) not in writers:
                directory = partition(root, header, day)
                directory.mkdir(parents=True, exist_ok=True)
                # Readers pass over names that begin with a dot.
                draft = directory / f".{path.stem}-{number}-{header.revision_id}.tmp"
                schema = arrow_schema(header)
                writers[number, day] = (pq.ParquetWriter(draft, schema, compression="zstd"), draft)
            writers[number, day][0].write_table(table)
            rolled.rows += table.num_rows
        for writer, _ in writers.values():
            writer.close()
        for _, draft in writers.values():
            _publish(draft, draft.with_name(draft.name[1:]).with_suffix(".parquet"))
    except BaseException:
        for writer, draft in writers.values():
            with contextlib.suppress(OSError, pa.ArrowException):
                writer.close()
            draft.unlink(missing_ok=True)
        raise
    return requests


def _batches(file: IO[bytes]) -> Iterable[tuple[int, SegmentHeader, int, list[Record]]]:
    """Records of one header, by its number, and one day, some thousand rows at a time."""
    pending: dict[tuple[int, SegmentHeader, int], list[Record]] = {}
    count = 0
    for batch in read_segment(file):
        for record in batch.records:
            key = (batch.number, batch.header, record.time_us // _US_PER_DAY)
            pending.setdefault(key, []).append(record)
            count += len(record.rows)
        if count >= _ROWS_AT_ONCE:
            yield from ((*key, records) for key, records in pending.items())
            pending, count = {}, 0
    yield from ((*key, records) for key, records in pending.items())


def _readable(header: SegmentHeader, records: list[Record], rolled: Rolled) -> pa.Table:
    """The records as a table, without those that do not fit the columns: one must not hold up the others."""
    try:
        return _table(header, records)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        if len(records) == 1:
            _log.error("a request of %s cannot be logged: %s", header.revision_id, error)
            rolled.unreadable += 1
            return arrow_schema(header).empty_table()
    middle = len(records) // 2
    halves = (records[:middle], records[middle:])
    return pa.concat_tables([_readable(header, half, rolled) for half in halves])


def _table(header: SegmentHeader, records: list[Record]) -> pa.Table:
    schema = arrow_schema(header)
    common: list[tuple[Any, ...]] = []
    features: list[Sequence[Any]] = []
    fixed = (header.deployment_id, header.revision_id, header.model_name, header.model_version)
    for r in records:
        for index, row in enumerate(r.rows):
            key = r.keys[index] if r.keys else None
            answer = r.predictions[index] if r.predictions is not None else None
            text = _json(answer).decode() if r.predictions is not None else None
            keys = _json(key).decode() if key else None
            start = (r.request_id, index, r.time_us, *fixed, r.status, r.latency_us / 1000)
            common.append((*start, keys, _number(answer), text, r.error, r.params, r.fallback, r.unit))
            features.append(row)
    if not common:
        return schema.empty_table()
    columns = [*zip(*common, strict=True), *_feature_columns(header, features)]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _feature_columns(header: SegmentHeader, rows: list[Sequence[Any]]) -> Iterable[list[Any]]:
    for index, (_, kind) in enumerate(header.columns):
        values = [row[index] for row in rows]
        if kind == "datetime":
            values = [None if v is None else _utc(v) for v in values]
        yield values


def _utc(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _publish(draft: Path, final: Path) -> None:
    """Both the content and the name are on the disk before the segment goes."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(final)
    sync_directory(final.parent)


def _arrow_type(name: str) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if name.startswith("timestamp") else pa.type_for_alias(name)


def main(arguments: list[str]) -> int:
    """Answers on standard output, as one line of JSON, what was rolled."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--events", type=Path)
    parser.add_argument("--events-bytes", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        rolled = roll(options.spool, options.root, options.events, options.events_bytes)
    except OSError as error:
        _log.error("the prediction log cannot be written: %s", error)
        return 1
    _log.info("%d predictions rolled into Parquet", rolled.rows)
    sys.stdout.write(_json(asdict(rolled)).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
