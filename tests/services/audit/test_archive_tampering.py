"""Whatever is done to an archive, or to the log beside an archive that is whole, is found."""

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ml_platform.contracts.archivecheck import verify_archive
from ml_platform.contracts.audit import AuditVerification
from ml_platform.contracts.auditarchive import pack, segment_name, unpack
from ml_platform.contracts.auditchain import Manifest, event_digest, link
from ml_platform.services.audit import AuditChain
from tests.services.audit.test_export import TAMPERERS as OF_EXPORTS
from tests.support.audit import Trail

TAMPERINGS = int(os.environ.get("AUDIT_TAMPERINGS", "400"))
SEGMENTS = "segments/"


@dataclass(frozen=True)
class Case:
    """An archive, the log beside it, and what a forger has at hand."""

    files: dict[str, bytes]
    log: list[str]
    older_log: list[str]
    another: dict[str, bytes]
    chain: AuditChain
    until: datetime
    archived: int = 0
    beside: bool = False
    asked_until: bool = False

    def names(self, folder: str) -> list[str]:
        return [name for name in self.files if name.startswith(f"{folder}/")]

    def read(self, name: str) -> bytes:
        return self.files[name]

    def verified(self) -> AuditVerification:
        return verify_archive(
            self,
            self.chain.public_key,
            until=self.until if self.asked_until else None,
            at_least=self.archived if self.beside else 0,
            log=iter(self.log) if self.beside else None,
        )

    def content(self) -> tuple[Any, list[str]]:
        """What counts: bits that a packed file does not use may be anything."""
        return {name: _lines(data) for name, data in self.files.items()}, self.log

    def segments(self) -> list[str]:
        return sorted(self.names("segments"))

    def some(self, chance: random.Random) -> str:
        return chance.choice(self.segments())

    def with_files(self, changes: dict[str, bytes | None]) -> "Case":
        left = {name: data for name, data in (self.files | changes).items() if data is not None}
        return replace(self, files=left)


