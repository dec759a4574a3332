"""Making drifted traffic from real customers, to see whether monitoring notices.

The story: prices rise, the company stops selling long contracts, and a campaign brings in many new
customers. Three things change, by rules that depend on the customer's id alone, so the same rows drift in
the same way everywhere; all other columns stay as they are:

- `contract`: a share of the customers with a one- or two-year contract move to month-to-month;
- `tenure`: is scaled down (`total_charges` with it, since it is the sum over those months);
- `monthly_charges`: rises, and `total_charges` by the rise of the latest three months.

With `strength` 0 nothing changes; 1 is a strong drift (PSI above 0.25 in all four columns).
The label is left out: nobody knows who of these invented customers would leave.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from churn_mlops.data.errors import DataError
from churn_mlops.data.load import load_customers
from churn_mlops.data.schema import CUSTOMER_ID, FEATURE_NAMES
from churn_mlops.data.validate import validate

PRICE_RISE = 0.15
CONTRACTS_ENDED = 0.6
TENURE_CUT = 0.4
_MONTHS_AT_NEW_PRICE = 3


def drift(customers: pd.DataFrame, strength: float = 1.0) -> pd.DataFrame:
    """Return the customers after the drift: `customer_id` and the 19 raw columns, valid as the originals are.

    Args:
        customers: with `customer_id` and the 19 raw columns.
        strength: from 0, no drift, to 1, all of it.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, got {strength}")
    drifted = customers[[CUSTOMER_ID, *FEATURE_NAMES]].reset_index(drop=True)

    ended = drifted[CUSTOMER_ID].map(_position) < strength * CONTRACTS_ENDED
    drifted.loc[ended, "contract"] = "Month-to-month"

    tenure = np.ceil(drifted["tenure"] * (1 - strength * TENURE_CUT))
    kept = (tenure / drifted["tenure"]).where(drifted["tenure"] > 0, 1.0)
    rise = drifted["monthly_charges"] * strength * PRICE_RISE
    billed = drifted["total_charges"] * kept + rise * tenure.clip(upper=_MONTHS_AT_NEW_PRICE)
    drifted["tenure"] = tenure.astype("int64")
    drifted["monthly_charges"] = (drifted["monthly_charges"] + rise).round(2)
    drifted["total_charges"] = billed.round(2)
    return validate(drifted)


def population_stability_index(reference: pd.Series, current: pd.Series, bins: int = 10) -> float:
    """PSI of two samples of one column: deciles of the reference for numbers, values for text.

    Below 0.1 nothing moved, above 0.25 much did. Empty bins count as half a row.
    """
    if pd.api.types.is_numeric_dtype(reference):
        edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
        left, right = np.searchsorted(edges, reference), np.searchsorted(edges, current)
        size = len(edges) + 1
    else:
        values = pd.Index(pd.concat([reference, current]).unique())
        left, right = values.get_indexer(reference), values.get_indexer(current)
        size = len(values)
    p = np.maximum(np.bincount(left, minlength=size), 0.5) / len(left)
    q = np.maximum(np.bincount(right, minlength=size), 0.5) / len(right)
    return float(np.sum((q - p) * np.log(q / p)))


def main() -> int:
    """Command line: `churn-drift --out drifted.parquet [--data customers.parquet] [--strength 1] [--limit 500]`.

    An `--out` that ends in `.json` gets the rows as instances, ready to be sent to an endpoint.
    """
    parser = argparse.ArgumentParser(
        description="Write drifted customers, and say how far each column moved."
    )
    parser.add_argument("--out", type=Path, default=Path("data/drifted.parquet"))
    parser.add_argument("--data", type=Path, help="Parquet or CSV; default: the published table")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--limit", type=int, help="how many customers to write; default: all")
    arguments = parser.parse_args()
    try:
        customers = load_customers(arguments.data)
        drifted = drift(customers, arguments.strength)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        written = drifted.head(arguments.limit) if arguments.limit is not None else drifted
        if arguments.out.suffix == ".json":
            written[list(FEATURE_NAMES)].to_json(arguments.out, orient="records")
        else:
            written.to_parquet(arguments.out, index=False)
    except (DataError, OSError, ValueError) as error:
        print(f"churn-drift: {error}", file=sys.stderr)
        return 1
    for name in FEATURE_NAMES:
        moved = population_stability_index(customers[name], drifted[name])
        if moved >= 0.1:
            print(f"{name}: PSI {moved:.2f}")
    print(arguments.out)
    return 0


def _position(customer_id: str) -> float:
    """Map an id evenly on [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"drift:{customer_id}".encode()).digest()[:6], "big") / 2**48


if __name__ == "__main__":
    sys.exit(main())
