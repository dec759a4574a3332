"""Drift and data quality, as arithmetic: a reference profile, a window of Parquet files, a verdict.

    profile = profile_reference(["reference.parquet"])       # once, kept as JSON
    report = check_window(profile, ["2026-01-31.parquet"])   # one streaming query over the window
    report.verdict, report.quality.score

Nothing here knows a database, a model or a clock.
"""

from ml_platform.services.monitoring.statistics.answers import (
    Answered,
    AnswerShift,
    compare_answers,
    count_empty,
    shift_of,
)
from ml_platform.services.monitoring.statistics.drift import (
    DriftReport,
    DriftThresholds,
    FeatureDrift,
    Verdict,
    compare,
)
from ml_platform.services.monitoring.statistics.labelled import (
    KEY_SEPARATOR,
    AnswerKind,
    Labelled,
    LabelledRevision,
    join_labels,
    measure_labelled,
)
from ml_platform.services.monitoring.statistics.parquet import Selection
from ml_platform.services.monitoring.statistics.profiles import (
    ColumnProfile,
    Kind,
    ReferenceProfile,
    profile_reference,
)
from ml_platform.services.monitoring.statistics.quality import ColumnQuality, QualityReport, assess
from ml_platform.services.monitoring.statistics.report import WindowReport, check_window
from ml_platform.services.monitoring.statistics.windows import ColumnCounts, WindowCounts, count_window

__all__ = [
    "KEY_SEPARATOR",
    "AnswerKind",
    "AnswerShift",
    "Answered",
    "ColumnCounts",
    "ColumnProfile",
    "ColumnQuality",
    "DriftReport",
    "DriftThresholds",
    "FeatureDrift",
    "Kind",
    "Labelled",
    "LabelledRevision",
    "QualityReport",
    "ReferenceProfile",
    "Selection",
    "Verdict",
    "WindowCounts",
    "WindowReport",
    "assess",
    "check_window",
    "compare",
    "compare_answers",
    "count_empty",
    "count_window",
    "join_labels",
    "measure_labelled",
    "profile_reference",
    "shift_of",
]
