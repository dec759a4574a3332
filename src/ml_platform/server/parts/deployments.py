"""Deployments: the rollout workflow with its adapters, and the snapshot for inference servers."""

from typing import Any

from sqlalchemy import func, select

from ml_platform.integrations.apprise import AppriseNotifier
from ml_platform.integrations.inference import InferenceClient
from ml_platform.integrations.modelbuild import BundleTrials, ModelBuilder
from ml_platform.integrations.modelsigning import OmsSigner
from ml_platform.integrations.rollouts import BuilderTools
from ml_platform.integrations.supplychain import OsvAdvisories, SupplyChainInspector
from ml_platform.kit.db import Database
from ml_platform.kit.durable import WorkflowEngine
from ml_platform.kit.environments import EnvironmentCache
from ml_platform.kit.outbox import OutboxRelay
from ml_platform.kit.secrets import SecretStore
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.deployable_models import OnlineFeatureSources, RegistryCatalogue
from ml_platform.server.metrics import ApiMetrics
from ml_platform.server.online_stores import OnlineStores
from ml_platform.server.runtime import Runtime
from ml_platform.server.serving_keys import IdentityKeys
from ml_platform.server.team_quotas import TeamLimits
from ml_platform.services.access import Actor, Authorizer, WorkFactory
from ml_platform.services.deployments import (
    SNAPSHOT_RAISED,
    Prices,
    Quota,
    RollbackWatch,
    RolloutParts,
    RolloutSettings,
    RolloutWorkflow,
    SmokeKeys,
    SnapshotBuilder,
    SnapshotFeed,
    raise_snapshot_version,
)
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.features import FeatureLookups
from ml_platform.services.governance import PersonalDataCheck, RoleDirectory

_LOOK_SECONDS = 0.5
_COUNT_SECONDS = 10.0
_WATCH_SECONDS = 5.0
_KEYS_CHANGED = "inference.changed"


def compose(runtime: Runtime) -> None:
    """Provides `RolloutParts` and `SnapshotFeed`, and registers the workflow."""
    settings, parts = runtime.settings, runtime.components
    database, factory = parts.get(Database), parts.get(WorkFactory)
    keys = SmokeKeys(parts.get(SecretStore).get_or_create("control-plane.key"))
    client = parts.provide(
        InferenceClient, InferenceClient(lambda: settings.inference_listener, keys.service_token())
    )
    runtime.on_stop(client.close)
    rollouts = parts.provide(
        RolloutParts,
        RolloutParts(
            factory=factory,
            catalogue=RegistryCatalogue(parts.get(ObjectStorage)),
            tools=BuilderTools(
                parts.get(ModelBuilder),
                BundleTrials(parts.get(EnvironmentCache), settings.home / "work"),
            ),
            plane=client,
            notifier=AppriseNotifier(lambda: [url.get_secret_value() for url in settings.alert_urls]),
            roles=parts.get(RoleDirectory),
            smoke_keys=keys,
            supply_chain=SupplyChainInspector(
                OsvAdvisories(settings.advisories) if settings.advisories else None
            ),
            signatures=parts.get(OmsSigner),
            storage=parts.get(ObjectStorage),
            work=settings.home / "work",
            inference_url=lambda: settings.inference_url,
            features=OnlineFeatureSources(database, parts.get(FeatureLookups)),
            quotas=TeamLimits(Quota(**settings.quotas.model_dump())),
            prices=Prices(**settings.prices.model_dump()),
            personal_data=parts.get(PersonalDataCheck),
            settings=RolloutSettings(**settings.rollouts.model_dump()),
        ),
    )
    parts.get(WorkflowEngine).register(RolloutWorkflow(rollouts))
    builder = SnapshotBuilder(IdentityKeys(parts.get(Authorizer)), keys, parts.get(OnlineStores))
    feed = parts.provide(SnapshotFeed, SnapshotFeed(database, builder))
    _publish(runtime, factory, feed)
    runtime.repeat("rollback-watch", _WATCH_SECONDS, RollbackWatch(rollouts).run)
    runtime.repeat("deployment-counts", _COUNT_SECONDS, lambda: count(database, parts.get(ApiMetrics)))


def _publish(runtime: Runtime, factory: WorkFactory, feed: SnapshotFeed) -> None:
    relay = runtime.components.get(OutboxRelay)

    def keys_changed(_entry_id: str, _payload: dict[str, Any]) -> None:
        with factory.begin(Actor.system("snapshot")) as work:
            raise_snapshot_version(work)
        feed.refresh()

    relay.on(_KEYS_CHANGED, keys_changed)
    relay.on(SNAPSHOT_RAISED, lambda _entry_id, _payload: feed.refresh())
    runtime.on_start(feed.refresh)
    runtime.repeat("inference-snapshots", _LOOK_SECONDS, feed.refresh)
    runtime.on_stop(feed.close)


def count(database: Database, metrics: ApiMetrics) -> None:
    """`platform_active_deployments`: those of which a revision serves."""
    query = (
        select(DeploymentRow.team_name, DeploymentRow.environment, func.count(DeploymentRow.id.distinct()))
        .join(RevisionRow, RevisionRow.deployment_id == DeploymentRow.id)
        .where(RevisionRow.status == "serving")
        .group_by(DeploymentRow.team_name, DeploymentRow.environment)
    )
    with database.read() as session:
        rows = session.execute(query).all()
    metrics.deployments.clear()
    for team, environment, number in rows:
        metrics.deployments.labels(team, environment).set(number)
