"""An export is checked with nothing but itself, and whatever is done to it is found."""

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_platform.contracts.auditchain import HASHED, event_digest, link
from ml_platform.kit.db import Database
from ml_platform.sdk.auditfile import verify_file
from ml_platform.sdk.errors import InvalidInputError
from ml_platform.server import schema
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.audit import AuditChain, AuditExporter, CheckpointFile
from tests.support.platform import RunningPlatform

EVENTS = 40
TAMPERINGS = int(os.environ.get("AUDIT_TAMPERINGS", "1000"))


class Exported:
    """A log of two teams with checkpoints in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(f"sqlite:///{home}/audit.db")
        schema.upgrade(self.database, lock_file=home / "lock")
        self.chain = AuditChain(b"k" * 32)
        checkpoints = CheckpointFile(home / "checkpoints.jsonl", self.database, self.chain)
        self.exporter = AuditExporter(self.database, self.chain, checkpoints)
        factory = WorkFactory(self.database, _Nobody(), self.chain)
        for number in range(EVENTS):
            actor = Actor.system("test", team_id=f"team_{number % 2}")
            with factory.begin(actor) as work:
                work.record("thing.change", "thing", f"t{number}", after={"n": number, "x": 1e20, "y": 0.1})
            if number % 10 == 5:
                checkpoints.write()

    def lines(self, team_id: str | None = None, first: int = 1) -> list[str]:
        return list(self.exporter.lines(team_id=team_id, first=first))

    def verified(self, lines: list[str], key: str | None = None) -> bool:
        file = self.home / "export.jsonl"
        file.write_text("".join(lines), encoding="utf-8")
        return verify_file(file, key).verified


class _Nobody:
    def decide(self, *_: object) -> Any:
        raise AssertionError


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    made = Exported(tmp_path_factory.mktemp("audit"))
    yield made
    made.database.close()


class TestAnUntouchedOne:
    def test_verifies_whole_in_part_and_for_one_team(self, exported: Exported) -> None:
        key = exported.chain.public_key
        for lines in (exported.lines(), exported.lines(first=17), exported.lines("team_1")):
            assert exported.verified(lines, key)
            assert exported.verified(lines)

    def test_shows_a_team_its_own_events_alone(self, exported: Exported) -> None:
        text = "".join(exported.lines("team_1"))
        assert text.count('"kind":"event"') == text.count('"kind":"other"') == EVENTS // 2
        assert '"t0"' not in text
        assert '"t1"' in text

    def test_is_read_packed_too(self, exported: Exported, tmp_path: Path) -> None:
        with gzip.open(tmp_path / "log.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(exported.lines())
        result = verify_file(tmp_path / "log.jsonl.gz")
        assert (result.verified, result.events, result.checkpoints) == (True, EVENTS, 4)


class TestTampering:
    """By somebody who has the export and knows its form, but not the private key."""

    @pytest.mark.timeout(600)
    def test_of_every_kind_is_found(self, exported: Exported) -> None:
        chance = random.Random(20260301)
        lines, older = exported.lines(), exported.lines()
        assert lines[0] != older[0] or lines[-1] != older[-1]
        missed = []
        for number in range(TAMPERINGS):
            kind = TAMPERERS[number % len(TAMPERERS)]
            changed = kind(list(lines), older, chance)
            if changed != lines and exported.verified(changed):
                missed.append((number, kind.__name__))
        assert not missed

    def test_a_log_made_anew_with_another_key_is_not_ours(self, exported: Exported, tmp_path: Path) -> None:
        chain = AuditChain(b"x" * 32)
        exporter = AuditExporter(
            exported.database, chain, CheckpointFile(tmp_path / "none", exported.database, chain)
        )
        lines = list(exporter.lines(team_id=None))
        assert exported.verified(lines)
        assert not exported.verified(lines, exported.chain.public_key)

    @pytest.mark.parametrize("content", ["", "{}", "nonsense\n", "[1]", '{"kind":"header","format":2}'])
    def test_what_is_no_export_is_not_verified(self, exported: Exported, content: str) -> None:
        assert not exported.verified([content])

    def test_what_cannot_be_read_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "bytes").write_bytes(b"\xff\xfe")
        (tmp_path / "broken.gz").write_bytes(b"no gzip")
        for name in ("bytes", "broken.gz", "nowhere"):
            with pytest.raises(InvalidInputError):
                verify_file(tmp_path / name)


Tamperer = Callable[[list[str], list[str], random.Random], list[str]]


def edit_a_field(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    at = _event(lines, chance)
    event = json.loads(lines[at])
    event[chance.choice([*HASHED, "hash"])] = chance.choice(["x", 7, None, {"a": 1}, 1.0, True])
    lines[at] = json.dumps(event, separators=(",", ":")) + "\n"
    return lines


def add_a_field(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(1, len(lines) - 1)
    lines[at] = lines[at].replace("{", '{"note":"approved",', 1)
    return lines


def name_a_field_twice(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    at = _event(lines, chance)
    lines[at] = lines[at].replace("{", '{"actor_name":"somebody else",', 1)
    return lines


def leave_a_line_out(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    del lines[chance.randrange(len(lines))]
    return lines


def put_a_line_in_twice(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    lines.insert(chance.randrange(1, len(lines)), lines[chance.randrange(1, len(lines))])
    return lines


def swap_two_lines(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return lines


def cut_the_end(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    return lines[: chance.randrange(1, len(lines))]


def cut_before_the_footer(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    return [*lines[: chance.randrange(1, len(lines) - 1)], lines[-1]]


def chain_anew_behind_an_edit(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    """Edits or deletes an event and computes every hash behind it anew, the numbers too."""
    at = _event(lines, chance)
    entries = [json.loads(line) for line in lines]
    if chance.random() < 0.5:
        entries[at]["actor_name"] = "somebody else"
    else:
        del entries[at]
    number, last = entries[0]["first"] - 1, entries[0]["previous"]
    for entry in entries:
        if entry["kind"] == "event":
            number += 1
            entry["sequence"] = number
            last = entry["hash"] = link(last, event_digest(entry))
        elif entry["kind"] == "checkpoint":
            entry["sequence"], entry["hash"] = number, last
    return [json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries]


def hide_an_event_behind_its_digest(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    at = _event(lines, chance)
    event = json.loads(lines[at])
    other = {"kind": "other", "sequence": event["sequence"], "digest": event_digest(event)}
    lines[at] = json.dumps(other | {"hash": event["hash"]}, separators=(",", ":")) + "\n"
    return lines


def change_the_header(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    header = json.loads(lines[0])
    name = chance.choice(["first", "previous", "scope", "exported_at", "public_key", "format"])
    header[name] = 5 if name in ("first", "format") else "0" * 63 + "1"
    lines[0] = json.dumps(header) + "\n"
    return lines


def take_the_footer_of_another_export(lines: list[str], older: list[str], _: random.Random) -> list[str]:
    return [*lines[:-1], older[-1]]


def change_the_signature(lines: list[str], _: list[str], chance: random.Random) -> list[str]:
    footer = json.loads(lines[-1])
    at = chance.randrange(len(footer["seal"]))
    footer["seal"] = footer["seal"][:at] + chance.choice("0123456789abcdefg") + footer["seal"][at + 1 :]
    lines[-1] = json.dumps(footer, separators=(",", ":")) + "\n"
    return lines


TAMPERERS: list[Tamperer] = [
    edit_a_field, add_a_field, name_a_field_twice, leave_a_line_out, put_a_line_in_twice, swap_two_lines, cut_the_end,
    cut_before_the_footer, chain_anew_behind_an_edit, hide_an_event_behind_its_digest, change_the_header,
    take_the_footer_of_another_export, change_the_signature,
]  # fmt: skip


def _event(lines: list[str], chance: random.Random) -> int:
    return chance.choice([n for n, line in enumerate(lines) if '"kind":"event"' in line])


class TestOverTheApi:
    def test_an_auditor_exports_and_checks_without_the_platform(
        self, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        auditor = platform.new_user(platform.new_team("watched"), "auditor")
        stranger = platform.new_user(auditor.team, "viewer")
        assert stranger.client.get("/audit/export").status_code == 403
        key = auditor.client.get("/audit/key").json()["public_key"]
        for client in (auditor.client, platform.admin):
            answer = client.get("/audit/export")
            assert answer.headers["content-type"].startswith("application/x-ndjson")
            (tmp_path / "log.jsonl").write_bytes(answer.content)
            result = verify_file(tmp_path / "log.jsonl", key)
            assert result.verified, result.findings
            assert result.events > 0

    def test_the_archive_is_off_unless_it_is_asked_for(self, platform: RunningPlatform) -> None:
        found = platform.admin.get("/audit/archive").json()
        assert (found["state"], found["location"], found["prune"]) == ("off", None, False)

    def test_events_are_found_by_kind_and_time(self, platform: RunningPlatform) -> None:
        platform.new_team("later")
        newest = platform.admin.get("/audit/events?kind=team&limit=1").json()["items"][0]
        assert newest["resource_kind"] == "team"
        found = platform.admin.get("/audit/events", params={"since": newest["at"], "kind": "team"}).json()[
            "items"
        ]
        assert newest in found
        before = platform.admin.get("/audit/events", params={"until": newest["at"], "kind": "team"}).json()[
            "items"
        ]
        assert newest not in before
        for odd in ("2026-03-01T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon"):
            assert platform.admin.get("/audit/events", params={"since": odd}).status_code == 422, odd
