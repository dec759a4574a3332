"""The control plane's Prometheus metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


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
        self.jobs = Gauge(
            "platform_training_jobs",
            "Training jobs by team and status",
            ["team", "status"],
            registry=self.registry,
        )
        self.deployments = Gauge(
            "platform_active_deployments",
            "Deployments that serve, by team and environment",
            ["team", "environment"],
            registry=self.registry,
        )
        self.info = Info("platform", "The running version", registry=self.registry)
        self.info.info({"version": version})
