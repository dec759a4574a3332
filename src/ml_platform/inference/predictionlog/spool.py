"""A spool segment: an append-only file of checked frames, which any crash leaves readable up to its tail.

The first frame is the header, as JSON; every other one is a MessagePack array of records. A frame is its
length and CRC-32 (little-endian, 4 bytes each) and its payload. The writer holds a lock on the file as
long as it lives, so that a segment whose lock can be taken is complete, however its writer ended.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

SUFFIX = ".spool"
_FRAME = struct.Struct("<II")
_ARRAY = struct.Struct(">BI")
_MAX_FRAME = 256 * 1024 * 1024


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Whose predictions a segment holds; `columns` are (name, type) of the rows' values."""

    team: str
    environment: str
    endpoint: str
    deployment_id: str
    revision_id: str
    model_name: str
    model_version: str
    columns: tuple[tuple[str, str], ...]


class Record(msgspec.Struct, array_like=True, gc=False):
    """One request. `predictions` is None when it failed; then `error` says why."""

    request_id: str
    time_us: int
    latency_us: int
    status: int
    keys: Sequence[dict[str, Any] | None] | None
    rows: Sequence[Sequence[Any]]
    predictions: list[Any] | None
    error: str | None


class SegmentWriter:
    """Appends frames. Appears under its final name only once it is locked and has its header."""

    def __init__(self, directory: Path, name: str, header: SegmentHeader) -> None:
        self.path = directory / (name + SUFFIX)
        self.size = 0
        draft = directory / (name + ".new")
        self._file = draft.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._append(msgspec.json.encode(header))
        draft.rename(self.path)

    def append(self, records: list[bytes]) -> None:
        """Appends encoded records; they are the kernel's, and safe from our own death, on return."""
        self._append(_ARRAY.pack(0xDD, len(records)) + b"".join(records))

    def close(self) -> None:
        self._file.close()

    def _append(self, payload: bytes) -> None:
        frame = memoryview(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
        while frame:
            written = self._file.write(frame)
            self.size += written
            frame = frame[written:]


def take_complete(directory: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """The segments that nobody writes any more, oldest first, each locked until its file is closed."""
    for path in sorted(directory.glob("*" + SUFFIX), key=lambda p: p.name):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield path, file


def has_complete(directory: Path) -> bool:
    return any(True for _ in take_complete(directory))


def segment_name(revision_id: str, sequence: int) -> str:
    """A name that sorts by the time at which the segment was begun, and is no other process's."""
    return f"{time.time_ns():020d}-{os.getpid()}-{sequence}-{revision_id}"


def begun_ns(segment: Path) -> int:
    """When a segment was begun, by its name; 0 for names of another making."""
    digits = segment.name.partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def has_begun_before(directory: Path, moment_ns: int) -> bool:
    """Whether a segment waits there that was begun before."""
    return any(begun_ns(path) < moment_ns for path in directory.glob("*" + SUFFIX))


def spooled_bytes(directory: Path) -> int:
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                continue  # rolled meanwhile
    return total


def read_header(file: IO[bytes]) -> SegmentHeader | None:
    """The header, or None when the writer died before it was whole."""
    payload = _read_frame(file)
    return None if payload is None else msgspec.json.decode(payload, type=SegmentHeader)


def read_records(file: IO[bytes]) -> Iterator[list[Record]]:
    """The records frame by frame, up to the first frame that is torn."""
    decoder = msgspec.msgpack.Decoder(list[Record])
    while (payload := _read_frame(file)) is not None:
        yield decoder.decode(payload)


def _read_frame(file: IO[bytes]) -> bytes | None:
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    length, check = _FRAME.unpack(head)
    if length > _MAX_FRAME:
        return None
    payload = file.read(length)
    return payload if len(payload) == length and zlib.crc32(payload) == check else None
