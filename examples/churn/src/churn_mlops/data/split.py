"""Splitting customers into training and holdout rows, the same way every time.

The split depends on the customer's id alone, neither on a seed nor on the order or number of rows: a
customer who was held out once is held out for ever. So a new model and the champion are judged on rows
that neither has seen, and data that grows keeps its holdout.
"""

import hashlib

import pandas as pd

from churn_mlops.data.schema import CUSTOMER_ID

_SALT = "churn-holdout"


def holdout_mask(customer_ids: pd.Series, fraction: float) -> pd.Series:
    """True for the customers to hold out: about `fraction` of them, and a superset for a larger fraction."""
    if not 0 < fraction < 1:
        raise ValueError(f"test_fraction must be between 0 and 1, got {fraction}")
    return customer_ids.map(_position) < fraction


def split(table: pd.DataFrame, fraction: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (training rows, holdout rows) of a table with `customer_id`."""
    held_out = holdout_mask(table[CUSTOMER_ID], fraction)
    return table[~held_out].reset_index(drop=True), table[held_out].reset_index(drop=True)


def _position(customer_id: str) -> float:
    """Map an id evenly on [0, 1)."""
    digest = hashlib.sha256(f"{_SALT}:{customer_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
