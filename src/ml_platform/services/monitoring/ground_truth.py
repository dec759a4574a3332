"""Labels that arrive after the predictions, and how good the predictions were in their light."""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ml_platform.contracts.quality import (
    MOST_RECORDS,
    DeploymentQuality,
    GroundTruth,
    GroundTruthRecord,
    QualityStatus,
    RevisionQuality,
)
from ml_platform.kit.errors import BadInputError, TooManyError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.monitoring.interfaces import (
    AnswerKinds,
    Deployments,
    GroundTruthStore,
    PredictionLog,
)
from ml_platform.services.monitoring.repository import MonitoringRepository
from ml_platform.services.monitoring.statistics import (
    AnswerKind,
    Labelled,
    LabelledRevision,
    measure_labelled,
)
from ml_platform.services.monitoring.tables import GroundTruthRow

_MOST_A_DAY = 2_000
_WINDOW = re.compile(r"([1-9][0-9]{0,5})(m|h|d)")
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}
_LONGEST = timedelta(days=366)


class GroundTruthService:
    """Ground truth of the team of `work`."""

    def __init__(self, work: Work, deployments: Deployments, store: GroundTruthStore) -> None:
        self._work = work
        self._deployments = deployments
        self._store = store

    def upload(self, deployment_id: str, records: Sequence[GroundTruthRecord]) -> GroundTruth:
        """Stores records; the same ones once more are the upload that they were.

        The file is written before the row that makes it count, so that a crash in between leaves what the same
        upload finds and completes.

        Raises:
            TooManyError: too many uploads of this deployment within a day.
        """
        deployment = self._deployments.get(self._work, deployment_id)
        digest, now = _digest_of(deployment_id, records), self._work.clock()
        known = self._repository.upload(deployment_id, digest)
        if known is not None:
            return _upload_of(known, repeated=True)
        if self._repository.count_uploads(deployment_id, now - timedelta(days=1)) >= _MOST_A_DAY:
            raise TooManyError(
                f"{_MOST_A_DAY} uploads of this deployment within a day",
                hint=f"send up to {MOST_RECORDS} records in one upload",
                retry_after=3600,
            )
        self._work.close()  # nothing is locked while the file is written
        self._store.put(deployment, digest, records, now)
        row = GroundTruthRow(
            id=new_id("gtr"),
            team_id=self._work.team_id,
            deployment_id=deployment_id,
            digest=digest,
            records=len(records),
            created_by=self._work.actor.name,
            created_at=now,
        )
        added = self._repository.add_upload(row)
        if added:
            self._work.record(
                "ground_truth.upload",
                "deployment",
                deployment_id,
                after={"upload_id": row.id, "records": len(records), "digest": digest},
            )
        return _upload_of(self._repository.upload(deployment_id, digest) or row, repeated=not added)

    def quality(
        self,
        deployment_id: str,
        window: str,
        min_rows: int,
        *,
        log: PredictionLog,
        kinds: AnswerKinds,
    ) -> DeploymentQuality:
        """Joins the window's predictions with the labels that arrived since it began."""
        until = self._work.clock()
        since = until - _span(window)
        found, records = self.measure(deployment_id, since, until, log=log, kinds=kinds)
        return DeploymentQuality(
            deployment_id=deployment_id,
            window_start=since,
            window_end=until,
            min_rows=min_rows,
            labels=records,
            matched=found.matched,
            ambiguous=found.ambiguous,
            revisions=_revisions_of(found, min_rows),
        )

    def label_files(self, deployment_id: str, since: datetime) -> list[Path]:
        """The labels that arrived since then."""
        deployment = self._deployments.get(self._work, deployment_id)
        uploads = self._repository.uploads_since(deployment_id, since)
        return self._store.files(deployment, [row.digest for row in uploads])

    def measure(
        self,
        deployment_id: str,
        since: datetime,
        until: datetime,
        *,
        log: PredictionLog,
        kinds: AnswerKinds,
        beside: str | None = None,
    ) -> tuple[Labelled, int]:
        """What the labels say of a window's predictions, and how many labels arrived since it began.

        With `beside`, a revision, of the requests that it answered as well.
        """
        deployment = self._deployments.get(self._work, deployment_id)
        bundles = kinds.bundles(self._work, deployment_id)
        uploads = self._repository.uploads_since(deployment_id, since)
        digests, records = [row.digest for row in uploads], sum(row.records for row in uploads)
        self._work.close()  # nor while files are read
        log.refresh()

        def kind_of(revision_id: str) -> AnswerKind | None:
            bundle = bundles.get(revision_id)
            return None if bundle is None else kinds.describe(bundle)

        found = measure_labelled(
            log.files(deployment, since, until),
            self._store.files(deployment, digests),
            deployment_id=deployment_id,
            since=since,
            until=until,
            kind_of=kind_of,
            beside=beside,
        )
        return found, records

    def list_uploads(self, deployment_id: str, *, before: str | None, limit: int) -> list[GroundTruth]:
        """Newest first."""
        self._deployments.get(self._work, deployment_id)
        rows = self._repository.uploads(deployment_id, before=before, limit=limit)
        return [_upload_of(row) for row in rows]

    @property
    def _repository(self) -> MonitoringRepository:
        return MonitoringRepository(self._work.session, self._work.team_id)


def _digest_of(deployment_id: str, records: Sequence[GroundTruthRecord]) -> str:
    content = [record.model_dump(mode="json", exclude_none=True) for record in records]
    text = json.dumps([deployment_id, content], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _upload_of(row: GroundTruthRow, *, repeated: bool = False) -> GroundTruth:
    return GroundTruth(
        upload_id=row.id,
        deployment_id=row.deployment_id,
        records=row.records,
        repeated=repeated,
        created_by=row.created_by,
        created_at=row.created_at,
    )


def _span(window: str) -> timedelta:
    match = _WINDOW.fullmatch(window)
    span = timedelta(minutes=int(match[1]) * _MINUTES[match[2]]) if match else timedelta(0)
    if not timedelta(0) < span <= _LONGEST:
        raise BadInputError.of("window", "expected a time such as 90m, 24h or 30d, at most 366d")
    return span


def _revisions_of(found: Labelled, min_rows: int) -> list[RevisionQuality]:
    return [_revision_of(revision, min_rows) for revision in found.revisions]


def _revision_of(found: LabelledRevision, min_rows: int) -> RevisionQuality:
    status, reason = QualityStatus.MEASURED, None
    if found.metrics is None:
        status = QualityStatus.NOT_COMPARABLE
        reason = (
            "what this revision answers is neither a class, a probability nor a number, or its bundle is gone"
        )
    elif found.usable < min_rows:
        status = QualityStatus.NOT_ENOUGH_DATA
        reason = (
            f"{found.usable} predictions have a label that can be compared, at least {min_rows} are needed"
        )
    measured = status is QualityStatus.MEASURED
    return RevisionQuality(
        revision_id=found.revision_id,
        model_name=found.model_name,
        model_version=found.model_version,
        status=status,
        reason=reason,
        predictions=found.predictions,
        labelled=found.labelled,
        unusable=found.labelled - found.usable if found.metrics is not None else found.labelled,
        metrics=dict(found.metrics or {}) if measured else {},
    )
