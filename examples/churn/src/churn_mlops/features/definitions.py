"""The feature definitions for stock Feast (`feast apply` in this folder).

The source is `data/customer_profile.parquet` beside `feature_store.yaml`, written by `churn-export`.
"""

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

customer = Entity(
    name="customer",
    join_keys=["customer_id"],
    value_type=ValueType.STRING,
    description="A customer of the telephone company",
)

customer_profile_source = FileSource(
    name="customer_profile_source",
    path="data/customer_profile.parquet",
    timestamp_field="event_timestamp",
)

customer_profile = FeatureView(
    name="customer_profile",
    description="What is known of a customer on the day of the latest bill",
    entities=[customer],
    # A profile holds until the next bill replaces it, however long ago the latest one was. Ten years rather
    # than zero, Feast's "for ever": with zero, `feast materialize-incremental` looks back one year only.
    ttl=timedelta(days=3650),
    schema=[
        Field(name="female", dtype=Int64),
        Field(name="senior_citizen", dtype=Int64),
        Field(name="partner", dtype=Int64),
        Field(name="dependents", dtype=Int64),
        Field(name="tenure", dtype=Int64),
        Field(name="phone_service", dtype=Int64),
        Field(name="multiple_lines", dtype=String),
        Field(name="internet_service", dtype=String),
        Field(name="online_security", dtype=String),
        Field(name="online_backup", dtype=String),
        Field(name="device_protection", dtype=String),
        Field(name="tech_support", dtype=String),
        Field(name="streaming_tv", dtype=String),
        Field(name="streaming_movies", dtype=String),
        Field(name="contract", dtype=String),
        Field(name="paperless_billing", dtype=Int64),
        Field(name="payment_method", dtype=String),
        Field(name="monthly_charges", dtype=Float64),
        Field(name="total_charges", dtype=Float64),
    ],
    source=customer_profile_source,
    online=True,
    tags={"owner": "churn-team"},
)


@on_demand_feature_view(
    sources=[customer_profile],
    schema=[
        Field(name="average_bill", dtype=Float64),
        Field(name="bill_change", dtype=Float64),
        Field(name="service_count", dtype=Float64),
        Field(name="committed_months", dtype=Float64),
    ],
    description="What follows from one profile, computed when it is asked for",
)
def customer_value(profiles: pd.DataFrame) -> pd.DataFrame:
    """Compute the derived features from looked-up profiles."""
    from churn_mlops.features.engineer import derive  # Feast ships the function's source, not this module

    return derive(profiles)


churn_features = FeatureService(
    name="churn_features",
    description="The 19 columns that the churn model reads",
    features=[customer_profile],
)
