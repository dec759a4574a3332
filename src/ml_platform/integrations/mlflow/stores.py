"""MLflow's stores, opened once in the process, with an explicit workspace for every use.

MLflow keeps its configuration in environment variables and module globals, so one process has one
tracking server. `open_stores` sets both before MLflow's server is imported and opens the stores that the
mounted application and the in-process gateway then share.
"""

# mypy: untyped-calls-exclude="mlflow"

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy

from ml_platform.integrations.mlflow.errors import TrackingInvalidError, translated
from ml_platform.integrations.mlflow.schema import migrate
from ml_platform.integrations.mlflow.settings import MlflowSettings

ARTIFACT_SCHEME = "mlflow-artifacts:/"
DEFAULT_EXPERIMENT_NAME = "Default"

# MLflow's own rule for workspace names. Its `default` workspace is not prefixed in the artifact store and
# could reach into the others, so nobody gets it.
_WORKSPACE_NAME = re.compile(r"[a-z0-9][-a-z0-9]{0,61}[a-z0-9]")
_RESERVED_NAMES = frozenset({"default", "workspaces", "api", "ajax-api", "static-files"})

_open_lock = threading.Lock()
_opened: tuple[MlflowSettings, MlflowStores] | None = None
_environment_before: dict[str, str | None] = {}


class MlflowStores:
    """Tracking store, model registry and workspaces over one database.

    `write_lock` is held around writes on SQLite: one writer at a time is what SQLite does anyway, and
    waiting for a lock is fair and quick where its own busy handler sleeps and retries.
    """

    def __init__(self, settings: MlflowSettings, tracking: Any, registry: Any, workspaces: Any) -> None:
        self.settings = settings
        self.tracking = tracking
        self.registry = registry
        self.write_lock = threading.RLock()
        self._workspaces = workspaces
        self._default_experiments: dict[str, str] = {}
        self._ensure_lock = threading.Lock()

    @contextmanager
    def reading(self, workspace: str) -> Iterator[None]:
        """Bind the workspace for the calls inside."""
        from mlflow.utils.workspace_context import ServerWorkspaceContext

        with ServerWorkspaceContext(workspace):
            yield

    @contextmanager
    def writing(self, workspace: str) -> Iterator[None]:
        """Bind the workspace for the calls inside, and be the only writer of an SQLite database."""
        with self.reading(workspace):
            if not self.settings.is_sqlite:
                yield
                return
            with self.write_lock:
                yield

    def ensure_workspace(self, team: str) -> str:
        """Make the workspace of a team when it is missing; return the id of its `Default` experiment.

        Raises:
            TrackingInvalidError: the name is not one that MLflow accepts, or is reserved.
        """
        if known := self._default_experiments.get(team):
            return known
        if not _WORKSPACE_NAME.fullmatch(team) or team in _RESERVED_NAMES:
            raise TrackingInvalidError(
                f"'{team}' cannot name a workspace: 2 to 63 lower-case letters, digits and inner hyphens",
                "INVALID_PARAMETER_VALUE",
            )
        with self._ensure_lock, self.writing(team), translated():
            self._create_workspace(team)
            experiment_id = self._create_default_experiment()
        self._default_experiments[team] = experiment_id
        return experiment_id

    def _create_workspace(self, team: str) -> None:
        from mlflow.entities import Workspace
        from mlflow.exceptions import MlflowException

        try:
            self._workspaces.get_workspace(team)
        except MlflowException:
            with _existing_is_fine():
                self._workspaces.create_workspace(Workspace(name=team))

    def _create_default_experiment(self) -> str:
        if self.tracking.get_experiment_by_name(DEFAULT_EXPERIMENT_NAME) is None:
            with _existing_is_fine():
                self.tracking.create_experiment(DEFAULT_EXPERIMENT_NAME)
        return str(self.tracking.get_experiment_by_name(DEFAULT_EXPERIMENT_NAME).experiment_id)


