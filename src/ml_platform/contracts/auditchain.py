"""The form of the audit chain, for those who write it and for those who check an export of it.

    digest(n) = SHA-256(canonical JSON of event n)
    hash(n)   = SHA-256(hash(n-1) || digest(n)), both as lower-case hexadecimal text

The head (the number of the last event and its hash) is signed with Ed25519 (RFC 8032). An export is JSON
Lines: a header, the events in order, each checkpoint behind its event, and a signed footer. An event that the reader may not
see stands there as its digest, so that the chain can be checked all the same. Where events were removed after their
retention, a signed anchor stands for them: the chain goes on from its hash.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

from ml_platform.contracts.audit import AuditFinding, AuditVerification

FORMAT = 1
GENESIS = "0" * 64
HASHED = (
    "sequence", "event_id", "at", "actor_id", "actor_name", "actor_kind", "key_id", "source", "request_id",
    "team_id", "action", "resource_kind", "resource_id", "before", "after", "context",
)  # fmt: skip
_FIELDS = {
    "header": {"kind", "format", "public_key", "scope", "first", "previous", "exported_at"},
    "event": {"kind", "hash", *HASHED},
    "other": {"kind", "hash", "sequence", "digest"},
    "checkpoint": {"kind", "sequence", "hash", "seal"},
    "pruned": {
        "kind", "sequence", "hash", "before", "retention_days", "pruned_at", "kept", "kept_digest", "seal",
    },
    "footer": {"kind", "seal"},
}  # fmt: skip
_MOST_FINDINGS = 100


def signed_by(public_key: str, message: bytes, seal: str) -> bool:
    """Whether a public key made a signature; both in hexadecimal, nonsense is no signature.

    Raises:
        ImportError: the package `cryptography` is not there, which who only calls the platform need not have.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = bytes.fromhex(seal)
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return signature.hex() == seal  # one way to write it: whatever else was changed since


