"""Lineage: edges of changes, what the prediction log adds, and events for OpenLineage's receivers."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ml_platform.integrations.openlineage import FileReceiver, HttpReceiver
from ml_platform.kit.db import Database
from ml_platform.server.metrics import ApiMetrics
from ml_platform.server.runtime import Runtime
from ml_platform.server.settings import Settings
from ml_platform.services.audit import AuditChain
from ml_platform.services.lineage import (
    EventDelivery,
    LoggedPredictions,
    RunEvents,
    record_edges,
    waiting_events,
)
from ml_platform.services.monitoring import PredictionLog


def compose(runtime: Runtime) -> None:
    """After monitoring's part, which chooses the prediction log."""
    settings, parts = runtime.settings, runtime.components
    parts.provide(LoggedPredictions, LoggedPredictions(parts.get(PredictionLog)))
    chain, database = parts.get(AuditChain), parts.get(Database)
    chain.listen(record_edges)
    receivers = _receivers(settings)
    names = [receiver.name for receiver in receivers]
    if receivers:  # without one nothing is written that nobody would ever take
        chain.listen(RunEvents(settings.openlineage_namespace, version("ml-platform"), names).listen)
    for receiver in receivers:
        delivery = EventDelivery(database, receiver)
        runtime.on_start(delivery.start)
        runtime.on_stop(receiver.close)
        runtime.on_stop(delivery.stop)
    collector = LineageCollector(database, names)
    runtime.on_start(lambda: parts.get(ApiMetrics).registry.register(collector))


class LineageCollector(Collector):
    """Counts in the database when it is asked, so that every control plane tells the same."""

    def __init__(self, database: Database, receivers: Sequence[str]) -> None:
        self._database = database
        self._receivers = receivers

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: the registry need not ask the database when this is registered."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "platform_lineage_events_waiting",
            "OpenLineage events that have not arrived at their receiver",
            labels=["receiver"],
        )
        with self._database.read() as session:
            counts = waiting_events(session)
        for receiver in self._receivers:
            family.add_metric([receiver], counts.get(receiver, 0))
        yield family


def _receivers(settings: Settings) -> list[HttpReceiver | FileReceiver]:
    found: list[HttpReceiver | FileReceiver] = []
    if settings.openlineage_url is not None:
        url = settings.openlineage_url.get_secret_value()
        found.append(HttpReceiver(url, settings.openlineage_token_file))
    if settings.openlineage_file is not None:
        found.append(FileReceiver(settings.openlineage_file))
    return found
