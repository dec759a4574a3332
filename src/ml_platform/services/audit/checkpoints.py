"""Checkpoints of the chain's head, kept outside the database."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from ml_platform.kit.db import Database
from ml_platform.services.audit.chain import AuditChain
from ml_platform.services.audit.tables import AuditHeadRow


@dataclass(frozen=True, slots=True)
class Checkpoint:
    sequence: int
    hash: str
    seal: str


class CheckpointFile:
    """An append-only file of sealed heads, one JSON object a line, synced to disk."""

    def __init__(self, path: Path, database: Database, chain: AuditChain) -> None:
        self._path = path
        self._database = database
        self._chain = chain
        self._lock = threading.Lock()
        self._last = 0

    def write(self) -> bool:
        """Appends the head when it moved since the last checkpoint; answers whether it did."""
        with self._lock, self._database.read() as session:
            head = session.scalars(select(AuditHeadRow)).first()
            if head is None or head.sequence <= self._last:
                return False
            line = {
                "sequence": head.sequence,
                "hash": head.hash,
                "seal": self._chain.seal(head.sequence, head.hash),
            }
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._last = head.sequence
            return True

    def read(self) -> Iterator[Checkpoint]:
        """All checkpoints; a line cut short by a crash is passed over, a forged one fails its seal later."""
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as file:
            for line in file:
                point = _checkpoint(line)
                if point is not None:
                    yield point

    def tail(self) -> "CheckpointTail":
        """What follows the file as it grows."""
        return CheckpointTail(self._path)


class CheckpointTail:
    """Reads each line of the file once, and keeps what is not asked for yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._waiting: dict[int, Checkpoint] = {}

    def between(self, after: int, last: int) -> list[Checkpoint]:
        """The checkpoints behind `after` up to `last`, in order; those before are forgotten."""
        self._read()
        self._waiting = {number: point for number, point in self._waiting.items() if number > after}
        return [self._waiting[number] for number in sorted(self._waiting) if number <= last]

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._offset += len(line)
                point = _checkpoint(line)
                if point is not None:
                    self._waiting.setdefault(point.sequence, point)


def _checkpoint(line: str | bytes) -> Checkpoint | None:
    try:
        value = json.loads(line)
        return Checkpoint(int(value["sequence"]), str(value["hash"]), str(value["seal"]))
    except (ValueError, KeyError, TypeError):
        return None
