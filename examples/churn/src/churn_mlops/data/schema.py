"""The customer table: its columns, types, allowed values, and the defaults that the service fills in.

Everything else (validation, features, the service's request, the Feast definitions' test) reads this one
description, so a column is added or changed here and nowhere else.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Flag = Literal[0, 1]
MultipleLines = Literal["No", "No phone service", "Yes"]
InternetService = Literal["DSL", "Fiber optic", "No"]
InternetOption = Literal["No", "No internet service", "Yes"]
Contract = Literal["Month-to-month", "One year", "Two year"]
PaymentMethod = Literal[
    "Bank transfer (automatic)", "Credit card (automatic)", "Electronic check", "Mailed check"
]

# The names of an MLflow model signature, which the platform uses for feature types too.
ColumnType = Literal["long", "double", "string"]

CUSTOMER_ID = "customer_id"
SIGNUP_TIMESTAMP = "signup_timestamp"
EVENT_TIMESTAMP = "event_timestamp"
LABEL_TIMESTAMP = "label_timestamp"
LABEL = "churn"

NO_PHONE = "No phone service"
NO_INTERNET = "No internet service"


@dataclass(frozen=True)
class Column:
    """One raw feature. `allowed` bounds a category or flag, `low` and `high` bound a number.

    `default` is what the service assumes when a caller leaves the field out: the most frequent value of
    the 7,043 customers. None means that the field is required, or derived (`total_charges`).
    """

    name: str
    type: ColumnType
    description: str
    allowed: tuple[str, ...] | tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    default: str | int | None = None


def _flag(name: str, description: str, default: int) -> Column:
    return Column(name, "long", description, allowed=get_args(Flag), default=default)


def _category(name: str, description: str, values: object, default: str) -> Column:
    return Column(name, "string", description, allowed=get_args(values), default=default)


# The upper bounds are far above the data's (72 months, 118.75 and 8,684.80): they catch a wrong unit or a
# broken export, not an unusual customer.
FEATURES: tuple[Column, ...] = (
    _flag("female", "1 when the customer is a woman", 0),
    _flag("senior_citizen", "1 when the customer is 65 or older", 0),
    _flag("partner", "1 when the customer lives with a partner", 0),
    _flag("dependents", "1 when the customer has dependents", 0),
    Column("tenure", "long", "whole months since the customer signed up", low=0, high=600),
    _flag("phone_service", "1 when the customer has a phone line", 1),
    _category("multiple_lines", "more than one phone line", MultipleLines, "No"),
    _category("internet_service", "kind of internet access", InternetService, "Fiber optic"),
    _category("online_security", "online security add-on", InternetOption, "No"),
    _category("online_backup", "online backup add-on", InternetOption, "No"),
    _category("device_protection", "device protection add-on", InternetOption, "No"),
    _category("tech_support", "technical support add-on", InternetOption, "No"),
    _category("streaming_tv", "streams television", InternetOption, "No"),
    _category("streaming_movies", "streams films", InternetOption, "No"),
    _category("contract", "term of the contract", Contract, "Month-to-month"),
    _flag("paperless_billing", "1 when bills are sent electronically", 1),
    _category("payment_method", "how bills are paid", PaymentMethod, "Electronic check"),
    Column("monthly_charges", "double", "this month's bill, in dollars", low=0, high=10_000),
    Column("total_charges", "double", "all bills so far, in dollars", low=0, high=1_000_000),
)

FEATURE_NAMES: tuple[str, ...] = tuple(column.name for column in FEATURES)
STRING_FEATURES: tuple[str, ...] = tuple(column.name for column in FEATURES if column.type == "string")
NUMERIC_FEATURES: tuple[str, ...] = tuple(column.name for column in FEATURES if column.type != "string")
INTERNET_OPTIONS: tuple[str, ...] = tuple(
    column.name for column in FEATURES if column.allowed == get_args(InternetOption)
)
