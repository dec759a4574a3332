"""Customer churn: data, features, model and service of the team that owns the model."""

__version__ = "1.0.0"
