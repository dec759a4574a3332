"""MLflow inside the control plane: tracking, model registry and their screens, one workspace per team.

`create_mlflow_app` is the ASGI application that is mounted at `/mlflow`; `MlflowGateway` is how the
platform itself reads and writes the same stores, without HTTP. Nothing here imports MLflow before
`open_stores` (or `create_mlflow_app`) is called, because MLflow reads its configuration on import.
"""

from ml_platform.integrations.mlflow.app import create_mlflow_app
from ml_platform.integrations.mlflow.errors import (
    TrackingConflictError,
    TrackingError,
    TrackingInvalidError,
    TrackingNotFoundError,
)
from ml_platform.integrations.mlflow.gateway import MlflowGateway
from ml_platform.integrations.mlflow.identity import (
    Authenticate,
    MlflowIdentity,
    Refusal,
    bearer_token,
)
from ml_platform.integrations.mlflow.registry_policy import (
    Outcome,
    RegistryPolicy,
    RegistryWrite,
    RegistryWriteRefusedError,
)
from ml_platform.integrations.mlflow.settings import MlflowSettings
from ml_platform.integrations.mlflow.stores import MlflowStores, close_stores, open_stores

__all__ = [
    "Authenticate",
    "MlflowGateway",
    "MlflowIdentity",
    "MlflowSettings",
    "MlflowStores",
    "Outcome",
    "Refusal",
    "RegistryPolicy",
    "RegistryWrite",
    "RegistryWriteRefusedError",
    "TrackingConflictError",
    "TrackingError",
    "TrackingInvalidError",
    "TrackingNotFoundError",
    "bearer_token",
    "close_stores",
    "create_mlflow_app",
    "open_stores",
]
