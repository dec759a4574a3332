"""What the prediction log tells of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ml_platform.inference.predictionlog.outbox import SinkState


@dataclass(slots=True)
class LogMetrics:
    """What the log did since this parent started; `events` counts over all starts."""

    rows: int = 0
    dropped: int = 0
    unreadable: int = 0
    failures: int = 0
    days_deleted: int = 0
    spool_bytes: int = 0
    events_dropped: int = 0
    events_bytes: int = 0
    events: SinkState = field(default_factory=SinkState)
    uploads: int = 0
    uploaded_bytes: int = 0
    upload_failures: int = 0
    waiting_bytes: int = 0

    def samples(self) -> Iterator[tuple[str, str, int, str]]:
        """Name, kind, value and meaning of each."""
        yield "prediction_log_rows_total", "counter", self.rows, "Predictions that were written to Parquet."
        yield (
            "prediction_log_dropped_total",
            "counter",
            self.dropped,
            "Predictions that there was no room for, on disk or in memory.",
        )
        yield (
            "prediction_log_unreadable_total",
            "counter",
            self.unreadable,
            "Requests that do not fit their columns.",
        )
        yield (
            "prediction_log_failures_total",
            "counter",
            self.failures,
            "Rolls that failed and are tried again.",
        )
        yield (
            "prediction_log_deleted_days_total",
            "counter",
            self.days_deleted,
            "Days that were deleted for their age or size.",
        )
        yield "prediction_log_spool_bytes", "gauge", self.spool_bytes, "What waits on disk to become Parquet."
        yield (
            "prediction_log_uploads_total",
            "counter",
            self.uploads,
            "Parquet files that arrived in the bucket of the log.",
        )
        yield (
            "prediction_log_uploaded_bytes_total",
            "counter",
            self.uploaded_bytes,
            "What arrived there, in bytes.",
        )
        yield (
            "prediction_log_upload_failures_total",
            "counter",
            self.upload_failures,
            "Tries to send to that bucket that failed and are repeated.",
        )
        yield (
            "prediction_log_waiting_bytes",
            "gauge",
            self.waiting_bytes,
            "Parquet that waits on disk to be sent to that bucket.",
        )
        yield "prediction_events_sent_total", "counter", self.events.sent, "CloudEvents that arrived."
        yield (
            "prediction_events_rejected_total",
            "counter",
            self.events.rejected,
            "CloudEvents that the receiver refused for good.",
        )
        yield (
            "prediction_events_dropped_total",
            "counter",
            self.events_dropped,
            "CloudEvents that there was no room for while the receiver was away.",
        )
        yield (
            "prediction_events_failures_total",
            "counter",
            self.events.failures,
            "Tries to send that failed and are repeated.",
        )
        yield (
            "prediction_events_waiting_bytes",
            "gauge",
            self.events_bytes,
            "What was handed on and waits to be sent.",
        )
