"""What `POST /predict` takes: one customer's raw fields, two of them required, the rest with defaults."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from churn_mlops.data.schema import (
    FEATURES,
    INTERNET_OPTIONS,
    NO_INTERNET,
    NO_PHONE,
    Contract,
    Flag,
    InternetOption,
    InternetService,
    MultipleLines,
    PaymentMethod,
)

_COLUMNS = {column.name: column for column in FEATURES}


def _described(name: str) -> Any:
    column = _COLUMNS[name]
    return Field(
        default=... if column.default is None else column.default,
        description=column.description,
        ge=column.low,
        le=column.high,
    )


class Customer(BaseModel):
    """One customer. Left out, a field takes the most frequent value of the training data.

    Two exceptions follow from other fields: without internet (or phone) its options are 'No internet service'
    ('No phone service'), and `total_charges` is `tenure * monthly_charges`, the bill so far at today's price.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    tenure: int = _described("tenure")
    monthly_charges: float = _described("monthly_charges")
    total_charges: Annotated[float | None, _described("total_charges")] = None
    female: Flag = _described("female")
    senior_citizen: Flag = _described("senior_citizen")
    partner: Flag = _described("partner")
    dependents: Flag = _described("dependents")
    phone_service: Flag = _described("phone_service")
    multiple_lines: MultipleLines = _described("multiple_lines")
    internet_service: InternetService = _described("internet_service")
    online_security: InternetOption = _described("online_security")
    online_backup: InternetOption = _described("online_backup")
    device_protection: InternetOption = _described("device_protection")
    tech_support: InternetOption = _described("tech_support")
    streaming_tv: InternetOption = _described("streaming_tv")
    streaming_movies: InternetOption = _described("streaming_movies")
    contract: Contract = _described("contract")
    paperless_billing: Flag = _described("paperless_billing")
    payment_method: PaymentMethod = _described("payment_method")

    @model_validator(mode="before")
    @classmethod
    def _follow_from_other_fields(cls, given: Any) -> Any:
        """Options of a service that the customer does not have are known without being said."""
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        if filled.get("phone_service") == 0:
            filled.setdefault("multiple_lines", NO_PHONE)
        if filled.get("internet_service") == "No":
            for name in INTERNET_OPTIONS:
                filled.setdefault(name, NO_INTERNET)
        return filled

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.phone_service == 0) != (self.multiple_lines == NO_PHONE):
            raise ValueError(f"multiple_lines: must be {NO_PHONE!r} exactly when phone_service is 0")
        for name in INTERNET_OPTIONS:
            if (self.internet_service == "No") != (getattr(self, name) == NO_INTERNET):
                raise ValueError(f"{name}: must be {NO_INTERNET!r} exactly when internet_service is 'No'")
        return self

    def features(self) -> dict[str, Any]:
        """The 19 raw columns, complete."""
        row = self.model_dump()
        if row["total_charges"] is None:
            row["total_charges"] = round(self.tenure * self.monthly_charges, 2)
        return {name: row[name] for name in _COLUMNS}


class Prediction(BaseModel):
    """The answer: how likely the customer leaves, and 1 when that is likelier than not."""

    churn_probability: float = Field(ge=0, le=1)
    prediction: Literal[0, 1]
