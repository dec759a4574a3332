"""MLflow's server at `/mlflow`, and the platform's own way into it."""

import os

from ml_platform.integrations.mlflow import (
    MlflowGateway,
    MlflowSettings,
    close_stores,
    create_mlflow_app,
    open_stores,
)
from ml_platform.integrations.mlflow.tracking import TeamTracking
from ml_platform.kit.db import Database
from ml_platform.server.mlflow_access import MlflowAccess
from ml_platform.server.mlflow_governance import RegistryGovernance
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import Authenticator, Authorizer, WorkFactory
from ml_platform.services.experiments import Tracking
from ml_platform.services.registry import ModelStore
from ml_platform.services.training import JobRuns


def compose(runtime: Runtime) -> None:
    """Opens MLflow's stores, mounts its application, provides tracking to the slices."""
    settings, parts = runtime.settings, runtime.components
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"  # a server has nobody to show it to
    mlflow = MlflowSettings(settings.mlflow_url, str(settings.home / "artifacts"))
    database = parts.get(Database)
    access = MlflowAccess(database, parts.get(Authenticator), parts.get(Authorizer))
    governance = RegistryGovernance(parts.get(WorkFactory))
    application = create_mlflow_app(mlflow, access.authenticate, governance.check)
    runtime.mount("/mlflow", application)
    runtime.on_stop(close_stores)
    stores = open_stores(mlflow)
    tracking = TeamTracking(MlflowGateway(stores), stores)
    parts.provide(Tracking, tracking)
    parts.provide(ModelStore, tracking)
    parts.provide(JobRuns, tracking)
