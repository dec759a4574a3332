"""The log as a file that can be checked without us: JSON Lines, as `contracts.auditchain` describes them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sqlalchemy import select

from ml_platform.contracts.auditchain import FORMAT, GENESIS, Manifest
from ml_platform.kit.clock import Clock, rfc3339, utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.strictjson import dumps
from ml_platform.services.audit.anchors import anchor_of, newest_anchor, one_moment
from ml_platform.services.audit.chain import AuditChain, digest_of, fields_of
from ml_platform.services.audit.checkpoints import CheckpointFile
from ml_platform.services.audit.tables import AuditEventRow

_BATCH = 1_000


class AuditExporter:
    """Streams the log with flat memory, however long it is."""

    def __init__(
        self, database: Database, chain: AuditChain, checkpoints: CheckpointFile, *, clock: Clock = utc_now
    ) -> None:
        self._database = database
        self._chain = chain
        self._checkpoints = checkpoints
        self._clock = clock

    @property
    def public_key(self) -> str:
        return self._chain.public_key

    def lines(self, *, team_id: str | None, first: int = 1) -> Iterator[str]:
        """The export, line by line.

        Args:
            team_id: of whoever reads; what others did stands there as a digest. None shows everything.
            first: the number of the first event; what was removed before it is as its anchor says.
        """
        scope = "installation" if team_id is None else f"team {team_id}"
        with self._database.read() as session:
            one_moment(session)
            anchor = newest_anchor(session)
            removed = anchor.sequence if anchor is not None else 0
            before = session.get(AuditEventRow, first - 1) if first - 1 > removed else None
            told = Manifest(first if before is not None else removed + 1, scope, rfc3339(self._clock()))
            last = before or anchor
            told.sequence, told.last = told.first - 1, last.hash if last is not None else GENESIS
            yield line_of(
                "header",
                format=FORMAT,
                public_key=self._chain.public_key,
                scope=scope,
                first=told.first,
                previous=told.last,
                exported_at=told.exported_at,
            )
            if before is None and anchor is not None:
                told.pruned = anchor.seal
                yield line_of("pruned", **asdict(anchor_of(anchor)), seal=anchor.seal)
            query = select(AuditEventRow).where(AuditEventRow.sequence >= told.first)
            rows = session.scalars(query.order_by(AuditEventRow.sequence).execution_options(yield_per=_BATCH))
            points = iter(self._checkpoints.read())
            point = next(points, None)
            for row in rows:
                told.sequence, told.last = row.sequence, row.hash
                if team_id is None or row.team_id == team_id:
                    told.shown += 1
                    yield line_of("event", **fields_of(row), hash=row.hash)
                else:
                    yield line_of("other", sequence=row.sequence, digest=digest_of(row), hash=row.hash)
                while point is not None and point.sequence <= row.sequence:
                    if point.sequence == row.sequence:
                        told.add_checkpoint(point.sequence, point.hash, point.seal)
                        yield line_of("checkpoint", sequence=point.sequence, hash=point.hash, seal=point.seal)
                    point = next(points, None)
        yield line_of("footer", seal=self._chain.sign(told))


def line_of(kind: str, **values: Any) -> str:
    """One line of an export."""
    return dumps({"kind": kind, **values}) + "\n"
