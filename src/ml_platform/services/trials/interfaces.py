"""What trials need of others: the prediction log, read for arms and for shadows, with the labels that arrived."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from ml_platform.contracts.trials import Metric
from ml_platform.services.access import Work
from ml_platform.services.trials.statistics import ArmsRead, PairsRead


@dataclass(frozen=True, slots=True)
class QualityRead:
    """Both sides on the same labelled requests; `metric` is accuracy or rmse, None where they have none."""

    status: Literal["labelled", "not_comparable"]
    metric: str | None = None
    labels: int = 0
    shadow: float | None = None
    serving: float | None = None


@dataclass(frozen=True, slots=True)
class ShadowRead:
    pairs: PairsRead
    agreement_means: str
    quality: QualityRead


class TrialEvidence(Protocol):
    """Each raises UnavailableError when the log cannot be read. The transaction of `work` ends before that."""

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
    ) -> ArmsRead: ...

    def shadow(
        self,
        work: Work,
        deployment_id: str,
        *,
        shadow: str,
        others: Sequence[str],
        since: datetime,
        until: datetime,
    ) -> ShadowRead: ...
