"""The control plane's Prometheus metrics."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from ml_platform.kit.db import Database
from ml_platform.services.audit import AuditArchiver
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.training.tables import JobRow

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class JobCounts(Collector):
    """`platform_training_jobs_total`, counted where the jobs are kept, so that no restart loses any."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "platform_training_jobs",
            "Training jobs that have ended, by how",
            labels=["team", "status"],
        )
        query = (
            select(TeamRow.name, JobRow.status, func.count())
            .join(TeamRow, TeamRow.id == JobRow.team_id)
            .where(JobRow.finished_at.is_not(None))
            .group_by(TeamRow.name, JobRow.status)
        )
        with self._database.read() as session:
            for team, status, number in session.execute(query):
                family.add_metric([team, status], number)
        yield family

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Without asking the database, which may not be there yet when this is registered."""
        yield CounterMetricFamily("platform_training_jobs", "", labels=["team", "status"])


class ApiMetrics:
    """A registry of its own, so that two applications in one process do not share counters."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "platform_api_requests_total",
            "Requests by route template",
            ["endpoint", "method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "platform_api_latency_seconds",
            "Time to answer by route template",
            ["endpoint"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.http_requests = Counter(
            "http_requests_total", "All HTTP requests", ["method", "status"], registry=self.registry
        )
        self.http_duration = Histogram(
            "http_request_duration_seconds", "All HTTP requests", buckets=_BUCKETS, registry=self.registry
        )
        self.deployments = Gauge(
            "platform_active_deployments",
            "Deployments that serve, by team and environment",
            ["team", "environment"],
            registry=self.registry,
        )
        self.archive_events = Gauge(
            "platform_audit_archive_backlog_events",
            "Audit events that are not in write-once storage yet",
            registry=self.registry,
        )
        self.archive_seconds = Gauge(
            "platform_audit_archive_backlog_seconds",
            "How long the oldest of them has waited",
            registry=self.registry,
        )
        self.archive_failures = Gauge(
            "platform_audit_archive_failures",
            "Attempts to copy audit events there that failed since the start",
            registry=self.registry,
        )
        self.archive_conflict = Gauge(
            "platform_audit_archive_conflict",
            "1 when the audit log, or what stands there, is another than it was",
            registry=self.registry,
        )
        self.info = Info("platform", "The running version", registry=self.registry)
        self.info.info({"version": version})

    def show_archive(self, archiver: AuditArchiver) -> None:
        """From now on says how the copy of the audit log is, as it is when somebody asks."""
        self.archive_events.set_function(lambda: archiver.backlog()[0])
        self.archive_seconds.set_function(lambda: archiver.backlog()[1])
        self.archive_failures.set_function(lambda: archiver.failures)
        self.archive_conflict.set_function(lambda: archiver.alarmed)
