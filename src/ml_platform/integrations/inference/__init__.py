"""The inference servers as the control plane sees them."""

from ml_platform.integrations.inference.client import InferenceClient

__all__ = ["InferenceClient"]
