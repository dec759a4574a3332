"""Keeps whoever decides at the newest version of the organisation's policies."""

import threading

import structlog

from ml_platform.kit.db import Database
from ml_platform.services.policies.interfaces import PolicyEngine
from ml_platform.services.policies.repository import PolicyRepository
from ml_platform.services.policies.tables import PolicySetRow

_log = structlog.get_logger(__name__)
_MOST_TRIED = 20


class PolicySync:
    """Looks for a newer version; one that cannot be read leaves the last good one in force.

    A process that starts takes the newest version that it can read. When there are versions and it can read
    none, it refuses what they have a say in rather than forget what they forbid.
    """

    def __init__(self, database: Database, engine: PolicyEngine) -> None:
        self._database = database
        self._engine = engine
        self._lock = threading.Lock()
        self._seen = 0
        self.problem: str | None = None

    def refresh(self) -> None:
        with self._lock:
            with self._database.read() as session:
                newest = PolicyRepository(session).newest_version()
                if newest == self._seen:
                    return
                rows = PolicyRepository(session).versions(before=None, limit=_MOST_TRIED)
            self._take([row for row in rows if row.version > self._engine.version])
            self._seen = newest

    def _take(self, rows: list[PolicySetRow]) -> None:
        """The first of these that can be read, newest first."""
        self.problem = None
        for row in rows:
            why = self._engine.use(row.version, row.files)
            if why is None:
                _log.info("policies.in_force", version=row.version)
                return
            self.problem = self.problem or why
        if rows and self._engine.version == 0:
            self._engine.close(self.problem or "the organisation's policies cannot be read")
