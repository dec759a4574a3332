"""Validating the customer table: every broken rule is reported with its column, count and an example."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from churn_mlops.data.errors import DataError, Violation
from churn_mlops.data.schema import (
    CUSTOMER_ID,
    EVENT_TIMESTAMP,
    FEATURES,
    INTERNET_OPTIONS,
    LABEL,
    NO_INTERNET,
    NO_PHONE,
    Column,
)

_MAX_ID = 64


def validate(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` unchanged when it is sound; raise `DataError` with all violations when it is not."""
    violations = list(find_violations(table))
    if violations:
        raise DataError(violations)
    return table


def find_violations(table: pd.DataFrame) -> Iterator[Violation]:
    """Yield the broken rules: columns first, then values, then what must agree between columns."""
    if table.empty:
        yield Violation("table", "has no rows")
        return
    yield from _id_violations(table)
    sound: set[str] = set()
    for column in FEATURES:
        found = list(_column_violations(table, column))
        yield from found
        if not found:
            sound.add(column.name)
    if LABEL in table.columns:
        yield from _rule(table[LABEL], ~table[LABEL].isin([0, 1]), LABEL, "must be Yes or No, or 1 or 0")
    yield from _agreement_violations(table, sound)


def _id_violations(table: pd.DataFrame) -> Iterator[Violation]:
    if CUSTOMER_ID not in table.columns:
        yield Violation(CUSTOMER_ID, "column is missing")
        return
    ids = table[CUSTOMER_ID]
    text = ids.map(lambda value: isinstance(value, str) and 0 < len(value) <= _MAX_ID)
    yield from _rule(ids, ~text, CUSTOMER_ID, f"must be text of 1 to {_MAX_ID} characters")
    if EVENT_TIMESTAMP in table.columns:  # the same customer may be seen at several times, once at each
        twice = table.duplicated([CUSTOMER_ID, EVENT_TIMESTAMP])
        yield from _rule(ids, twice, CUSTOMER_ID, f"must be unique for one {EVENT_TIMESTAMP}")
    else:
        yield from _rule(ids, ids.duplicated(), CUSTOMER_ID, "must be unique")


def _column_violations(table: pd.DataFrame, column: Column) -> Iterator[Violation]:
    if column.name not in table.columns:
        yield Violation(column.name, "column is missing")
        return
    values = table[column.name]
    if column.type == "string":
        allowed = ", ".join(map(repr, column.allowed))
        yield from _rule(values, ~values.isin(column.allowed), column.name, f"must be one of {allowed}")
        return
    if not pd.api.types.is_numeric_dtype(values):
        yield from _rule(values, ~values.map(_is_number), column.name, "must be a number")
        return
    numbers = values.astype("float64")
    if column.allowed:
        yield from _rule(values, ~numbers.isin(column.allowed), column.name, "must be 0 or 1")
        return
    low, high = column.low or 0.0, column.high if column.high is not None else np.inf
    yield from _rule(values, numbers.isna(), column.name, _missing_rule(column.name))
    outside = numbers.notna() & ~numbers.between(low, high)
    yield from _rule(values, outside, column.name, f"must be between {low:g} and {high:g}")
    if column.type == "long":
        broken = numbers.notna() & ~outside & (numbers % 1 != 0)
        yield from _rule(values, broken, column.name, "must be a whole number")


def _agreement_violations(table: pd.DataFrame, sound: set[str]) -> Iterator[Violation]:
    """A service that a customer does not have cannot have options; columns already reported are left out."""
    if {"phone_service", "multiple_lines"} <= sound:
        lines = table["multiple_lines"]
        broken = (table["phone_service"] == 0) != (lines == NO_PHONE)
        rule = f"must be {NO_PHONE!r} exactly when phone_service is 0"
        yield from _rule(lines, broken, "multiple_lines", rule)
    if "internet_service" not in sound:
        return
    offline = table["internet_service"] == "No"
    for name in INTERNET_OPTIONS:
        if name in sound:
            rule = f"must be {NO_INTERNET!r} exactly when internet_service is 'No'"
            yield from _rule(table[name], offline != (table[name] == NO_INTERNET), name, rule)


def _rule(values: pd.Series, broken: pd.Series, column: str, rule: str) -> Iterator[Violation]:
    count = int(broken.sum())
    if count:
        value = values[broken].iloc[0]
        example = value.item() if isinstance(value, np.generic) else value
        yield Violation(column, rule, count, repr(example)[:80])


def _missing_rule(name: str) -> str:
    return "must not be blank once tenure is 1 or more" if name == "total_charges" else "must not be blank"


def _is_number(value: object) -> bool:
    convert: Callable[[object], float] = float  # type: ignore[assignment]
    try:
        convert(value)
    except (TypeError, ValueError):
        return False
    return True
