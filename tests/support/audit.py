"""An audit log with everything around it: chain, checkpoints, archive, pruning; and what a forger would do."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from ml_platform.contracts.audit import AuditVerification
from ml_platform.contracts.auditchain import GENESIS, link
from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.integrations.writeonce import ArchiveDirectory
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.sdk.auditarchive import verify_archive
from ml_platform.server import schema
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.audit import (
    AuditArchiver,
    AuditChain,
    AuditExporter,
    AuditPruner,
    AuditVerifier,
    CheckpointFile,
    WriteOnceStore,
)
from ml_platform.services.audit.chain import digest_of
from ml_platform.services.audit.tables import AuditEventRow, AuditHeadRow

RETENTION_DAYS = 2557
KEPT = "deployment.traffic"


class Trail:
    """One installation's log. `moment` is when events happen; None means now."""

    def __init__(self, url: str, home: Path, *, key: bytes = b"k" * 32) -> None:
        self.url = url
        self.home = home
        self.moment: datetime | None = None
        self.database = Database(url)
        schema.upgrade(self.database, lock_file=home / "lock")
        self.chain = AuditChain(key)
        self.checkpoints = CheckpointFile(home / "checkpoints.jsonl", self.database, self.chain)
        self.verifier = AuditVerifier(self.database, self.chain, self.checkpoints)
        self.exporter = AuditExporter(self.database, self.chain, self.checkpoints)
        self.factory = WorkFactory(self.database, CedarAuthorizer(), self.chain, clock=self.clock)
        self.root = home / "archive"
        self.store: WriteOnceStore = ArchiveDirectory(self.root)
        self.archiver = self.new_archiver()

    def clock(self) -> datetime:
        return self.moment or utc_now()

    def new_archiver(self, store: WriteOnceStore | None = None) -> AuditArchiver:
        """As a process that has just started would have it."""
        return AuditArchiver(
            self.database,
            self.chain,
            self.checkpoints,
            store or self.store,
            retention=timedelta(days=RETENTION_DAYS),
            late=timedelta(seconds=60),
        )

    def new_pruner(
        self, store: WriteOnceStore | None = None, *, keep: Collection[str] = (KEPT,)
    ) -> AuditPruner:
        return AuditPruner(
            self.factory,
            self.chain,
            self.archiver,
            store or self.store,
            retention_days=RETENTION_DAYS,
            keep=keep,
        )

    def append(self, count: int, action: str = "thing.change", *, team: str = "team_1") -> None:
        for number in range(count):
            with self.factory.begin(Actor.system("test", team_id=team)) as work:
                work.record(action, "thing", "t1", after={"n": number, "x": 1e20, "y": 0.1, "z": "\u2028é"})

    @contextmanager
    def years_ago(self, years: float) -> Iterator[None]:
        """What happens in the block happened then."""
        self.moment = datetime.now(UTC) - timedelta(days=365.25 * years)
        try:
            yield
        finally:
            self.moment = None

    def archive_old_and_new(self) -> None:
        """Two segments of eight years ago, of 6 and 4 events, and one of today, of 5."""
        with self.years_ago(8):
            self.append(6)
            self.archiver.run()
            self.append(2, KEPT)
            self.append(2)
            self.archiver.run()
        self.append(5)
        self.checkpoints.write()
        self.archiver.run()

    def verified(self, **options: Any) -> AuditVerification:
        """The archive by itself."""
        return verify_archive(self.root, self.chain.public_key, **options)

    def compared(self) -> AuditVerification:
        """The archive beside the log."""
        return self.verified(log=self.exporter.lines(team_id=None))

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file()
        }

    # -- what somebody with the database in hands can do, and with the private key, too

    def tamper(self, *statements: str) -> None:
        """Triggers off first."""
        with self.database.engine.begin() as connection:
            for table in ("audit_events", "audit_anchors", "audit_kept_events"):
                if not self.database.is_sqlite:
                    connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
                    continue
                query = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table")
                for name in connection.execute(query, {"table": table}).scalars().all():
                    connection.execute(text(f"DROP TRIGGER {name}"))
            for statement in statements:
                connection.execute(text(statement))

    def rechain(self, change: Callable[[list[AuditEventRow]], None] | None = None, *, last: int) -> None:
        """Cuts the log behind `last`, changes what is left and computes every hash anew, with the private key."""
        self.tamper(f"DELETE FROM audit_events WHERE sequence > {last}")
        with self.database.write() as session:
            rows = list(session.scalars(select(AuditEventRow).order_by(AuditEventRow.sequence)))
            if change is not None:
                change(rows)
            previous = GENESIS
            for row in rows:
                previous = row.hash = link(previous, digest_of(row))
            head = session.scalars(select(AuditHeadRow)).one()
            head.sequence, head.hash = last, previous
            head.seal = self.chain.seal(last, previous)

    def kinds(self, found: AuditVerification) -> set[str]:
        """What is found beside the triggers being off, without which nothing could have been changed."""
        return {finding.kind for finding in found.findings} - {"unprotected"}

    def close(self) -> None:
        self.database.close()
