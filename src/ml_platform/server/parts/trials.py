"""Shadows and A/B tests; how many of them there are as Prometheus gauges."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from ml_platform.contracts.deployments import RevisionStatus
from ml_platform.kit.db import Database
from ml_platform.kit.durable import WorkflowEngine
from ml_platform.server.metrics import ApiMetrics
from ml_platform.server.runtime import Runtime
from ml_platform.server.trial_evidence import LoggedEvidence
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.monitoring import AnswerKinds, Deployments, GroundTruthStore, PredictionLog
from ml_platform.services.trials import ABTestWorkflow, TrialEvidence
from ml_platform.services.trials.tables import ABTestRow


def compose(runtime: Runtime) -> None:
    """After the parts of the deployments and of monitoring, whose prediction log it reads."""
    parts = runtime.components
    evidence = parts.provide(
        TrialEvidence,
        LoggedEvidence(
            parts.get(Deployments),
            parts.get(GroundTruthStore),
            parts.get(PredictionLog),
            parts.get(AnswerKinds),
        ),
    )
    parts.get(WorkflowEngine).register(ABTestWorkflow(parts.get(RolloutParts), evidence))
    collector = TrialCounts(parts.get(Database))
    # The registry is made with the application, after the parts.
    runtime.on_start(lambda: parts.get(ApiMetrics).registry.register(collector))


class TrialCounts(Collector):
    """Counted where trials are kept, so that every control plane tells the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: the registry need not ask the database when this is registered."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        tests = GaugeMetricFamily(
            "platform_ab_tests", "A/B tests under way and ended, by status", labels=["team", "status"]
        )
        shadows = GaugeMetricFamily(
            "platform_shadows", "Shadows that answer beside what serves", labels=["team", "environment"]
        )
        running = (
            select(DeploymentRow.team_name, DeploymentRow.environment, func.count())
            .join(RevisionRow, RevisionRow.deployment_id == DeploymentRow.id)
            .where(RevisionRow.status == RevisionStatus.SHADOW.value)
            .group_by(DeploymentRow.team_name, DeploymentRow.environment)
        )
        counted = select(ABTestRow.team_name, ABTestRow.status, func.count()).group_by(
            ABTestRow.team_name, ABTestRow.status
        )
        with self._database.read() as session:
            for family, query in ((tests, counted), (shadows, running)):
                for team, kind, number in session.execute(query):
                    family.add_metric([team, kind], number)
        yield from (tests, shadows)
