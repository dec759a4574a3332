"""What can go wrong when features are looked up."""

from ml_platform.inference.features_api import FeatureError, FeatureNotFound, FeatureStoreUnavailable

__all__ = ["FeatureError", "FeatureKeyError", "FeatureNotFound", "FeatureStoreUnavailable"]


class FeatureKeyError(FeatureError, ValueError):
    """A join key is missing or of the wrong type, or there are too many of them; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")