def _lines(data: bytes) -> Any:
    try:
        return unpack(data)
    except ValueError:
        return data


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Eight segments of a log whose first two are removed from the database."""
    trails = [_trail(tmp_path_factory.mktemp("audit"), key) for key in (b"k" * 32, b"x" * 32)]
    trail, another = trails
    older = list(trail.exporter.lines(team_id=None))
    trail.append(3)
    trail.archiver.run()
    until = datetime.now(UTC)
    trail.append(2)
    trail.checkpoints.write()
    trail.archiver.run()
    yield Case(
        files=trail.files(),
        log=list(trail.exporter.lines(team_id=None)),
        older_log=older,
        another=another.files(),
        chain=trail.chain,
        until=until,
        archived=trail.archiver.status().archived,
    )
    for made in trails:
        made.close()


def _trail(home: Path, key: bytes) -> Trail:
    trail = Trail(f"sqlite:///{home}/audit.db", home, key=key)
    trail.archive_old_and_new()
    assert trail.new_pruner().run() == 10
    for count in (3, 1, 4):
        trail.append(count)
        trail.checkpoints.write()
        trail.archiver.run()
    return trail


class TestUntouched:
    def test_it_verifies_alone_beside_the_log_and_up_to_a_moment(self, case: Case) -> None:
        for asked in (case, replace(case, beside=True), replace(case, asked_until=True)):
            found = asked.verified()
            assert found.verified, found.findings
            assert len(asked.segments()) == 8
        assert verify_archive(case).verified
        beside = replace(case, beside=True, log=case.log, archived=case.archived + 1)
        assert not beside.verified().verified

    @pytest.mark.parametrize("name", ["segments/x", "segments/0001.jsonl.gz", "checkpoints/new"])
    def test_a_file_that_does_not_belong_there_is_found(self, case: Case, name: str) -> None:
        assert not case.with_files({name: b""}).verified().verified

    def test_an_empty_one_does_not_verify(self, case: Case) -> None:
        assert not replace(case, files={}).verified().verified
        assert not replace(case, files={}, beside=True).verified().verified

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b"\x00" * 99, b'{"sequence":1e999}', b"[" * 99_999]
    )
    @pytest.mark.parametrize("folder", ["segments", "checkpoints", "pruned"])
    def test_what_is_no_file_of_ours_is_found(self, case: Case, folder: str, content: bytes) -> None:
        name = case.names(folder)[0]
        for data in (content, pack([content.decode(), "\n"])):
            assert not case.with_files({name: data}).verified().verified

    def test_one_made_by_another_installation_is_not_ours(self, case: Case) -> None:
        theirs = replace(case, files=case.another)
        assert verify_archive(theirs).verified
        assert not theirs.verified().verified

    def test_a_signature_written_another_way_is_not_as_it_was(self, case: Case) -> None:
        name = case.names("checkpoints")[0]
        entry = json.loads(case.files[name])
        for seal in (entry["seal"].upper(), entry["seal"] + " "):
            data = json.dumps(entry | {"seal": seal}, separators=(",", ":")).encode() + b"\n"
            found = case.with_files({name: data}).verified()
            assert {finding.kind for finding in found.findings} == {"forged"}

    def test_a_file_that_unpacks_to_more_than_memory_is_refused(self, case: Case) -> None:
        bomb = pack(" " * (1 << 20) for _ in range(70))
        assert len(bomb) < 200_000
        found = case.with_files({case.segments()[1]: bomb}).verified()
        assert "malformed" in {finding.kind for finding in found.findings}


class TestTampering:
    """Of an archive by somebody without the key, and of the log by somebody who has even that."""

    @pytest.mark.timeout(1200)
    def test_of_every_kind_is_found(self, case: Case) -> None:
        chance = random.Random(20260301)
        missed, done = [], dict.fromkeys(TAMPERERS, 0)
        for number in range(TAMPERINGS):
            kind = TAMPERERS[number % len(TAMPERERS)]
            changed = kind(case, chance)
            if changed.content() == case.content():
                continue
            done[kind] += 1
            if changed.verified().verified:
                missed.append((number, kind.__name__))
        assert not missed
        assert min(done.values()) > 0


Tamperer = Callable[[Case, random.Random], Case]


def leave_a_segment_out(case: Case, chance: random.Random) -> Case:
    """The first ones, whose events the database has forgotten, could be gone by their age: an anchor says so."""
    return case.with_files({chance.choice(case.segments()[2:]): None})


def leave_out_the_anchor_and_what_it_stands_for(case: Case, chance: random.Random) -> Case:
    gone = [*case.names("pruned"), *case.segments()[: chance.randrange(1, 3)]]
    return case.with_files(dict.fromkeys(gone))


def swap_two_segments(case: Case, chance: random.Random) -> Case:
    one, other = chance.sample(case.segments(), 2)
    return case.with_files({one: case.files[other], other: case.files[one]})


def put_a_segment_in_twice(case: Case, chance: random.Random) -> Case:
    name = case.some(chance)
    first = int(name.removeprefix(SEGMENTS)[:20])
    return case.with_files({segment_name(first + 1): case.files[name]})


def cut_a_segment(case: Case, chance: random.Random) -> Case:
    name = case.some(chance)
    return case.with_files({name: case.files[name][: chance.randrange(len(case.files[name]))]})


def change_a_byte(case: Case, chance: random.Random) -> Case:
    name = chance.choice(sorted(case.files))
    data = bytearray(case.files[name])
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return case.with_files({name: bytes(data)})


def go_on_behind_a_file(case: Case, chance: random.Random) -> Case:
    name = chance.choice(sorted(case.files))
    return case.with_files({name: case.files[name] + chance.choice([b"\n", b"{}", case.files[name]])})


def change_a_segment_as_one_changes_an_export(case: Case, chance: random.Random) -> Case:
    """In each of the ways in which exports are tampered with."""
    name, older = case.some(chance), case.some(chance)
    before = [_with_ends(unpack(case.files[which])) for which in (name, older)]
    try:
        changed = chance.choice(OF_EXPORTS)(list(before[0]), before[1], chance)
    except ValueError:  # too short for what it does
        return case
    return case.with_files({name: pack(changed)})


def chain_anew(case: Case, chance: random.Random) -> Case:
    """Changes an event, or takes it out, and computes all hashes behind it anew, in all segments."""
    return _chained_anew(case, chance, None)


def chain_anew_with_another_key(case: Case, chance: random.Random) -> Case:
    return _chained_anew(case, chance, AuditChain(b"z" * 32))


def take_a_file_of_another_archive(case: Case, chance: random.Random) -> Case:
    name = chance.choice(sorted(set(case.another) & set(case.files)))
    return case.with_files({name: case.another[name]})


def change_a_checkpoint(case: Case, chance: random.Random) -> Case:
    name = chance.choice([*case.names("checkpoints"), *case.names("pruned")])
    entry = json.loads(case.files[name])
    field = chance.choice(sorted(entry))
    entry[field] = entry[field] + 1 if isinstance(entry[field], int) else entry[field][:-1] + "0"
    data = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
    return case.with_files({name: data})


def rename_a_checkpoint(case: Case, chance: random.Random) -> Case:
    name = chance.choice(case.names("checkpoints"))
    number = f"{chance.randrange(1, 99):020d}"
    renamed = f"checkpoints/{number}{name.removeprefix('checkpoints/')[20:]}"
    return case if renamed == name else case.with_files({name: None, renamed: case.files[name]})


def cut_the_end(case: Case, chance: random.Random) -> Case:
    gone = case.segments()[-chance.randrange(1, 6) :]
    return case.with_files(dict.fromkeys(gone))


def cut_the_end_with_its_checkpoints(case: Case, chance: random.Random) -> Case:
    """Found by the moment up to which it should speak, or beside the platform."""
    gone = case.segments()[-chance.randrange(2, 6) :]
    first = int(gone[0].removeprefix(SEGMENTS)[:20])
    gone += [name for name in case.names("checkpoints") if int(name.partition("/")[2][:20]) >= first]
    changed = case.with_files(dict.fromkeys(gone))
    return replace(changed, asked_until=True) if chance.random() < 0.5 else replace(changed, beside=True)


def cut_the_log_and_chain_it_anew(case: Case, chance: random.Random) -> Case:
    at = chance.choice([n for n, line in enumerate(case.log) if '"kind":"event"' in line])
    return _forged(case, [*case.log[:at], case.log[-1]])


def change_the_log_and_chain_it_anew(case: Case, chance: random.Random) -> Case:
    lines = list(case.log)
    at = chance.choice([n for n, line in enumerate(lines) if '"kind":"event"' in line])
    if chance.random() < 0.5:
        del lines[at]
    else:
        lines[at] = lines[at].replace('"actor_name":"', '"actor_name":"not ')
    return _forged(case, lines)


def put_the_log_back(case: Case, _: random.Random) -> Case:
    return replace(case, log=case.older_log, beside=True)


TAMPERERS: list[Tamperer] = [
    leave_a_segment_out, leave_out_the_anchor_and_what_it_stands_for, swap_two_segments, put_a_segment_in_twice,
    cut_a_segment, change_a_byte, go_on_behind_a_file, change_a_segment_as_one_changes_an_export, chain_anew,
    chain_anew_with_another_key, take_a_file_of_another_archive, change_a_checkpoint, rename_a_checkpoint, cut_the_end,
    cut_the_end_with_its_checkpoints, cut_the_log_and_chain_it_anew, change_the_log_and_chain_it_anew, put_the_log_back,
]  # fmt: skip


def _with_ends(lines: list[str]) -> list[str]:
    return [f"{line}\n" for line in lines if line]


def _chained_anew(case: Case, chance: random.Random, signer: AuditChain | None) -> Case:
    names = case.segments()
    entries = [[json.loads(line) for line in unpack(case.files[name]) if line] for name in names]
    segment = chance.choice(entries)
    at = chance.choice([n for n, entry in enumerate(segment) if entry["kind"] == "event"])
    if chance.random() < 0.5 or len([entry for entry in segment if entry["kind"] == "event"]) == 1:
        segment[at]["actor_name"] = "somebody else"
    else:
        del segment[at]
    number, last, files = 0, str(entries[0][0]["previous"]), {}
    for segment in entries:
        files |= {segment_name(number + 1): pack(_sealed(segment, number, last, signer))}
        number, last = next((e["sequence"], e["hash"]) for e in reversed(segment) if e["kind"] == "event")
    changed = case.with_files(dict.fromkeys(names))
    return changed.with_files(files)


def _sealed(entries: list[dict[str, Any]], number: int, last: str, signer: AuditChain | None) -> list[str]:
    """A segment, or an export, numbered and chained anew in place; signed anew when the key is there."""
    header = entries[0]
    header["first"], header["previous"] = number + 1, last
    if signer is not None:
        header["public_key"] = signer.public_key
    told = Manifest(number + 1, header["scope"], header["exported_at"])
    for entry in entries[1:]:
        if entry["kind"] == "event":
            number += 1
            entry["sequence"] = number
            last = entry["hash"] = link(last, event_digest(entry))
            told.shown += 1
        elif entry["kind"] == "checkpoint":
            entry["sequence"], entry["hash"] = number, last
            if signer is not None:
                entry["seal"] = signer.seal(number, last)
            told.add_checkpoint(number, last, entry["seal"])
        elif entry["kind"] == "pruned":
            told.pruned = entry["seal"]
        elif signer is not None:
            told.sequence, told.last = number, last
            entry["seal"] = signer.sign(told)
    return [json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n" for entry in entries]


def _forged(case: Case, lines: list[str]) -> Case:
    """The platform's own log, chained and signed anew with the platform's own key."""
    entries = [json.loads(line) for line in lines]
    header = entries[0]
    log = _sealed(entries, header["first"] - 1, header["previous"], case.chain)
    return replace(case, log=log, beside=True)
