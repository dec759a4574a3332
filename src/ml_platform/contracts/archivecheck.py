"""Checks the audit log's copy in write-once storage: alone, up to a moment, or beside the platform's own log."""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ml_platform.contracts.audit import AuditFinding, AuditVerification
from ml_platform.contracts.auditarchive import (
    ANCHORS,
    CHECKPOINTS,
    FOLDERS,
    SCOPE,
    SEGMENTS,
    ArchiveFiles,
    Statement,
    anchor_name,
    sealed,
    segment_name,
    statement_name,
    unpack,
)
from ml_platform.contracts.auditchain import GENESIS, Anchor, ExportReader, signed_by

_NUMBERED = re.compile(r"(\d{20})(-\d{8}T\d{12}Z)?\.(jsonl\.gz|json)")
_MOST_FINDINGS = 100
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD = 16
_READERS = 8


def verify_archive(
    files: ArchiveFiles,
    public_key: str | None = None,
    *,
    until: datetime | None = None,
    at_least: int = 0,
    log: Iterable[str] | None = None,
) -> AuditVerification:
    """Checks an archive in one pass; memory grows with the number of its checkpoints alone.

    Args:
        files: of the archive.
        public_key: the installation's, from a source that one trusts; without it the archive's own is taken,
            which shows that it is whole, but not whose it is.
        until: the archive must speak for the log up to then.
        at_least: it must reach this event.
        log: an export of the platform's log, begun after this call, which is compared event by event.

    Raises:
        ImportError: see `auditchain.signed_by`.
    """
    reader = _ArchiveReader(files, public_key, until, at_least)
    if log is None:
        deque(reader.walk(), maxlen=0)
    else:
        _compare(reader, log, public_key)
    return reader.result()


