"""Predictions as the prediction log has them: how many of which revision, and which revision made one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import duckdb

from ml_platform.kit.errors import UnavailableError
from ml_platform.services.monitoring import PredictionLog, ServedDeployment
from ml_platform.services.monitoring.statistics.parquet import opened

_MEMORY = "512MB"
_MOST_FILES = 20_000
_MOST_REVISIONS = 10


@dataclass(frozen=True, slots=True)
class Answered:
    """What a revision answered: rows of the log, those of them that failed, and when."""

    revision_id: str
    predictions: int
    failures: int
    first: datetime
    last: datetime


class LoggedPredictions:
    """Reads the prediction log.

    Raises:
        UnavailableError: from every method, when the log cannot be read.
    """

    def __init__(self, log: PredictionLog) -> None:
        self._log = log

    def count(
        self, deployment: ServedDeployment, since: datetime, until: datetime
    ) -> tuple[list[Answered], bool]:
        """By revision, and whether that is everything within this time."""
        self._log.refresh()
        files = self._log.files(deployment, since, until)
        rows = _ask(
            files[-_MOST_FILES:],
            "SELECT revision_id, count(*) FILTER (status = 200), count(*) FILTER (status <> 200),"
            ' min("time"), max("time") FROM data WHERE deployment_id = $id AND "time" >= $since'
            ' AND "time" < $until GROUP BY revision_id',
            {"id": deployment.deployment_id, "since": since, "until": until},
        )
        return [Answered(r[0], r[1], r[2], _utc(r[3]), _utc(r[4])) for r in rows], len(files) <= _MOST_FILES

    def find(
        self, deployments: Sequence[ServedDeployment], request_id: str, since: datetime, until: datetime
    ) -> list[Answered]:
        """The revisions that answered a request, of the newest day that has one of this id.

        Callers may choose the ids of their requests, so that one id can stand for several answers.
        """
        self._log.refresh()
        end = until
        while end > since:
            start = max(since, datetime.combine((end - timedelta(microseconds=1)).date(), time(), UTC))
            files = [path for item in deployments for path in self._log.files(item, start, start)]
            rows = _ask(
                files[-_MOST_FILES:],
                "SELECT revision_id, count(*) FILTER (status = 200), count(*) FILTER (status <> 200),"
                ' min("time"), max("time") FROM data WHERE request_id = $id AND "time" >= $since'
                ' AND "time" < $until GROUP BY revision_id ORDER BY max("time") DESC LIMIT $most',
                {"id": request_id, "since": start, "until": end, "most": _MOST_REVISIONS},
            )
            if rows:
                return [Answered(r[0], r[1], r[2], _utc(r[3]), _utc(r[4])) for r in rows]
            end = start
        return []


def _ask(
    files: Sequence[Path], query: str, parameters: dict[str, object]
) -> list[tuple[str, int, int, datetime, datetime]]:
    if not files:
        return []
    try:
        with opened(files, threads=2, memory=_MEMORY) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(query, parameters).fetchall()
    except (duckdb.Error, OSError) as error:
        raise UnavailableError(f"the prediction log cannot be read: {type(error).__name__}") from error


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
