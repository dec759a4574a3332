"""Appends events to the chain.

    hash(n) = HMAC-SHA256(key, hash(n-1) || canonical JSON of event n)

The key lies outside the database, so that whoever can write the database cannot forge a hash. The head
row (sequence, last hash) is sealed with the same key: without it, cutting events off the end of the chain
would leave a shorter chain that is whole. A database put back whole to an earlier state is found by the
checkpoints, which lie outside it too.
"""

import hashlib
import hmac
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.kit.clock import rfc3339
from ml_platform.kit.strictjson import canonical, finite
from ml_platform.services.audit.tables import AuditEventRow, AuditHeadRow

GENESIS = "0" * 64
_HASHED = (
    "sequence", "event_id", "at", "actor_id", "actor_name", "actor_kind", "key_id", "source", "request_id",
    "team_id", "action", "resource_kind", "resource_id", "before", "after", "context",
)  # fmt: skip


class AuditChain:
    """Implements the recorder that every unit of work writes to.

    Args:
        key: at least 32 secret bytes that are not in the database.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def append(self, session: Session, events: list[dict[str, Any]]) -> None:
        """Adds events in the transaction of `session`; appenders queue at the head row."""
        head = session.scalars(select(AuditHeadRow).with_for_update()).first()
        if head is None:
            head = AuditHeadRow(id=1, sequence=0, hash=GENESIS, seal=self.seal(0, GENESIS))
            session.add(head)
        for event in events:
            values = finite(event)
            values["at"] = datetime.fromisoformat(event["at"])
            head.sequence += 1
            row = AuditEventRow(sequence=head.sequence, hash="", **values)
            row.hash = self.link(head.hash, row)
            head.hash = row.hash
            session.add(row)
        head.seal = self.seal(head.sequence, head.hash)
        session.flush()

    def link(self, previous: str, row: AuditEventRow) -> str:
        """The hash of an event behind `previous`."""
        body = {name: getattr(row, name) for name in _HASHED}
        body["at"] = rfc3339(row.at)
        return self._mac(previous.encode() + canonical(body))

    def seal(self, sequence: int, last: str) -> str:
        """The seal of a head or of a checkpoint."""
        return self._mac(f"head:{sequence}:{last}".encode())

    def _mac(self, message: bytes) -> str:
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()
