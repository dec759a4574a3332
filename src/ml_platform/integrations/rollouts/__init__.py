"""What rollouts do with model directories, by the model builder's children."""

from ml_platform.integrations.rollouts.tools import BuilderTools

__all__ = ["BuilderTools"]