class _ArchiveReader:
    def __init__(
        self, files: ArchiveFiles, public_key: str | None, until: datetime | None, at_least: int
    ) -> None:
        self._files = files
        self._key = public_key
        self._until = until
        self._at_least = at_least
        self._sequence, self._hash = 0, GENESIS
        self._marks: dict[int, list[tuple[str, str]]] = {}
        self._anchored = self._first = 0
        self._spoken: datetime | None = None
        self._events = self._checkpoints = self._pruned = 0
        self.findings: list[AuditFinding] = []

    def walk(self) -> Iterator[tuple[int, str]]:
        """The number and hash of each event."""
        names = {folder: self._names(folder) for folder in FOLDERS}
        first = True
        for name, content in self._contents(names[SEGMENTS]):
            try:
                lines = unpack(content)
            except ValueError as error:
                self.find("malformed", f"{name} cannot be read: {error}")
                continue
            segment = ExportReader(self._key)
            for sequence, digest in self._segment(name, segment, lines, first=first):
                if first:  # now the key is known
                    self._key = segment.public_key
                    self._read_marks(names)
                    self._begins(segment)
                    first = False
                self._check_marks(sequence, digest)
                self._sequence, self._hash = sequence, digest
                yield sequence, digest
        if first:
            self.find("missing", "there is no segment that can be read")
        else:
            self._check_end()

    def result(self) -> AuditVerification:
        return AuditVerification(
            verified=not self.findings,
            events=self._events,
            head=self._hash,
            checkpoints=self._checkpoints,
            pruned=self._pruned,
            until=self._spoken,
            findings=self.findings[:_MOST_FINDINGS],
        )

    def find(self, kind: str, detail: str, sequence: int | None = None) -> None:
        if len(self.findings) < _MOST_FINDINGS:
            where = self._sequence if sequence is None else sequence
            self.findings.append(AuditFinding(sequence=where, kind=kind, detail=detail))

    @property
    def first(self) -> int:
        """The first event."""
        return self._first

    @property
    def sequence(self) -> int:
        """The last event so far."""
        return self._sequence

    @property
    def anchored(self) -> int:
        """Up to here a signed anchor of the archive says that the database may have forgotten."""
        return self._anchored

    def _segment(
        self, name: str, segment: ExportReader, lines: list[str], *, first: bool
    ) -> Iterator[tuple[int, str]]:
        """A segment's events; what is wrong with it, and with its place behind the one before."""
        begun = False
        for found in segment.walk(lines):
            if not begun:
                begun = True
                self._join(name, segment, first=first)
            yield found
        result = segment.result()
        if not result.findings and (not begun or segment.scope != SCOPE):
            self.find("malformed", f"{name} is no segment of an archive")
        for finding in result.findings:
            self.find(finding.kind, f"{name}: {finding.detail}", finding.sequence)
        self._events += result.events
        self._checkpoints += result.checkpoints

    def _join(self, name: str, segment: ExportReader, *, first: bool) -> None:
        if name != segment_name(segment.first):
            self.find("edited", f"{name} holds the segment that begins with event {segment.first}")
        if first:
            return
        expected = self._sequence + 1
        if segment.first > expected:
            self.find("missing", f"events {expected} to {segment.first - 1} are in no segment", expected)
        elif segment.first < expected:
            self.find("inserted", f"{name} begins before the segment before it ends")
        elif segment.previous != self._hash:
            self.find("edited", f"{name} follows another event {self._sequence} than the one that is there")

    def _begins(self, segment: ExportReader) -> None:
        """An archive whose oldest objects are gone needs an anchor that stands for them."""
        self._first = segment.first
        if segment.first == 1:
            return
        if segment.first - 1 > self._anchored:
            self.find("missing", f"events 1 to {segment.first - 1} are in no segment", 1)
        else:
            self._pruned = segment.first - 1
            for seen, what in self._marks.pop(self._pruned, []):
                if seen != segment.previous:
                    self.find("edited", f"{what} saw another event {self._pruned}", self._pruned)

    def _read_marks(self, names: dict[str, list[str]]) -> None:
        for name, content in self._contents([*names[CHECKPOINTS], *names[ANCHORS]]):
            anchors = name.startswith(ANCHORS)
            try:
                entry = json.loads(content)
                mark: Anchor | Statement = Anchor.of(entry) if anchors else Statement.of(entry)
                named = anchor_name(mark.sequence) if isinstance(mark, Anchor) else statement_name(mark)
                moment = (
                    _EVER if isinstance(mark, Anchor) else datetime.fromisoformat(mark.at).astimezone(UTC)
                )
                seal = str(entry["seal"])
                whole = content == sealed(mark, seal)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                self.find("malformed", f"{name} cannot be read")
                continue
            if not whole or name != named or not signed_by(str(self._key), mark.message(), seal):
                self.find("forged", f"{name} is not as this installation signed it")
                continue
            self._marks.setdefault(mark.sequence, []).append((mark.hash, name))
            if anchors:
                self._anchored = max(self._anchored, mark.sequence)
            else:
                self._checkpoints += 1
                self._spoken = max(self._spoken or _EVER, moment)

    def _check_marks(self, sequence: int, digest: str) -> None:
        for seen, what in self._marks.pop(sequence, []):
            if seen != digest:
                self.find("checkpoint_mismatch", f"{what} saw another event there", sequence)

    def _check_end(self) -> None:
        newest = max([number for number in self._marks if number > self._sequence] + [self._at_least])
        if newest > self._sequence:
            self.find("truncated", f"it had event {newest}, and ends at {self._sequence}")
        if self._until is not None and (self._spoken is None or self._spoken < self._until):
            says = self._spoken.isoformat() if self._spoken else "no moment"
            self.find(
                "truncated", f"it speaks for the log up to {says} alone: later checkpoints are not there"
            )

    def _names(self, folder: str) -> list[str]:
        names = []
        for name in sorted(self._files.names(folder)):
            if _NUMBERED.fullmatch(name.partition("/")[2]):
                names.append(name)
            else:
                self.find("inserted", f"{name[:200]} is no file of an archive")
        return names

    def _contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Read ahead by a few, in order: a store answers one request slowly and many at once quickly."""
        with ThreadPoolExecutor(_READERS) as pool:
            waiting = deque((name, pool.submit(self._files.read, name)) for name in names[:_AHEAD])
            for following in [*names[_AHEAD:], *[None] * len(waiting)]:
                name, content = waiting.popleft()
                if following is not None:
                    waiting.append((following, pool.submit(self._files.read, following)))
                yield name, content.result()


def _compare(archive: _ArchiveReader, lines: Iterable[str], public_key: str | None) -> None:
    """Event by event; the log may begin behind a signed anchor, and go on behind the archive's end."""
    log = ExportReader(public_key)
    differs, lacks, met = _side_by_side(archive.walk(), log.walk(lines), log)
    if log.pruned and (log.pruned > archive.anchored or not (met or log.pruned < archive.first)):
        detail = f"the platform's log begins behind event {log.pruned}, for which the archive has no anchor"
        archive.find("missing", detail, log.pruned)
    if differs:
        detail = f"from event {differs} on the platform's log is another than the archive's"
        archive.find("edited", detail, differs)
    if lacks and log.last < archive.sequence:
        detail = f"the platform's log ends at {log.last}, the archive has event {archive.sequence}"
        archive.find("truncated", detail, log.last)
    elif lacks:
        archive.find("missing", f"{lacks} events of the archive are not in the platform's log")
    for finding in log.result().findings:
        archive.find(finding.kind, f"the platform's log: {finding.detail}", finding.sequence)


def _side_by_side(
    archived: Iterator[tuple[int, str]], logged: Iterator[tuple[int, str]], log: ExportReader
) -> tuple[int, int, bool]:
    """The first event that differs, how many the log lacks, and whether the archive has what its anchor stands for."""
    theirs, ours = next(archived, None), next(logged, None)  # the archive is listed before the log is read
    differs = lacks = 0
    met = False
    while theirs is not None:
        met = met or theirs == (log.pruned, log.previous)
        if ours is None or theirs[0] < ours[0]:
            lacks += theirs[0] > log.pruned
            theirs = next(archived, None)
            continue
        if theirs[0] == ours[0]:
            differs = differs or (theirs[0] if theirs[1] != ours[1] else 0)
            theirs = next(archived, None)
        ours = next(logged, None)
    deque(logged, maxlen=0)  # its end is checked, too
    return differs, lacks, met
