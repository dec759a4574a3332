"""Appends events to the chain, whose form is that of `contracts.auditchain`.

Anybody can compute the hashes anew, so what makes the log hard to forge is the signed head (sequence, last
hash): its private key lies outside the database. Without a head, cutting events off the end would leave a
shorter chain that is whole. A database put back whole to an earlier state is found by the checkpoints, which
lie outside it too. The public key is no secret: with it everybody checks, and nobody forges.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.auditarchive import Statement
from ml_platform.contracts.auditchain import (
    GENESIS,
    HASHED,
    Anchor,
    Manifest,
    event_digest,
    head_message,
    link,
    signed_by,
)
from ml_platform.kit.clock import rfc3339
from ml_platform.kit.strictjson import dumps, finite
from ml_platform.services.audit.tables import AuditEventRow, AuditHeadRow, AuditKeptRow

ChangeListener = Callable[[Session, list[dict[str, Any]]], None]
"""Takes the events of a transaction before it commits; what it raises undoes the transaction."""


class AuditChain:
    """Implements the recorder that every unit of work writes to.

    Args:
        key: 32 secret bytes that are not in the database, the seed of the signing key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self._public = self._key.public_key()
        self._listeners: list[ChangeListener] = []

    @property
    def public_key(self) -> str:
        """The key that checks, in hexadecimal."""
        return self._public.public_bytes_raw().hex()

    def listen(self, listener: ChangeListener) -> None:
        """Has a part of the platform follow changes, whatever slice makes them, in their transactions."""
        self._listeners.append(listener)

    def append(self, session: Session, events: list[dict[str, Any]]) -> None:
        """Adds events in the transaction of `session`; appenders queue at the head row."""
        for listener in self._listeners:  # before the head is locked
            listener(session, events)
        head = session.scalars(select(AuditHeadRow).with_for_update()).first()
        if head is None:
            head = AuditHeadRow(id=1, sequence=0, hash=GENESIS, seal=self.seal(0, GENESIS))
            session.add(head)
        for event in events:
            values = json.loads(dumps(finite(event)))  # as the database will give it back
            values["at"] = datetime.fromisoformat(event["at"])
            head.sequence += 1
            row = AuditEventRow(sequence=head.sequence, hash="", **values)
            row.hash = link(head.hash, digest_of(row))
            head.hash = row.hash
            session.add(row)
        head.seal = self.seal(head.sequence, head.hash)
        session.flush()

    def seal(self, sequence: int, last: str) -> str:
        """The signature of a head or of a checkpoint."""
        return self._key.sign(head_message(sequence, last)).hex()

    def is_sealed(self, sequence: int, last: str, seal: str) -> bool:
        return signed_by(self.public_key, head_message(sequence, last), seal)

    def sign(self, told: Manifest | Statement | Anchor) -> str:
        """The signature of an export, of a checkpoint of the archive, or of what stands for removed events."""
        return self._key.sign(told.message()).hex()

    def signed(self, told: Statement | Anchor, seal: str) -> bool:
        return signed_by(self.public_key, told.message(), seal)


def fields_of(row: AuditEventRow | AuditKeptRow) -> dict[str, Any]:
    """An event as it is hashed and exported."""
    return {name: getattr(row, name) for name in HASHED} | {"at": rfc3339(row.at)}


def digest_of(row: AuditEventRow | AuditKeptRow) -> str:
    return event_digest(fields_of(row))
