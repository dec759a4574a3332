"""Registered models: versions that passed a gate, stored immutably and checked whenever they are used."""

from ml_platform.services.registry.endpoints import ModelRef, router
from ml_platform.services.registry.errors import ArtifactChangedError
from ml_platform.services.registry.interfaces import (
    EvaluatedModel,
    InspectedModel,
    LoggedModel,
    ModelInspector,
    ModelSigner,
    ModelStore,
)
from ml_platform.services.registry.registration import Candidate, Prepared, Registrar
from ml_platform.services.registry.service import ModelFiles, RegistryService, WrittenCard

__all__ = [
    "ArtifactChangedError",
    "Candidate",
    "EvaluatedModel",
    "InspectedModel",
    "LoggedModel",
    "ModelFiles",
    "ModelInspector",
    "ModelRef",
    "ModelSigner",
    "ModelStore",
    "Prepared",
    "Registrar",
    "RegistryService",
    "WrittenCard",
    "router",
]
