"""Loading, validating and splitting the customer table."""

from churn_mlops.data.errors import DataError, Violation
from churn_mlops.data.load import load_customers, read_table
from churn_mlops.data.schema import (
    CUSTOMER_ID,
    EVENT_TIMESTAMP,
    FEATURE_NAMES,
    FEATURES,
    LABEL,
    LABEL_TIMESTAMP,
    SIGNUP_TIMESTAMP,
)
from churn_mlops.data.split import holdout_mask, split
from churn_mlops.data.validate import find_violations, validate

__all__ = [
    "CUSTOMER_ID",
    "EVENT_TIMESTAMP",
    "FEATURES",
    "FEATURE_NAMES",
    "LABEL",
    "LABEL_TIMESTAMP",
    "SIGNUP_TIMESTAMP",
    "DataError",
    "Violation",
    "find_violations",
    "holdout_mask",
    "load_customers",
    "read_table",
    "split",
    "validate",
]