def event_digest(event: Mapping[str, Any]) -> str:
    """The digest of an event; `at` as RFC 3339 text in UTC with microseconds."""
    body = {name: event[name] for name in HASHED}
    text = json.dumps(body, allow_nan=False, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def link(previous: str, digest: str) -> str:
    """The hash of the event with this digest, behind the event with the hash `previous`."""
    return hashlib.sha256((previous + digest).encode()).hexdigest()


def head_message(sequence: int, last: str) -> bytes:
    """What is signed of a head, and of a checkpoint."""
    return f"head:{sequence}:{last}".encode()


@dataclass(frozen=True, slots=True)
class Anchor:
    """Stands for all events up to `sequence`, which were older than their retention and stood in the archive.

    `kept` counts those that stay in the database whole, since others build on them; `kept_digest` chains them.
    """

    sequence: int
    hash: str
    before: str
    retention_days: int
    pruned_at: str
    kept: int
    kept_digest: str

    def message(self) -> bytes:
        """What is signed of it."""
        return json.dumps(["pruned", *astuple(self)], separators=(",", ":")).encode()

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Anchor":
        return cls(**{field.name: entry[field.name] for field in fields(cls)})


@dataclass(slots=True)
class Manifest:
    """What an export says of itself, and what is signed of it.

    `shown` counts the events that stand there whole, so that none of them is made a digest afterwards;
    `checkpoints` is a digest of all checkpoints; the time keeps an old export from passing for a new one;
    `pruned` is the seal of the anchor that the export begins behind.
    """

    first: int
    scope: str
    exported_at: str
    sequence: int = 0
    last: str = GENESIS
    shown: int = 0
    checkpoints: str = GENESIS
    pruned: str = ""

    def add_checkpoint(self, sequence: int, seen: str, seal: str) -> None:
        self.checkpoints = link(self.checkpoints, f"{sequence}:{seen}:{seal}")

    def message(self) -> bytes:
        """The bytes that the footer's seal signs."""
        parts = (self.first, self.scope, self.exported_at, self.sequence, self.last, self.shown)
        anchored = (self.pruned,) if self.pruned else ()
        return json.dumps(["export", *parts, self.checkpoints, *anchored], separators=(",", ":")).encode()


def verify_export(lines: Iterable[str], public_key: str | None = None) -> AuditVerification:
    """Checks an export with nothing but itself, in one pass with flat memory.

    Args:
        lines: of the export.
        public_key: the installation's, from a source that one trusts; without it the export's own is taken,
            which shows that the export is whole, but not whose it is.

    Raises:
        ImportError: see `signed_by`.
    """
    reader = ExportReader(public_key)
    for _ in reader.walk(lines):
        pass
    return reader.result()


class ExportReader:
    """Reads one export; what it was found to be is known when `walk` has come to its end."""

    def __init__(self, public_key: str | None) -> None:
        self._trusted = public_key
        self._key = ""
        self._findings: list[AuditFinding] = []
        self._seen = Manifest(first=1, scope="", exported_at="")
        self._previous = GENESIS
        self._events = 0
        self._checkpoints = 0
        self._pruned = 0

    @property
    def public_key(self) -> str:
        """With which signatures are checked: the one that was given, else the export's own."""
        return self._key

    @property
    def scope(self) -> str:
        return self._seen.scope

    @property
    def first(self) -> int:
        """The number of the first event."""
        return self._seen.first

    @property
    def previous(self) -> str:
        """The hash that the first event follows."""
        return self._previous

    @property
    def last(self) -> int:
        """The number of the last event so far."""
        return self._seen.sequence

    @property
    def pruned(self) -> int:
        """Up to here a signed anchor stands for the events."""
        return self._pruned

    def walk(self, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
        """Checks line by line; the number and hash of each event."""
        footer = None
        entries = self._entries(lines)
        header = next(entries, None)
        if header is None or set(header) != _FIELDS["header"] or header["format"] != FORMAT:
            self._find("malformed", f"this is no export of an audit log of format {FORMAT}")
            return
        self._open(header)
        for entry in entries:
            if footer is not None:
                self._find("inserted", "the export goes on behind its footer")
                break
            kind = entry.get("kind")
            if set(entry) != _FIELDS.get(str(kind)):
                where = self._seen.sequence
                self._find(
                    "edited", f"the {str(kind)[:20]} behind {where} lacks a field, or has one too many"
                )
            elif kind in ("event", "other"):
                if self._event(entry):
                    yield self._seen.sequence, self._seen.last
            elif kind == "checkpoint":
                self._checkpoint(entry)
            elif kind == "pruned":
                self._anchor(entry)
            else:
                footer = entry
        self._close(footer)

    def result(self) -> AuditVerification:
        return AuditVerification(
            verified=not self._findings,
            events=self._events,
            head=self._seen.last,
            checkpoints=self._checkpoints,
            pruned=self._pruned,
            findings=self._findings,
        )

    def _entries(self, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line, object_pairs_hook=_unique)
            except (ValueError, RecursionError):
                entry = None
            if not isinstance(entry, dict):
                self._find("malformed", f"line {number} is no JSON object")
                continue
            yield entry

    def _open(self, header: dict[str, Any]) -> None:
        self._key = str(header.get("public_key"))
        if self._trusted is not None and self._key != self._trusted:
            self._find("forged", f"the export names the key {self._key[:16]}…, which is not the one given")
            self._key = self._trusted
        first = header.get("first")
        if not isinstance(first, int) or first < 1:
            self._find("malformed", "the header does not say with which event the export begins")
            first = 1
        previous = str(header.get("previous"))
        if first == 1 and previous != GENESIS:
            self._find("edited", "the first event has no event before it")
        scope, moment = str(header.get("scope")), str(header.get("exported_at"))
        self._seen = Manifest(first, scope, moment, sequence=first - 1, last=previous)
        self._previous = previous

    def _anchor(self, entry: dict[str, Any]) -> None:
        seal = str(entry["seal"])
        here = (entry["sequence"], entry["hash"]) == (self._seen.first - 1, self._previous)
        if self._events or self._seen.pruned or not here:
            self._find("edited", "an anchor stands where none belongs")
        elif not signed_by(self._key, Anchor.of(entry).message(), seal):
            self._find(
                "forged", "the anchor that stands for removed events is not signed by this installation"
            )
        else:
            self._seen.pruned, self._pruned = seal, self._seen.first - 1

    def _event(self, entry: dict[str, Any]) -> bool:
        self._events += 1
        whole = entry["kind"] == "event"
        sequence, expected = entry["sequence"], str(entry["hash"])
        if sequence != self._seen.sequence + 1:
            self._find("missing", f"event {sequence} stands where {self._seen.sequence + 1} should")
        if not isinstance(sequence, int):
            return False
        digest = event_digest(entry) if whole else str(entry["digest"])
        if link(self._seen.last, digest) != expected:
            self._find("edited", f"event {sequence} does not match its hash: it or the one before is another")
        self._seen.sequence, self._seen.last = sequence, expected
        self._seen.shown += whole
        return True

    def _checkpoint(self, entry: dict[str, Any]) -> None:
        self._checkpoints += 1
        sequence, seen, seal = entry.get("sequence"), str(entry.get("hash")), str(entry.get("seal"))
        if not isinstance(sequence, int):
            self._find("malformed", "a checkpoint lacks its number")
            return
        self._seen.add_checkpoint(sequence, seen, seal)
        if not signed_by(self._key, head_message(sequence, seen), seal):
            self._find("checkpoint_mismatch", f"the seal of the checkpoint at {sequence} is broken", sequence)
        elif (sequence, seen) != (self._seen.sequence, self._seen.last):
            self._find(
                "checkpoint_mismatch", f"the checkpoint at {sequence} saw another event there", sequence
            )

    def _close(self, footer: dict[str, Any] | None) -> None:
        if footer is None:
            self._find("truncated", "the export has no footer: its end was cut off")
        elif not signed_by(self._key, self._seen.message(), str(footer.get("seal"))):
            detail = (
                "the signature does not fit what the export holds: something was changed, added or left out"
            )
            self._find("edited", detail)

    def _find(self, kind: str, detail: str, sequence: int | None = None) -> None:
        if len(self._findings) < _MOST_FINDINGS:
            where = self._seen.sequence if sequence is None else sequence
            self._findings.append(AuditFinding(sequence=where, kind=kind, detail=detail))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that comes twice would be read one way here and another way elsewhere."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found
