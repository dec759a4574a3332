"""Files as the prediction log and the store of labels have them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNTIL = START + timedelta(hours=1)
_SCHEMA: dict[str, Any] = {
    "request_id": pl.String,
    "instance": pl.Int32,
    "time": pl.Datetime("us", "UTC"),
    "deployment_id": pl.String,
    "revision_id": pl.String,
    "model_name": pl.String,
    "model_version": pl.String,
    "status": pl.Int16,
    "latency_ms": pl.Float64,
    "entity_keys": pl.String,
    "prediction": pl.Float64,
    "prediction_json": pl.String,
    "error": pl.String,
    "unit": pl.String,
}


def row(request: str, revision: str, prediction: float | str | None = 1.0, **other: Any) -> dict[str, Any]:
    """One instance; without a prediction it failed."""
    number = prediction if isinstance(prediction, float) else None
    return {
        "request_id": request,
        "instance": 0,
        "time": START + timedelta(minutes=1),
        "deployment_id": "dep",
        "revision_id": revision,
        "model_name": "m",
        "model_version": "1",
        "status": 200 if prediction is not None else 500,
        "latency_ms": 2.0,
        "entity_keys": None,
        "prediction": number,
        "prediction_json": None if prediction is None else repr(prediction).replace("'", '"'),
        "error": None,
        "unit": None,
        **other,
    }


def write(path: Path, rows: list[dict[str, Any]], *, without: str | None = None) -> Path:
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    (frame.drop(without) if without else frame).write_parquet(path)
    return path


def labels(path: Path, found: dict[str, float | str]) -> Path:
    rows = [
        {
            "request_id": request,
            "instance": None,
            "entity_names": None,
            "entity_key": None,
            "time": None,
            "label": None if isinstance(value, str) else float(value),
            "label_json": f'"{value}"' if isinstance(value, str) else str(value),
            "received_at": UNTIL,
            "position": number,
        }
        for number, (request, value) in enumerate(found.items())
    ]
    schema: dict[str, Any] = {
        "request_id": pl.String,
        "instance": pl.Int32,
        "entity_names": pl.String,
        "entity_key": pl.String,
        "time": pl.Datetime("us", "UTC"),
        "label": pl.Float64,
        "label_json": pl.String,
        "received_at": pl.Datetime("us", "UTC"),
        "position": pl.Int32,
    }
    pl.DataFrame(rows, schema=schema).write_parquet(path)
    return path
