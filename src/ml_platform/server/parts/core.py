"""Database, outbox, audit, authorisation: what every other part needs."""

from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.kit import idempotency
from ml_platform.kit.db import Database
from ml_platform.kit.outbox import OutboxRelay
from ml_platform.kit.secrets import SecretStore
from ml_platform.server import schema
from ml_platform.server.bootstrap import bootstrap
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import Authenticator, Authorizer, WorkFactory
from ml_platform.services.audit import AuditChain
from ml_platform.services.identity import TokenAuthenticator
from ml_platform.services.policies import PolicyEngine


def compose(runtime: Runtime) -> None:
    """Provides the database, the outbox, the audit chain and authorisation."""
    settings, parts = runtime.settings, runtime.components
    database = parts.provide(Database, Database(settings.database_url, pool_size=settings.database.pool_size))
    runtime.on_stop(database.close)
    secrets = parts.provide(SecretStore, SecretStore(settings.home / "secrets"))
    schema.upgrade(database, lock_file=settings.home / "run" / "migrate.lock")
    if database.is_sqlite:  # then this process is the only one
        runtime.on_start(lambda: idempotency.free_abandoned(database))
    relay = parts.provide(OutboxRelay, OutboxRelay(database))
    chain = parts.provide(AuditChain, AuditChain(secrets.get_or_create("audit.key")))
    parts.provide(Authenticator, TokenAuthenticator(database))
    authorizer = parts.provide(Authorizer, CedarAuthorizer())
    parts.provide(PolicyEngine, authorizer)
    factory = parts.provide(WorkFactory, WorkFactory(database, authorizer, chain, relay))
    bootstrap(factory, team=settings.default_team, secrets=settings.home / "secrets")
