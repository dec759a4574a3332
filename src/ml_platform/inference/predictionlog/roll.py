"""Rolls complete spool segments into Parquet: `python -m ml_platform.inference.predictionlog.roll`.

A process of its own, started when there is something to do: Arrow's memory and its work are then neither
the workers' nor permanent. A segment's files are named after it, so rolling it again after a crash
replaces them and doubles nothing; the segment goes once its files stand under their final names.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Iterable, Sequence
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
    read_header,
    read_records,
    take_complete,
)

_log = logging.getLogger(__name__)
_US_PER_DAY = 86_400 * 1_000_000
_json = msgspec.json.Encoder().encode


def roll(spool: Path, root: Path) -> int:
    """Rolls every complete segment; returns how many rows were written."""
    rows = 0
    for path, file in take_complete(spool):
        rows += _roll_segment(path, file, root)
        path.unlink()
    return rows


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


def _roll_segment(path: Path, file: IO[bytes], root: Path) -> int:
    header = read_header(file)
    if header is None:
        return 0
    schema = arrow_schema(header)
    writers: dict[int, tuple[pq.ParquetWriter, Path]] = {}
    rows = 0
    try:
        for day, table in _tables(header, schema, file):
            if day not in writers:
                directory = partition(root, header, day)
                directory.mkdir(parents=True, exist_ok=True)
                draft = directory / f".{path.stem}.tmp"  # readers pass over names that begin with a dot
                writers[day] = (pq.ParquetWriter(draft, schema, compression="zstd"), draft)
            writers[day][0].write_table(table)
            rows += table.num_rows
    finally:
        for writer, _ in writers.values():
            writer.close()
    for _, draft in writers.values():
        _publish(draft, draft.with_name(f"{path.stem}.parquet"))
    return rows


def _tables(header: SegmentHeader, schema: pa.Schema, file: IO[bytes]) -> Iterable[tuple[int, pa.Table]]:
    """Tables of some thousand rows, each of one day."""
    pending: dict[int, list[Record]] = {}
    count = 0
    for records in read_records(file):
        for record in records:
            pending.setdefault(record.time_us // _US_PER_DAY, []).append(record)
            count += len(record.rows)
        if count >= 50_000:
            yield from ((day, _table(header, schema, batch)) for day, batch in pending.items())
            pending, count = {}, 0
    yield from ((day, _table(header, schema, batch)) for day, batch in pending.items())


def _table(header: SegmentHeader, schema: pa.Schema, records: list[Record]) -> pa.Table:
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
            common.append((*start, keys, _number(answer), text, r.error))
            features.append(row)
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
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(final)


def _arrow_type(name: str) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if name.startswith("timestamp") else pa.type_for_alias(name)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        _log.info("%d predictions rolled into Parquet", roll(options.spool, options.root))
    except OSError as error:
        _log.error("the prediction log cannot be written: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
