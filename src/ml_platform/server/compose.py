"""Chooses the adapter behind every interface, and starts and stops what runs in the background."""

import threading
from collections.abc import Callable

import structlog

from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.kit.db import Database
from ml_platform.kit.outbox import OutboxRelay
from ml_platform.kit.secrets import SecretStore
from ml_platform.kit.wiring import Components
from ml_platform.server import schema
from ml_platform.server.bootstrap import bootstrap
from ml_platform.server.settings import Settings
from ml_platform.services.access import Authenticator, Authorizer, WorkFactory
from ml_platform.services.audit import AuditChain, AuditVerifier, CheckpointFile
from ml_platform.services.identity import TokenAuthenticator

_log = structlog.get_logger(__name__)


class Runtime:
    """The parts of one process, and the order in which they start and stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.components = Components()
        self._starts: list[Callable[[], None]] = []
        self._stops: list[Callable[[], None]] = []

    def on_start(self, action: Callable[[], None]) -> None:
        self._starts.append(action)

    def on_stop(self, action: Callable[[], None]) -> None:
        self._stops.append(action)

    def start(self) -> None:
        for action in self._starts:
            action()

    def stop(self) -> None:
        """Stops in the reverse order; one part that fails to stop does not keep the others up."""
        for action in reversed(self._stops):
            try:
                action()
            except Exception:
                _log.exception("stop.failed", part=getattr(action, "__qualname__", str(action)))


def compose(settings: Settings) -> Runtime:
    """The control plane's parts, as the settings choose them."""
    runtime = Runtime(settings)
    parts = runtime.components
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = parts.provide(Database, Database(settings.database_url, pool_size=settings.database.pool_size))
    runtime.on_stop(database.close)
    _compose_core(runtime, database)
    return runtime


def _compose_core(runtime: Runtime, database: Database) -> None:
    settings, parts = runtime.settings, runtime.components
    secrets = parts.provide(SecretStore, SecretStore(settings.home / "secrets"))
    schema.upgrade(database, lock_file=settings.home / "run" / "migrate.lock")
    relay = parts.provide(OutboxRelay, OutboxRelay(database))
    chain = parts.provide(AuditChain, AuditChain(secrets.get_or_create("audit.key")))
    checkpoints = CheckpointFile(settings.home / "audit" / "checkpoints.jsonl", database, chain)
    parts.provide(AuditVerifier, AuditVerifier(database, chain, checkpoints))
    parts.provide(Authenticator, TokenAuthenticator(database))
    authorizer = parts.provide(Authorizer, CedarAuthorizer())
    factory = parts.provide(WorkFactory, WorkFactory(database, authorizer, chain, relay))
    bootstrap(factory, team=settings.default_team, secrets=settings.home / "secrets")
    repeat(runtime, "audit-checkpoints", 1.0, checkpoints.write)
    runtime.on_start(relay.start)
    runtime.on_stop(relay.stop)


def repeat(runtime: Runtime, name: str, seconds: float, action: Callable[[], object]) -> None:
    """Runs `action` every so many seconds from start to stop, and once more at the stop."""
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(seconds):
            once()

    def once() -> None:
        try:
            action()
        except Exception:  # a failing turn is logged and does not end the turns after it
            _log.exception("repeat.failed", name=name)

    thread = threading.Thread(target=run, name=name, daemon=True)

    def stop() -> None:
        stopped.set()
        thread.join(timeout=10)
        once()

    runtime.on_start(thread.start)
    runtime.on_stop(stop)
