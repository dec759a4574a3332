"""Published advisories out of a local copy in the Open Source Vulnerability format (ossf.github.io/osv-schema).

The copy is a JSON file (one record, a list, or JSON Lines), a directory of such files, or the zip archive that
osv.dev publishes for PyPI. Nothing is asked over the network: whoever runs the platform decides where the
copy comes from and how old it may be.
"""

import json
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ml_platform.kit.errors import UnavailableError
from ml_platform.services.deployments import Advisory

_MOST_RECORD_BYTES = 8 * 1024**2
_MOST_BYTES = 4 * 1024**3
_MOST_RECORDS = 1_000_000
_SEVERITIES = ("CRITICAL", "HIGH", "MODERATE", "MEDIUM", "LOW")
_LONGEST_SUMMARY = 300


@dataclass(frozen=True, slots=True)
class _Affected:
    advisory_id: str
    aliases: tuple[str, ...]
    severity: str
    summary: str
    versions: frozenset[str]
    ranges: tuple[tuple[Mapping[str, str], ...], ...]


class OsvAdvisories:
    """Looks pinned versions up; the copy is read again when it has changed."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._stamp: tuple[float, int] | None = None
        self._index: dict[str, list[_Affected]] = {}

    @property
    def name(self) -> str:
        return self._source.name

    def modified(self) -> datetime:
        """When the copy was last changed; raises UnavailableError when it is not there."""
        return datetime.fromtimestamp(self._state()[0], UTC)

    def find(self, *pinned: tuple[str, str]) -> list[Advisory]:
        """The advisories that affect packages of these versions, the gravest first.

        Raises:
            UnavailableError: the copy is not there, cannot be read, or holds nothing.
        """
        index = self._current()
        found = [
            Advisory(
                advisory_id=item.advisory_id,
                aliases=item.aliases,
                package=package,
                version=version,
                severity=item.severity,
                summary=item.summary,
                fixed_in=_fixed_in(item, version),
            )
            for package, version in pinned
            for item in index.get(canonicalize_name(package), ())
            if _affects(item, version)
        ]
        return sorted(found, key=lambda item: (_rank(item.severity), item.package, item.advisory_id))

    def _current(self) -> dict[str, list[_Affected]]:
        with self._lock:
            state = self._state()
            if state != self._stamp:
                self._index = _read(self._source)
                self._stamp = state
            return self._index

    def _state(self) -> tuple[float, int]:
        try:
            found = [file.stat() for file in (self._source, *_files(self._source))]
        except OSError as error:
            raise UnavailableError(
                f"the advisory source {self._source.name} is not there", hint="check the setting advisories"
            ) from error
        return max(item.st_mtime for item in found), sum(item.st_size for item in found)


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _read(source: Path) -> dict[str, list[_Affected]]:
    index: dict[str, list[_Affected]] = {}
    try:
        for number, record in enumerate(_records(source)):
            if number >= _MOST_RECORDS:
                raise UnavailableError(f"{source.name} holds more than {_MOST_RECORDS} advisories")
            if isinstance(record, dict) and not record.get("withdrawn"):
                for package, affected in _affected(record):
                    index.setdefault(package, []).append(affected)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise UnavailableError(
            f"the advisory source {source.name} cannot be read: {type(error).__name__}"
        ) from error
    return index


def _records(source: Path) -> Iterator[Any]:
    if source.is_dir():
        files = _files(source)
        if not files:
            raise ValueError("the directory holds no JSON files")
        for file in files:
            yield from _parsed(_content(file))
    elif zipfile.is_zipfile(source):
        total = 0
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                total += entry.file_size
                if entry.file_size > _MOST_RECORD_BYTES or total > _MOST_BYTES:
                    raise ValueError("the archive unpacks to more than is allowed")
                if entry.filename.endswith(".json"):
                    yield json.loads(archive.read(entry))
    else:
        yield from _parsed(_content(source))


def _files(source: Path) -> list[Path]:
    """The files of a directory that are read; none for a single file."""
    return sorted(source.glob("*.json*")) if source.is_dir() else []


def _content(file: Path) -> bytes:
    """A file's bytes. One that is empty is a copy that went wrong, and no sign that nothing is known."""
    size = file.stat().st_size
    if not 0 < size <= _MOST_BYTES:
        raise ValueError(f"{file.name} is empty, or larger than {_MOST_BYTES} bytes")
    return file.read_bytes()


def _parsed(data: bytes) -> Iterator[Any]:
    try:
        found = json.loads(data)
    except json.JSONDecodeError:
        for line in data.splitlines():
            if line.strip():
                yield json.loads(line)
        return
    yield from found if isinstance(found, list) else [found]


def _affected(record: dict[str, Any]) -> Iterator[tuple[str, _Affected]]:
    for entry in record.get("affected") or ():
        package = entry.get("package") or {}
        if package.get("ecosystem") != "PyPI" or not isinstance(package.get("name"), str):
            continue
        ranges = tuple(
            tuple(event for event in item.get("events") or () if isinstance(event, dict))
            for item in entry.get("ranges") or ()
            if item.get("type") in ("ECOSYSTEM", "SEMVER")
        )
        yield (
            canonicalize_name(package["name"]),
            _Affected(
                advisory_id=str(record.get("id", "unknown")),
                aliases=tuple(str(alias) for alias in record.get("aliases") or ()),
                severity=_severity(record, entry),
                summary=str(record.get("summary") or record.get("details") or "")[:_LONGEST_SUMMARY],
                versions=frozenset(str(version) for version in entry.get("versions") or ()),
                ranges=ranges,
            ),
        )


def _severity(record: dict[str, Any], entry: dict[str, Any]) -> str:
    for place in (entry, record):
        for name in ("database_specific", "ecosystem_specific"):
            given = (place.get(name) or {}).get("severity")
            if isinstance(given, str) and given.upper() in _SEVERITIES:
                return given.upper()
    return "UNKNOWN"


def _affects(item: _Affected, version: str) -> bool:
    if version in item.versions:
        return True
    try:
        parsed = Version(version)
    except InvalidVersion:
        return False
    if any(_equal(parsed, listed) for listed in item.versions):
        return True
    return any(_within(events, parsed) for events in item.ranges)


def _equal(version: Version, text: str) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def _within(events: Sequence[Mapping[str, str]], version: Version) -> bool:
    """The events in the order of their versions; the last one at or before the version says."""
    inside = False
    for kind, bound in _ordered(events):
        if kind == "introduced" and version >= bound:
            inside = True
        elif (kind == "fixed" and version >= bound) or (kind == "last_affected" and version > bound):
            inside = False
    return inside


def _ordered(events: Sequence[Mapping[str, str]]) -> list[tuple[str, Version]]:
    found = []
    for event in events:
        for kind in ("introduced", "last_affected", "fixed"):
            if kind in event:
                try:
                    bound = Version("0.dev0") if event[kind] == "0" else Version(event[kind])
                except InvalidVersion:
                    continue
                found.append((kind, bound))
    return sorted(found, key=lambda item: item[1])


def _fixed_in(item: _Affected, version: str) -> str | None:
    try:
        parsed = Version(version)
    except InvalidVersion:
        return None
    later = [bound for events in item.ranges for kind, bound in _ordered(events) if kind == "fixed"]
    return min((str(bound) for bound in later if bound > parsed), key=Version, default=None)
