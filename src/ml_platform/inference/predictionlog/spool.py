"""A spool segment: an append-only file of checked frames, which any crash leaves readable up to its tail.

A frame is its length and CRC-32 (little-endian, 4 bytes each) and its payload: a kind, the number of a
header within the segment, and either that header as JSON or a MessagePack array of records that belong to
it. One segment holds the records of all revisions of a worker. The writer holds a lock on the file as long
as it lives, so that a segment whose lock can be taken is complete, however its writer ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

SUFFIX = ".spool"
_DRAFT = ".new"
_FRAME = struct.Struct("<II")
_KIND = struct.Struct("<cI")
_ARRAY = struct.Struct(">BI")
_HEADER, _RECORDS = b"H", b"R"
_MAX_FRAME = 256 * 1024 * 1024


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Whose predictions records are; `columns` are (name, type) of the rows' values."""

    team: str
    environment: str
    endpoint: str
    deployment_id: str
    revision_id: str
    model_name: str
    model_version: str
    columns: tuple[tuple[str, str], ...]


class Record(msgspec.Struct, array_like=True, gc=False):
    """One request. `predictions` is None when it failed; then `error` says why. `params` are JSON."""

    request_id: str
    time_us: int
    latency_us: int
    status: int
    keys: Sequence[dict[str, Any] | None] | None
    rows: Sequence[Sequence[Any]]
    predictions: list[Any] | None
    error: str | None
    params: str | None = None
    fallback: str | None = None
    unit: str | None = None


class SegmentWriter:
    """Appends frames. Appears under its final name only once it is locked."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / (name + SUFFIX)
        self.size = 0
        self._numbers: dict[SegmentHeader, int] = {}
        draft = directory / (name + _DRAFT)
        self._file = draft.open("xb", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            draft.rename(self.path)
            sync_directory(directory)
        except OSError:
            self._file.close()
            draft.unlink(missing_ok=True)
            raise

    def append(self, header: SegmentHeader, records: Sequence[bytes]) -> None:
        """Appends encoded records; they are the kernel's, and safe from our own death, on return.

        After an OSError the tail may be torn: close the segment, and write these records to another.
        """
        number = self._numbers.get(header)
        if number is None:
            number = len(self._numbers)
            self._append(_HEADER, number, msgspec.json.encode(header))
            self._numbers[header] = number
        self._append(_RECORDS, number, _ARRAY.pack(0xDD, len(records)), *records)

    def sync(self) -> None:
        """Returns when what was appended is on the disk, and safe from a loss of power."""
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _append(self, kind: bytes, number: int, *parts: bytes) -> None:
        payload = b"".join((_KIND.pack(kind, number), *parts))
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
            if is_complete(file):
                yield path, file


def is_complete(file: IO[bytes]) -> bool:
    """Whether nobody writes a segment any more; it is locked then, until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def has_complete(directory: Path) -> bool:
    return any(True for _ in take_complete(directory))


def remove_drafts(directory: Path) -> None:
    """Removes what writers left that died between two steps of making a segment."""
    for path in directory.glob("*" + _DRAFT):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if is_complete(file) and path.stat().st_size == 0 and time.time() - path.stat().st_mtime > 1:
                path.unlink()


def segment_name(sequence: int) -> str:
    """A name that sorts by the time at which the segment was begun, and is no other process's."""
    return f"{time.time_ns():020d}-{os.getpid()}-{sequence}"


def begun_ns(segment: Path) -> int:
    """When a segment was begun, by its name; 0 for names of another making."""
    digits = segment.name.partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def has_begun_before(directory: Path, moment_ns: int) -> bool:
    """Whether a segment waits there that was begun before."""
    return any(begun_ns(path) < moment_ns for path in directory.glob("*" + SUFFIX))


def spooled_bytes(directory: Path) -> int:
    """The size of everything that lies in a directory."""
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # rolled meanwhile
                    total += entry.stat().st_size
    except FileNotFoundError:
        return 0
    return total


def sync_directory(directory: Path) -> None:
    """Returns when the names in a directory are on the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one header, the `number`th of its segment, whose next frame begins at `end`."""

    number: int
    header: SegmentHeader
    records: list[Record]
    end: int


def read_segment(file: IO[bytes], start: int = 0) -> Iterator[Batch]:
    """The records frame by frame, up to the first frame that is torn.

    Args:
        file: at its beginning.
        start: where an earlier reading ended: records before it are passed over.

    Raises:
        msgspec.DecodeError: a frame is whole, and of another form than this version writes.
    """
    decoder = msgspec.msgpack.Decoder(list[Record])
    headers: dict[int, SegmentHeader] = {}
    while (payload := _read_frame(file, start)) is not None:
        kind, number = _KIND.unpack_from(payload)
        content, end = memoryview(payload)[_KIND.size :], file.tell()
        if kind == _HEADER:
            headers[number] = msgspec.json.decode(content, type=SegmentHeader)
        elif content and end > start:
            if kind != _RECORDS or number not in headers:
                raise msgspec.DecodeError(f"a frame of kind {kind!r} for header {number}")
            yield Batch(number, headers[number], decoder.decode(content), end)


def _read_frame(file: IO[bytes], start: int = 0) -> bytes | None:
    """A frame's payload; of records that end by `start`, which were whole already, the kind and number alone."""
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    length, check = _FRAME.unpack(head)
    if not _KIND.size <= length <= _MAX_FRAME:
        return None
    payload = file.read(_KIND.size)
    rest = length - len(payload)
    if payload[:1] == _RECORDS and file.tell() + rest <= start:
        file.seek(rest, os.SEEK_CUR)
        return payload
    payload += file.read(rest)
    return payload if len(payload) == length and zlib.crc32(payload) == check else None
