"""What a worker counts for each request, cheaply: sums and a histogram by the shape of the number.

A worker keeps one `Tally` for each revision and ships what has accumulated to the parent twice a second
(`channel.TrafficDelta`), which adds it up over all workers and time (`aggregate`). A worker that is killed
loses half a second of counts and nothing of what came before.
"""

from __future__ import annotations

_SUB_BITS = 3
_SUB = 1 << _SUB_BITS


def bucket_of(microseconds: int) -> int:
    """The histogram bucket of a latency: eight to each power of two, so its width is at most 12.5 %."""
    if microseconds < _SUB:
        return max(microseconds, 0)
    exponent = microseconds.bit_length() - 1 - _SUB_BITS
    return (exponent + 1) * _SUB + (microseconds >> exponent) - _SUB


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The microseconds that fall into a bucket, `[low, high)`."""
    if bucket < _SUB:
        return bucket, bucket + 1
    exponent, position = bucket // _SUB - 1, bucket % _SUB
    low = (_SUB + position) << exponent
    return low, low + (1 << exponent)


class Tally:
    """Counts of one revision since the last shipment."""

    __slots__ = (
        "client_errors",
        "compared",
        "different",
        "distance",
        "errors",
        "latencies",
        "microseconds",
        "predictions",
        "requests",
        "skipped",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.predictions = 0
        self.errors = 0
        self.client_errors = 0
        self.microseconds = 0
        self.latencies: dict[int, int] = {}
        self.compared = 0
        self.different = 0
        self.distance = 0.0
        self.skipped = 0

    def compare(self, differs: bool, distance: float) -> None:
        """Counts a prediction of a shadow beside the one that was given."""
        self.compared += 1
        self.different += differs
        self.distance += distance

    def add(self, status: int, predictions: int, microseconds: int) -> None:
        self.requests += 1
        if status < 400:
            self.predictions += predictions
        elif status >= 500:
            self.errors += 1
        else:
            self.client_errors += 1
        self.microseconds += microseconds
        bucket = bucket_of(microseconds)
        latencies = self.latencies
        latencies[bucket] = latencies.get(bucket, 0) + 1


class HttpTally:
    """Counts of HTTP answers by route and status since the last shipment."""

    __slots__ = ("counts", "latencies", "microseconds")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, int], int] = {}
        self.latencies: dict[str, dict[int, int]] = {}
        self.microseconds: dict[str, int] = {}

    def add(self, method: str, route: str, status: int, microseconds: int) -> None:
        key = (method, route, status)
        self.counts[key] = self.counts.get(key, 0) + 1
        latencies = self.latencies.get(route)
        if latencies is None:
            latencies = self.latencies[route] = {}
            self.microseconds[route] = 0
        bucket = bucket_of(microseconds)
        latencies[bucket] = latencies.get(bucket, 0) + 1
        self.microseconds[route] += microseconds
