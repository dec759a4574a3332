"""The Prometheus text of the inference server, from the parent's totals over all workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from ml_platform.contracts.serving import InferenceStatus, RevisionState
from ml_platform.inference.aggregate import TrafficAggregate
from ml_platform.inference.predictionlog.metrics import LogMetrics
from ml_platform.inference.traces.counts import TraceCounts
from ml_platform.inference.traffic import bucket_bounds

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
_ERROR_WINDOW = 300.0
_REVISION = ("team", "environment", "endpoint", "revision", "model", "version")


def render(
    traffic: TrafficAggregate,
    status: InferenceStatus,
    log: LogMetrics | None = None,
    traces: TraceCounts | None = None,
) -> str:
    """The whole page."""
    return "\n".join(
        [
            *_models(traffic),
            *_fallbacks(traffic),
            *_memory(traffic, status),
            *_http(traffic),
            *_server(status),
            *_samples((log or LogMetrics()).samples()),
            *_samples((traces or TraceCounts()).samples()),
            "",
        ]
    )


def _models(traffic: TrafficAggregate) -> Iterator[str]:
    histories = [
        (_labels(zip(_REVISION, identity, strict=True)), identity, history)
        for identity, history in traffic.revisions.items()
    ]
    yield from _head("model_predictions_total", "counter", "Predictions given, one for each instance.")
    for labels, _, history in histories:
        yield f"model_predictions_total{{{labels}}} {history.total.predictions}"
    yield from _head("model_requests_total", "counter", "Requests that reached a revision, by outcome.")
    for labels, _, history in histories:
        total = history.total
        ok = total.requests - total.errors - total.client_errors
        for outcome, count in (("ok", ok), ("client_error", total.client_errors), ("error", total.errors)):
            yield f'model_requests_total{{{labels},outcome="{outcome}"}} {count}'
    yield from _head("model_latency_seconds", "histogram", "Time inside the server, by revision.")
    for labels, _, history in histories:
        yield from _histogram(
            "model_latency_seconds", labels, history.total.latencies, history.total.microseconds
        )
    yield from _head(
        "model_error_rate", "gauge", "Share of requests that failed (5xx) in the last 5 minutes."
    )
    for labels, identity, _ in histories:
        sums = traffic.window(identity, _ERROR_WINDOW)
        yield f"model_error_rate{{{labels}}} {sums.errors / sums.requests if sums.requests else 0.0}"
    for name, text in (
        ("compared", "Predictions of a shadow that were compared with the ones given."),
        ("different", "Predictions of a shadow that differ from the ones given."),
        ("skipped", "Requests that a shadow missed."),
    ):
        yield from _head(f"model_shadow_{name}_total", "counter", text)
        for labels, _, history in histories:
            if history.total.compared or history.total.skipped:
                yield f"model_shadow_{name}_total{{{labels}}} {getattr(history.total, name)}"


def _fallbacks(traffic: TrafficAggregate) -> Iterator[str]:
    yield from _head(
        "model_feature_fallbacks_total",
        "counter",
        "Requests for which the feature store gave no answer in time, by what was done about it.",
    )
    for identity, history in traffic.revisions.items():
        labels = _labels(zip(_REVISION, identity, strict=True))
        for policy, count in history.total.fallbacks.items():
            yield f'model_feature_fallbacks_total{{{labels},policy="{policy}"}} {count}'


def _memory(traffic: TrafficAggregate, status: InferenceStatus) -> Iterator[str]:
    counters = (
        ("loads", "Times that a model was loaded.", "loads"),
        ("load_failures", "Times that a model could not be loaded.", "failures"),
        ("evictions", "Times that a model left the memory because others needed it.", "evictions"),
    )
    for name, text, field in counters:
        yield from _head(f"model_{name}_total", "counter", text)
        for revision_id, loads in traffic.loads.items():
            labels = _labels((("revision", revision_id),))
            yield f"model_{name}_total{{{labels}}} {getattr(loads, field)}"
    yield from _head(
        "model_restarts_total",
        "counter",
        "Times that the process of an isolated model was replaced, and why.",
    )
    for revision_id, loads in traffic.loads.items():
        for reason, count in loads.restarts.items():
            labels = _labels((("revision", revision_id), ("reason", reason)))
            yield f"model_restarts_total{{{labels}}} {count}"
    open_breakers: dict[str, int] = {}
    seconds: dict[str, float] = {}
    memory: dict[str, int] = {}
    for revision in (revision for worker in status.workers for revision in worker.revisions):
        key = revision.revision_id
        memory[key] = memory.get(key, 0) + revision.memory_bytes
        open_breakers[key] = open_breakers.get(key, 0) + (revision.breaker != "closed")
        if revision.load_seconds is not None:
            seconds[key] = max(seconds.get(key, 0.0), revision.load_seconds)
    yield from _head("model_breaker_open", "gauge", "Workers that refuse requests because a model broke.")
    for key, workers in open_breakers.items():
        yield f"model_breaker_open{{{_labels((('revision', key),))}}} {workers}"
    yield from _head("model_load_seconds", "gauge", "Time of the last load, of the slowest worker.")
    for key, value in seconds.items():
        yield f"model_load_seconds{{{_labels((('revision', key),))}}} {value}"
    yield from _head("model_memory_bytes", "gauge", "Memory that a model takes now, over all workers.")
    for key, size in memory.items():
        yield f"model_memory_bytes{{{_labels((('revision', key),))}}} {size}"
    yield from _head("inference_models_in_memory", "gauge", "Models that are loaded, over all workers.")
    loaded = sum(r.memory_bytes > 0 for worker in status.workers for r in worker.revisions)
    yield f"inference_models_in_memory {loaded}"
    yield from _head(
        "inference_memory_limit_bytes",
        "gauge",
        "Memory that models may take, over all workers; 0 is no limit.",
    )
    yield f"inference_memory_limit_bytes {sum(worker.memory_limit_bytes for worker in status.workers)}"


def _http(traffic: TrafficAggregate) -> Iterator[str]:
    yield from _head("http_requests_total", "counter", "HTTP requests by route and status.")
    for (method, route, status), count in traffic.http_counts.items():
        labels = _labels((("method", method), ("route", route), ("status", str(status))))
        yield f"http_requests_total{{{labels}}} {count}"
    yield from _head("http_request_duration_seconds", "histogram", "Time inside the server, by route.")
    for route, latencies in traffic.http_latencies.items():
        labels = _labels((("route", route),))
        micros = traffic.http_microseconds.get(route, 0)
        yield from _histogram("http_request_duration_seconds", labels, latencies, micros)


def _server(status: InferenceStatus) -> Iterator[str]:
    yield from _head(
        "inference_snapshot_version", "gauge", "Version of the desired state that all have applied."
    )
    yield f"inference_snapshot_version {status.snapshot_version}"
    yield from _head("inference_control_plane_connected", "gauge", "1 while the control plane answers.")
    yield f"inference_control_plane_connected {int(status.control_plane_connected)}"
    yield from _head("inference_workers", "gauge", "Workers that are alive.")
    yield f"inference_workers {len(status.workers)}"
    yield from _head("inference_revisions", "gauge", "Revisions by state, over all workers.")
    states = [revision.state for worker in status.workers for revision in worker.revisions]
    for state in get_args(RevisionState):
        yield f'inference_revisions{{state="{state}"}} {states.count(state)}'


def _samples(samples: Iterable[tuple[str, str, int, str]]) -> Iterator[str]:
    for name, kind, value, text in samples:
        yield from _head(name, kind, text)
        yield f"{name} {value}"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _histogram(name: str, labels: str, latencies: dict[int, int], microseconds: int) -> Iterator[str]:
    total = sum(latencies.values())
    for bound in _BOUNDS:
        below = sum(n for bucket, n in latencies.items() if bucket_bounds(bucket)[1] <= bound * 1e6 + 1)
        yield f'{name}_bucket{{{labels},le="{bound}"}} {below}'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {total}'
    yield f"{name}_sum{{{labels}}} {microseconds / 1e6}"
    yield f"{name}_count{{{labels}}} {total}"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
