"""A bounded sample of each column of a table, the same for the same table."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from ml_platform.integrations.delta.schema import type_of
from ml_platform.services.datasets import ColumnSample

MOST: Final = 2_000
LEAST: Final = 200
_CELLS: Final = 400_000
_LONGEST_TEXT: Final = 256


def samples(frame: pl.DataFrame) -> Iterator[ColumnSample]:
    """Of each column up to 2,000 values that are not null, fewer in wide tables, from everywhere in it.

    One column after the other: no more than one sample is held. Texts are cut before they are copied.
    """
    size = max(LEAST, min(MOST, _CELLS // max(frame.width, 1)))
    for name in frame.columns:
        yield ColumnSample(name, type_of(frame.schema[name]), _sample(frame[name], size))


def _sample(column: pl.Series, size: int) -> list[object]:
    if column.dtype == pl.Binary:
        return []
    filled = column.drop_nulls()
    if len(filled) > size:
        places = np.random.default_rng(0).choice(len(filled), size, replace=False, shuffle=False)
        filled = filled.gather(np.sort(places))
    if filled.dtype == pl.String:
        filled = filled.str.slice(0, _LONGEST_TEXT)
    return filled.to_list()
