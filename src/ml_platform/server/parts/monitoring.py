"""Monitors, drift checks and retraining; what they found as Prometheus gauges."""

from collections.abc import Iterator
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ml_platform.integrations.inference import InferenceClient
from ml_platform.integrations.predictionlog import GraphScores, StoredGroundTruth
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.durable import WorkflowEngine
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.canary_comparison import LoggedComparison
from ml_platform.server.metrics import ApiMetrics
from ml_platform.server.monitoring_adapters import (
    BundleAnswers,
    MonitoredDeployments,
    MonitoredVersions,
    RepeatableJobs,
)
from ml_platform.server.object_storage import open_log
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import WorkFactory
from ml_platform.services.alerts.repository import count_unresolved
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.monitoring import (
    AnswerKinds,
    CheckSchedule,
    Deployments,
    DriftCheckWorkflow,
    GroundTruthStore,
    ModelVersions,
    MonitoringParts,
    PredictionLog,
    RetrainWorkflow,
    measured_monitors,
)
from ml_platform.services.registry import ModelFiles

_SCHEDULE_SECONDS = 5.0
_FORGOTTEN_AFTER = timedelta(days=7)
_VERDICTS = {"none": 0, "warning": 1, "drift": 2, "not_enough_data": -1}


def compose(runtime: Runtime) -> None:
    """After the parts of training, the registry and the deployments."""
    settings, parts = runtime.settings, runtime.components
    factory, engine = parts.get(WorkFactory), parts.get(WorkflowEngine)
    deployments = parts.provide(Deployments, MonitoredDeployments(parts))
    versions = parts.provide(ModelVersions, MonitoredVersions(parts.get(ModelFiles)))
    log = parts.provide(PredictionLog, open_log(settings, flush=lambda: parts.get(InferenceClient).flush()))
    storage = parts.get(ObjectStorage)
    labels = parts.provide(GroundTruthStore, StoredGroundTruth(storage))
    kinds = parts.provide(AnswerKinds, BundleAnswers(storage))
    parts.get(RolloutParts).comparison = LoggedComparison(deployments, labels, log, kinds)
    scores = GraphScores(storage, settings.home / "work")
    engine.register(DriftCheckWorkflow(MonitoringParts(factory, deployments, versions, scores, log)))
    engine.register(RetrainWorkflow(factory, RepeatableJobs(parts), deployments))
    schedule = parts.provide(CheckSchedule, CheckSchedule(factory, deployments))
    runtime.repeat("drift-checks", _SCHEDULE_SECONDS, schedule.run)
    collector = MonitoringCollector(parts.get(Database))
    # The registry is made with the application, after the parts.
    runtime.on_start(lambda: parts.get(ApiMetrics).registry.register(collector))


class MonitoringCollector(Collector):
    """Reads the newest results when it is asked, so that every control plane tells the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: the registry need not ask the database when this is registered."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        labels = ["team", "environment", "deployment"]
        quality = GaugeMetricFamily(
            "data_quality_score", "Share of values in order, of the newest drift check", labels=labels
        )
        verdict = GaugeMetricFamily(
            "model_drift_verdict",
            "Of the newest drift check: 0 none, 1 warning, 2 drift, -1 not enough data",
            labels=labels,
        )
        alerts = GaugeMetricFamily(
            "platform_unresolved_alerts", "Alerts that nobody resolved", labels=["team", "severity"]
        )
        with self._database.read() as session:
            for row in measured_monitors(session, _FORGOTTEN_AFTER, utc_now()):
                values = [row.team_name, row.environment, row.deployment_name]
                if row.last_quality is not None:
                    quality.add_metric(values, row.last_quality)
                if row.last_verdict is not None:
                    verdict.add_metric(values, _VERDICTS[row.last_verdict])
            for key, count in count_unresolved(session).items():
                alerts.add_metric(list(key), count)
        yield from (quality, verdict, alerts)
