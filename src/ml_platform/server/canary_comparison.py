"""What a canary answered beside the old revision, out of the prediction log and the labels that arrived."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.errors import UnavailableError
from ml_platform.services.access import Work
from ml_platform.services.deployments.interfaces import AnswersCompared, Compared, QualityCompared
from ml_platform.services.monitoring import (
    AnswerKinds,
    Deployments,
    GroundTruthService,
    GroundTruthStore,
    PredictionLog,
)
from ml_platform.services.monitoring.statistics import LabelledRevision, compare_answers, count_empty

_SECONDS = 5.0
_MOST_KEPT = 256
_METRICS = ("accuracy", "rmse")
_SLACK = timedelta(minutes=1)


class LoggedComparison:
    """Implements `PredictionComparison`.

    A comparison is kept for five seconds: many looks at one canary would only make many small files.
    """

    def __init__(
        self,
        deployments: Deployments,
        store: GroundTruthStore,
        log: PredictionLog,
        kinds: AnswerKinds,
        *,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deployments = deployments
        self._store = store
        self._log = log
        self._kinds = kinds
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, datetime], tuple[float, Compared]] = {}

    def compare(
        self, work: Work, deployment_id: str, candidate: str, baseline: Collection[str], since: datetime
    ) -> Compared:
        key = (candidate, since)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and self._monotonic() - kept[0] < _SECONDS:
            return kept[1]
        try:
            found = self._read(work, deployment_id, candidate, baseline, since)
        except (duckdb.Error, OSError) as error:
            raise UnavailableError(f"the prediction log cannot be read: {type(error).__name__}") from error
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = (self._monotonic(), found)
        return found

    def count_empty(
        self, work: Work, deployment_id: str, revisions: Collection[str], since: datetime, until: datetime
    ) -> tuple[int, int]:
        """By what stands in the files already: they are at most half a minute behind, and nobody waits."""
        deployment = self._deployments.get(work, deployment_id)
        work.close()  # not while files are read
        try:
            return count_empty(
                _written_since(self._log.files(deployment, since, until), since),
                deployment_id=deployment_id,
                revisions=revisions,
                since=since,
                until=until,
            )
        except (duckdb.Error, OSError) as error:
            raise UnavailableError(f"the prediction log cannot be read: {type(error).__name__}") from error

    def _read(
        self, work: Work, deployment_id: str, candidate: str, baseline: Collection[str], since: datetime
    ) -> Compared:
        until = self._clock()
        deployment = self._deployments.get(work, deployment_id)
        labelled, _ = GroundTruthService(work, self._deployments, self._store).measure(
            deployment_id, since, until, log=self._log, kinds=self._kinds
        )
        shift = compare_answers(
            _written_since(self._log.files(deployment, since, until), since),
            deployment_id=deployment_id,
            candidate=candidate,
            baseline=baseline,
            since=since,
            until=until,
        )
        new = next((item for item in labelled.revisions if item.revision_id == candidate), None)
        old = max(
            (item for item in labelled.revisions if item.revision_id in baseline),
            key=lambda item: item.usable,
            default=None,
        )
        return Compared(
            answers=AnswersCompared(
                rows=shift.rows,
                baseline_rows=shift.baseline_rows,
                psi=shift.psi,
                bins=shift.bins,
                empty=shift.empty,
                baseline_empty=shift.baseline_empty,
                distinct=shift.distinct,
                baseline_distinct=shift.baseline_distinct,
                chance=shift.chance,
            ),
            quality=_quality(new, old),
        )


def _written_since(files: Sequence[Path], moment: datetime) -> list[Path]:
    """The others of that day hold nothing newer, and a busy endpoint has thousands of them."""
    first = (moment - _SLACK).timestamp()
    return [path for path in files if path.stat().st_mtime >= first]


def _quality(new: LabelledRevision | None, old: LabelledRevision | None) -> QualityCompared:
    if new is None or old is None or new.metrics is None or old.metrics is None:
        return QualityCompared(None, 0, None, 0, None)
    for metric in _METRICS:
        value, baseline = new.metrics.get(metric), old.metrics.get(metric)
        if value is not None and baseline is not None:
            return QualityCompared(metric, new.usable, value, old.usable, baseline)
    return QualityCompared(None, new.usable, None, old.usable, None)
