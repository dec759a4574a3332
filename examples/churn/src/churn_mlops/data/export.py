"""Writing the tables that the platform and the feature store read.

- `customers.parquet`: everything, for a dataset version;
- `customer_profile.parquet`: id, event time and the 19 features, the feature view's source;
- `churn_labels.parquet`: id, label time (as `event_timestamp`) and label, the entity rows of a
  point-in-time training set.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from churn_mlops.data.errors import DataError
from churn_mlops.data.load import load_customers
from churn_mlops.data.schema import CUSTOMER_ID, EVENT_TIMESTAMP, FEATURE_NAMES, LABEL, LABEL_TIMESTAMP


def customer_profile(customers: pd.DataFrame) -> pd.DataFrame:
    """The rows of the feature view `customer_profile`."""
    return customers[[CUSTOMER_ID, EVENT_TIMESTAMP, *FEATURE_NAMES]]


def churn_labels(customers: pd.DataFrame) -> pd.DataFrame:
    """Who had left, and when that was known: the left side of a point-in-time join."""
    labels = customers[[CUSTOMER_ID, LABEL_TIMESTAMP, LABEL]]
    return labels.rename(columns={LABEL_TIMESTAMP: EVENT_TIMESTAMP})


def export(directory: Path, source: str | Path | None = None) -> list[Path]:
    """Write the three tables into `directory`, which is made when it is missing; return their paths."""
    customers = load_customers(source)
    tables = {"customers": customers, "customer_profile": customer_profile(customers)}
    if LABEL in customers.columns:
        tables["churn_labels"] = churn_labels(customers)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in tables.items():
        paths.append(directory / f"{name}.parquet")
        table.to_parquet(paths[-1], index=False)
    return paths


def main() -> int:
    """Command line: `churn-export --out data [--data customers.csv]`."""
    parser = argparse.ArgumentParser(description="Write the tables for the platform and the feature store.")
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--data", type=Path, help="Parquet or CSV; default: the published table")
    arguments = parser.parse_args()
    try:
        paths = export(arguments.out, arguments.data)
    except (DataError, OSError) as error:
        print(f"churn-export: {error}", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
