"""Signatures of models in the form of OpenSSF model signing, by a key of this installation."""

from ml_platform.integrations.modelsigning.signer import OmsSigner

__all__ = ["OmsSigner"]
