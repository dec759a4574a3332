"""Drift and quality of a window from one pass over its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.services.monitoring.statistics.drift import DriftReport, DriftThresholds, Verdict, compare
from ml_platform.services.monitoring.statistics.parquet import Selection
from ml_platform.services.monitoring.statistics.profiles import ReferenceProfile
from ml_platform.services.monitoring.statistics.quality import QualityReport, assess
from ml_platform.services.monitoring.statistics.windows import count_window


@dataclass(frozen=True, slots=True)
class WindowReport:
    drift: DriftReport
    quality: QualityReport

    @property
    def verdict(self) -> Verdict:
        return self.drift.verdict

    def to_json(self) -> dict[str, Any]:
        return {"drift": self.drift.to_json(), "quality": self.quality.to_json()}


def check_window(
    profile: ReferenceProfile,
    paths: Sequence[str | Path],
    thresholds: DriftThresholds | None = None,
    *,
    selection: Selection | None = None,
    threads: int = 2,
    memory: str = "800MB",
) -> WindowReport:
    """Counts the files, or a selection of them, once and says whether they drifted and how good they are."""
    window = count_window(profile, paths, selection=selection, threads=threads, memory=memory)
    return WindowReport(compare(profile, window, thresholds), assess(profile, window))
