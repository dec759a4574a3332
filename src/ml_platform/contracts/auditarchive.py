"""The audit log in write-once storage, and how it is checked with nothing but its files and the public key.

    segments/<number of the first event>.jsonl.gz    an export (see `auditchain`) of the scope `archive`, packed
    checkpoints/<last event>-<moment>.json           signed: the archive reached this event at this moment
    pruned/<last event>.json                         signed: up to here the database may have forgotten

Segments follow each other without a gap, and the chain runs through all of them. A segment that is left out, another's,
or made anew breaks it; a checkpoint beyond the last segment says that segments were cut off the end. What is cut off
together with its checkpoints is seen by the moment up to which the archive speaks, and beside the platform's own log.
"""

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any, Protocol

from ml_platform.contracts.auditchain import Anchor

SEGMENTS, CHECKPOINTS, ANCHORS = "segments", "checkpoints", "pruned"
FOLDERS = (SEGMENTS, CHECKPOINTS, ANCHORS)
SCOPE = "archive"
MAX_FILE_BYTES = 64 * 1024 * 1024
"""Most bytes of a segment, unpacked too; what is larger was not written by us."""


class ArchiveFiles(Protocol):
    """The files of an archive, wherever they are."""

    def names(self, folder: str) -> list[str]:
        """The names in one of `FOLDERS`, each with its folder before it."""
        ...

    def read(self, name: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Statement:
    """A checkpoint of the archive: at `at` it reached the event `sequence`, whose hash is `hash`."""

    sequence: int
    hash: str
    at: str

    def message(self) -> bytes:
        """What is signed of it."""
        return json.dumps(["archived", *astuple(self)], separators=(",", ":")).encode()

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Statement":
        return cls(**{field.name: entry[field.name] for field in fields(cls)})


def segment_name(first: int) -> str:
    return f"{SEGMENTS}/{first:020d}.jsonl.gz"


def statement_name(statement: Statement) -> str:
    return f"{CHECKPOINTS}/{statement.sequence:020d}-{re.sub('[^0-9TZ]', '', statement.at)}.json"


def anchor_name(sequence: int) -> str:
    return f"{ANCHORS}/{sequence:020d}.json"


def sealed(entry: Statement | Anchor, seal: str) -> bytes:
    """A checkpoint or an anchor with its signature, as a file."""
    return json.dumps(asdict(entry) | {"seal": seal}, separators=(",", ":")).encode() + b"\n"


def pack(lines: Iterable[str]) -> bytes:
    """The same lines give the same bytes, with the same version of zlib."""
    packer = zlib.compressobj(6, wbits=31)
    return b"".join([*(packer.compress(line.encode()) for line in lines), packer.flush()])


def unpack(content: bytes) -> list[str]:
    """Raises ValueError unless it is one gzip member of UTF-8 text of bounded size."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(content, MAX_FILE_BYTES)
    except zlib.error as error:
        raise ValueError(f"it is not packed as it should be: {error}") from None
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut off, too large, or goes on behind its end")
    return data.decode().split("\n")
