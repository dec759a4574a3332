"""Reading `features.yaml`, the feature definitions as plain data, for the platform's `features.create`."""

from importlib.resources import files
from typing import Any

import yaml


def load_feature_definitions() -> dict[str, Any]:
    """The feature view `customer_profile` as the platform takes it: name, entity, timestamp field, fields."""
    text = files("churn_mlops.features").joinpath("features.yaml").read_text(encoding="utf-8")
    definitions: dict[str, Any] = yaml.safe_load(text)
    return definitions