def open_stores(settings: MlflowSettings) -> MlflowStores:
    """Migrate the database and open the stores; the same stores when called again.

    Raises:
        RuntimeError: this process already serves another MLflow database.
    """
    global _opened  # noqa: PLW0603 - mirrors MLflow's own process-wide state, in one place
    with _open_lock:
        if _opened is None:
            prepare_environment(settings)
            migrate(settings.backend_store_uri)
            _opened = (settings, _open(settings))
        known, stores = _opened
        if known != settings:
            raise RuntimeError("This process already serves another MLflow database; start a new process")
        return stores


def close_stores() -> None:
    """Forget the stores and give the environment back, so that others can be opened in this process.

    Applications made over them must not be called any more.
    """
    global _opened  # noqa: PLW0603 - see open_stores
    with _open_lock:
        if _opened is None:
            return
        from mlflow.server import handlers, workspace_helpers

        _, stores = _opened
        for engine in {stores.tracking.engine, stores.registry.engine}:
            engine.dispose()
        for name in ("_tracking_store", "_model_registry_store", "_job_store", "_artifact_repo"):
            setattr(handlers, name, None)
        workspace_helpers._workspace_store = None  # noqa: SLF001 - as are the four above, MLflow's only memory
        for name, value in _environment_before.items():
            _set_variable(name, value)
        _environment_before.clear()
        _opened = None


def prepare_environment(settings: MlflowSettings) -> None:
    """Set what MLflow's server reads on import and later.

    Children must not inherit these: they hold the database URI. Start them with an environment of their
    own.
    """
    wanted: dict[str, str | None] = {
        "MLFLOW_ENABLE_WORKSPACES": "true",
        "_MLFLOW_SERVER_FILE_STORE": settings.backend_store_uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": ARTIFACT_SCHEME,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": settings.artifacts_root,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        # Ours stands in front: it authenticates everything and checks the origin of writes.
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # A process-wide workspace would answer for requests that name none; a prefix would move the routes.
        "MLFLOW_WORKSPACE": None,
        "MLFLOW_WORKSPACE_STORE_URI": None,
        "_MLFLOW_STATIC_PREFIX": None,
    }
    for name, value in wanted.items():
        _environment_before.setdefault(name, os.environ.get(name))
        _set_variable(name, value)


def _open(settings: MlflowSettings) -> MlflowStores:
    from mlflow.server import handlers
    from mlflow.server.workspace_helpers import _get_workspace_store
    from mlflow.store.db.db_types import DATABASE_ENGINES

    from ml_platform.integrations.mlflow.tracking_store import PlatformTrackingStore

    def build(store_uri: str, artifact_uri: str) -> PlatformTrackingStore:
        return PlatformTrackingStore(store_uri, artifact_uri)

    for engine in DATABASE_ENGINES:
        # Where MLflow looks its stores up by scheme; it calls by keyword.
        handlers._tracking_store_registry.register(engine, build)  # noqa: SLF001
    before = os.environ.get("MLFLOW_TRACKING_URI")
    handlers.initialize_backend_stores(settings.backend_store_uri, None, ARTIFACT_SCHEME)
    # MLflow announces its database to children by this variable; ours must go through the server.
    _set_variable("MLFLOW_TRACKING_URI", before)
    _set_variable("MLFLOW_WORKSPACE", None)
    tracking: Any = handlers._get_tracking_store()  # noqa: SLF001 - the very objects that the handlers use
    registry: Any = handlers._get_model_registry_store()  # noqa: SLF001
    workspaces = _get_workspace_store()
    if settings.is_sqlite:
        for engine in {tracking.engine, registry.engine}:
            sqlalchemy.event.listen(engine, "connect", _tune_sqlite)
            engine.dispose()
    return MlflowStores(settings, tracking, registry, workspaces)


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _tune_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Durable at every commit (FULL); the default cache of 2 MB does not hold a search over thousands of runs.
    for pragma in (
        "synchronous=FULL",
        "cache_size=-16000",
        "temp_store=MEMORY",
        "busy_timeout=20000",
        "foreign_keys=ON",
        "case_sensitive_like=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    """Let a lost race pass: another process made the same thing at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
