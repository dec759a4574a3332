"""What can be wrong with definitions and with the data behind them."""

from ml_platform.kit.errors import BadInputError


class FeatureDefinitionError(BadInputError):
    """A feature view, an entity or a reference to a feature that cannot be taken."""


class FeatureSourceError(BadInputError):
    """The data behind a feature view does not fit its definition, or cannot be read."""
