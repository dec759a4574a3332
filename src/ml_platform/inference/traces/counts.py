"""What became of the requests that were traced."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class TraceCounts(msgspec.Struct):
    """All but `rejected_spans` and `failures` count requests."""

    exported: int = 0
    dropped: int = 0
    rejected_spans: int = 0
    failures: int = 0

    def add(self, now: TraceCounts, before: TraceCounts) -> None:
        """Adds what another one has counted since it was as `before`."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(now, name) - getattr(before, name))

    def samples(self) -> Iterator[tuple[str, str, int, str]]:
        """Name, kind, value and meaning of each metric."""
        yield "inference_traces_exported_total", "counter", self.exported, "Requests whose spans arrived."
        yield (
            "inference_traces_dropped_total",
            "counter",
            self.dropped,
            "Traced requests that there was no room for, or that the collector did not take.",
        )
        yield (
            "inference_traces_rejected_spans_total",
            "counter",
            self.rejected_spans,
            "Spans that the collector refused of what it took.",
        )
        yield "inference_traces_failures_total", "counter", self.failures, "Tries to send traces that failed."
