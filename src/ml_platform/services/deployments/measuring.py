"""Traffic of a deployment, as the inference plane measured it."""

import re

from ml_platform.contracts.deployments import DeploymentMetrics, RevisionTraffic
from ml_platform.kit.errors import BadInputError
from ml_platform.services.deployments.interfaces import InferencePlane
from ml_platform.services.deployments.tables import RevisionRow

_WINDOW = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = 86_400


def seconds_of(window: str) -> int:
    """`30s`, `15m`, `1h`, at most a day."""
    match = _WINDOW.fullmatch(window)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 1 <= seconds <= _LONGEST:
        raise BadInputError.of("window", "expected a time such as 30s, 15m or 1h, at most 24h")
    return seconds


def metrics_of(
    plane: InferencePlane, deployment_id: str, revisions: list[RevisionRow], window_seconds: int
) -> DeploymentMetrics:
    """By revision; raises UnavailableError while the inference server does not answer."""
    found = plane.metrics(float(window_seconds))
    known = {row.id: row for row in revisions}
    rows = [
        RevisionTraffic(
            revision_id=item.revision_id,
            model_name=item.model_name,
            model_version=known[item.revision_id].model_version,
            weight=known[item.revision_id].weight,
            requests=item.requests,
            predictions=item.predictions,
            errors=item.errors,
            client_errors=item.client_errors,
            error_rate=item.error_rate,
            requests_per_second=item.requests_per_second,
            latency_ms_p50=item.latency_ms_p50,
            latency_ms_p95=item.latency_ms_p95,
            latency_ms_p99=item.latency_ms_p99,
        )
        for item in found.revisions
        if item.revision_id in known
    ]
    requests = sum(row.requests for row in rows)
    return DeploymentMetrics(
        deployment_id=deployment_id,
        window_seconds=float(window_seconds),
        covered_seconds=found.covered_seconds,
        requests=requests,
        error_rate=sum(row.errors for row in rows) / requests if requests else None,
        requests_per_second=sum(row.requests_per_second for row in rows),
        revisions=rows,
    )
