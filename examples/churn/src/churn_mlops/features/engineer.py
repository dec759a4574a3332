"""Turning raw customer columns into the numbers that the classifier reads.

What is learned (the categories of each text column) is learned from the rows given to `fit` alone, so the
holdout never leaks into training. All parts are scikit-learn's own: the fitted pipeline carries no code of
this package, loads without it, and converts to ONNX with one named input per raw column.
"""

from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import check_is_fitted

from churn_mlops.data.schema import FEATURE_NAMES, NUMERIC_FEATURES, STRING_FEATURES


def build_transformer() -> ColumnTransformer:
    """An unfitted transformer: text columns one-hot, numbers as they are.

    A category that was not in the training rows becomes all zeros instead of an error. Numbers are neither
    scaled nor imputed: a tree needs no scale, validation refuses blanks, and the one blank that is legal
    (`total_charges` before the first bill) is 0.0 since loading.
    """
    return ColumnTransformer(
        [
            ("category", OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(STRING_FEATURES)),
            ("number", "passthrough", list(NUMERIC_FEATURES)),
        ],
        verbose_feature_names_out=False,
    )


class FeatureEngineer(TransformerMixin, BaseEstimator):
    """The model's features as a named table, for looking at them and for use in other pipelines.

    Args:
        derived: also add the columns of `derive`. The served model does without them: they do not improve it
            (the notebook shows it), and every feature costs something to keep.
    """

    def __init__(self, derived: bool = False) -> None:
        self.derived = derived

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the categories from `X`, a table with the 19 raw columns; `y` is not looked at."""
        del y  # scikit-learn's signature has it; features are learned without the label
        self.transformer_ = build_transformer().fit(raw_columns(X))
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return one row of numbers per row of `X`, with its index; other columns of `X` are left out."""
        check_is_fitted(self)
        raw = raw_columns(X)
        names = list(self.transformer_.get_feature_names_out())
        features = pd.DataFrame(
            self.transformer_.transform(raw), columns=names, index=X.index, dtype="float64"
        )
        return pd.concat([features, derive(raw)], axis=1) if self.derived else features

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the columns that `transform` returns; they do not depend on `input_features`."""
        del input_features
        check_is_fitted(self)
        names = list(self.transformer_.get_feature_names_out())
        return np.asarray(names + list(DERIVED_FEATURES) if self.derived else names, dtype=object)


DERIVED_FEATURES = ("average_bill", "bill_change", "service_count", "committed_months")
_SERVICES = (
    "multiple_lines",
    "online_security",
    "online_backup",
    "device_protection",
    "tech_support",
    "streaming_tv",
    "streaming_movies",
)
_COMMITTED_MONTHS = {"Month-to-month": 1, "One year": 12, "Two year": 24}


def derive(customers: pd.DataFrame) -> pd.DataFrame:
    """Features that follow from one row alone, so nothing is learned and they can be computed on demand.

    - `average_bill`: all bills so far per month of tenure, in dollars; this month's before the first bill;
    - `bill_change`: this month's bill less the average one, in dollars;
    - `service_count`: phone, internet and add-ons that the customer takes;
    - `committed_months`: term of the contract.

    All are floats: a value that is not known (a customer whom the feature store has not seen) stays unknown.
    """
    average = (customers["total_charges"] / customers["tenure"]).where(
        customers["tenure"] > 0, customers["monthly_charges"]
    )
    services = customers["phone_service"] + (customers["internet_service"] != "No").astype("int64")
    for name in _SERVICES:
        services = services + (customers[name] == "Yes").astype("int64")
    return pd.DataFrame(
        {
            "average_bill": average.astype("float64"),
            "bill_change": (customers["monthly_charges"] - average).astype("float64"),
            "service_count": services.astype("float64"),
            "committed_months": customers["contract"].map(_COMMITTED_MONTHS).astype("float64"),
        },
        index=customers.index,
    )


def raw_columns(X: pd.DataFrame) -> pd.DataFrame:
    """The 19 raw columns of `X` in the schema's order, which is the order that the model was fitted with."""
    missing = [name for name in FEATURE_NAMES if name not in X.columns]
    if missing:
        raise ValueError(f"columns are missing: {', '.join(missing)}")
    return X[list(FEATURE_NAMES)]
