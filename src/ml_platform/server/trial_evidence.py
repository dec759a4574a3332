"""What trials answered, out of the prediction log and the labels that arrived."""

from collections.abc import Collection, Sequence
from datetime import datetime

import duckdb

from ml_platform.contracts.trials import Metric
from ml_platform.kit.errors import UnavailableError
from ml_platform.services.access import Work
from ml_platform.services.monitoring import (
    AnswerKinds,
    Deployments,
    GroundTruthService,
    GroundTruthStore,
    PredictionLog,
)
from ml_platform.services.monitoring.statistics import LabelledRevision
from ml_platform.services.trials import QualityRead, ShadowRead
from ml_platform.services.trials.statistics import ArmsRead, agreement_of, read_arms, read_pairs

_METRICS = ("accuracy", "rmse")


class LoggedEvidence:
    """Implements `TrialEvidence`."""

    def __init__(
        self, deployments: Deployments, store: GroundTruthStore, log: PredictionLog, kinds: AnswerKinds
    ) -> None:
        self._deployments = deployments
        self._store = store
        self._log = log
        self._kinds = kinds

    def arms(
        self,
        work: Work,
        deployment_id: str,
        *,
        revisions: Collection[str],
        since: datetime,
        until: datetime,
        metrics: Collection[Metric],
        positive: bool | float | str,
    ) -> ArmsRead:
        deployment = self._deployments.get(work, deployment_id)
        labels = GroundTruthService(work, self._deployments, self._store).label_files(deployment_id, since)
        work.close()  # nothing is locked while files are read
        self._log.refresh()
        try:
            return read_arms(
                self._log.files(deployment, since, until),
                labels,
                deployment_id=deployment_id,
                revisions=revisions,
                since=since,
                until=until,
                metrics=metrics,
                positive=positive,
            )
        except (duckdb.Error, OSError) as error:
            raise _unreadable(error) from error

    def shadow(
        self,
        work: Work,
        deployment_id: str,
        *,
        shadow: str,
        others: Sequence[str],
        since: datetime,
        until: datetime,
    ) -> ShadowRead:
        deployment = self._deployments.get(work, deployment_id)
        bundle = self._kinds.bundles(work, deployment_id).get(shadow)
        truth = GroundTruthService(work, self._deployments, self._store)
        try:
            labelled, _ = truth.measure(
                deployment_id, since, until, log=self._log, kinds=self._kinds, beside=shadow
            )
            kind = self._kinds.describe(bundle) if bundle is not None else None
            pairs = read_pairs(
                self._log.files(deployment, since, until),
                deployment_id=deployment_id,
                shadow=shadow,
                others=others,
                since=since,
                until=until,
                kind=kind,
            )
        except (duckdb.Error, OSError) as error:
            raise _unreadable(error) from error
        mine = next((item for item in labelled.revisions if item.revision_id == shadow), None)
        rest = [item for item in labelled.revisions if item.revision_id in others]
        theirs = max(rest, key=lambda item: item.usable, default=None)
        return ShadowRead(pairs, agreement_of(kind)[0], _quality(mine, theirs))


def _quality(mine: LabelledRevision | None, theirs: LabelledRevision | None) -> QualityRead:
    if mine is None or theirs is None:
        return QualityRead("labelled")
    if mine.metrics is None or theirs.metrics is None:
        return QualityRead("not_comparable")
    labels = min(mine.usable, theirs.usable)
    for metric in _METRICS:
        value, other = mine.metrics.get(metric), theirs.metrics.get(metric)
        if value is not None and other is not None:
            return QualityRead("labelled", metric, labels, value, other)
    return QualityRead("labelled", None, labels)


def _unreadable(error: Exception) -> UnavailableError:
    return UnavailableError(f"the prediction log cannot be read: {type(error).__name__}", retry_after=5)
