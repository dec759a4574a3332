"""Events leave the database when they are old enough and stand in the archive, and never else."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ml_platform.contracts.audit import AuditArchiveState
from ml_platform.contracts.auditchain import verify_export
from ml_platform.integrations.writeonce import ArchiveDirectory
from ml_platform.kit.errors import UnavailableError
from ml_platform.services.access import Actor
from ml_platform.services.audit import AuditService, segments
from tests.services.audit.conftest import ON_SQLITE
from tests.support.audit import KEPT, RETENTION_DAYS, Trail

OLD, KEPT_EVENTS, NEW = 10, 2, 5


@pytest.fixture
def pruned(trail: Trail) -> Trail:
    """Ten events of eight years ago were removed, two of them are kept; five of today, and that of the pruning."""
    trail.archive_old_and_new()
    assert trail.new_pruner().run() == OLD
    trail.archiver.run()
    return trail


def count(trail: Trail, table: str) -> int:
    with trail.database.read() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


class TestWhatMayGo:
    def test_old_events_go_and_all_that_is_left_verifies(self, pruned: Trail) -> None:
        found = pruned.verifier.verify()
        assert (found.verified, found.events, found.pruned) == (True, NEW + 1, OLD), found.findings
        assert count(pruned, "audit_kept_events") == KEPT_EVENTS
        lines = list(pruned.exporter.lines(team_id=None))
        export = verify_export(lines, pruned.chain.public_key)
        assert (export.verified, export.events, export.pruned) == (True, NEW + 1, OLD), export.findings
        for result in (pruned.verified(), pruned.compared()):
            assert (result.verified, result.events) == (True, OLD + NEW + 1), result.findings
        status = pruned.archiver.status()
        assert (status.state, status.pruned, status.archived) == (AuditArchiveState.OK, OLD, OLD + NEW + 1)

    def test_the_pruning_is_an_event(self, pruned: Trail) -> None:
        with pruned.factory.begin(Actor.system("test"), write=False) as work:
            [event] = AuditService(work).list_events(
                action="audit.prune", resource=None, actor=None, before=None, limit=5
            )
        assert (event.resource_id, event.actor_name) == (f"1-{OLD}", "audit")
        assert event.after is not None
        assert event.after["pruned"] == OLD
        assert event.context["retention_days"] == RETENTION_DAYS

    @ON_SQLITE
    def test_the_rest_is_exported_in_part_and_for_a_team(self, pruned: Trail) -> None:
        for lines in (
            pruned.exporter.lines(team_id=None, first=13),
            pruned.exporter.lines(team_id="team_1", first=3),
            pruned.exporter.lines(team_id="team_2"),
        ):
            result = verify_export(list(lines), pruned.chain.public_key)
            assert result.verified, result.findings

    @ON_SQLITE
    def test_it_goes_on_when_more_is_old(self, pruned: Trail) -> None:
        before = pruned.verified().events
        with pruned.years_ago(7.5):  # a clock that was put right since
            pruned.append(3, KEPT)
        pruned.archiver.run()
        assert pruned.new_pruner().run() == 0  # events of today stand before them
        assert pruned.verified().events == before + 3

    def test_nothing_goes_that_is_younger(self, trail: Trail) -> None:
        with trail.years_ago(6.9):
            trail.append(5)
        trail.archiver.run()
        assert trail.new_pruner().run() == 0
        assert count(trail, "audit_events") == 5

    @ON_SQLITE
    def test_nothing_goes_that_is_not_in_the_archive(self, trail: Trail) -> None:
        with trail.years_ago(8):
            trail.append(5)
        assert trail.new_pruner().run() == 0
        assert count(trail, "audit_events") == 5

    @ON_SQLITE
    def test_a_segment_that_is_old_in_part_stays_whole(self, trail: Trail) -> None:
        with trail.years_ago(8):
            trail.append(3)
        trail.append(1)
        trail.archiver.run()
        assert trail.new_pruner().run() == 0

    @ON_SQLITE
    @pytest.mark.parametrize("damage", ["cut", "gone", "another"])
    def test_nothing_goes_while_its_segment_is_not_as_it_was(self, trail: Trail, damage: str) -> None:
        trail.archive_old_and_new()
        first, second, _ = sorted((trail.root / "segments").iterdir())
        first.chmod(0o644)
        if damage == "cut":
            first.write_bytes(first.read_bytes()[:-9])
        elif damage == "gone":
            first.unlink()
        else:
            first.write_bytes(second.read_bytes())
        assert trail.new_pruner().run() == 0
        assert count(trail, "audit_events") == OLD + NEW
        trail.archiver.run()
        assert trail.archiver.status().state is AuditArchiveState.CONFLICT

    @ON_SQLITE
    def test_nothing_goes_when_the_log_is_another_than_the_archive(self, trail: Trail) -> None:
        trail.archive_old_and_new()
        trail.tamper("UPDATE audit_events SET actor_name = 'somebody else' WHERE sequence = 8")
        assert trail.new_pruner().run() == 0
        assert count(trail, "audit_events") == OLD + NEW

    @ON_SQLITE
    def test_nothing_goes_while_the_archive_is_away(self, trail: Trail) -> None:
        trail.archive_old_and_new()
        trail.root.rename(trail.home / "away")
        trail.root.write_text("in the way")
        assert trail.new_pruner().run() == 0
        assert count(trail, "audit_events") == OLD + NEW


class _FailsBehindTheAnchor(ArchiveDirectory):
    def put(self, name: str, content: bytes, keep_until: datetime) -> bool:
        super().put(name, content, keep_until)
        raise UnavailableError("the connection broke when it was written")


class TestCutOff:
    def test_behind_the_anchor_it_is_done_the_next_time_with_that_anchor(self, trail: Trail) -> None:
        trail.archive_old_and_new()
        assert trail.new_pruner(_FailsBehindTheAnchor(trail.root)).run() == 0
        [anchor] = (trail.root / "pruned").iterdir()
        written = json.loads(anchor.read_bytes())
        assert count(trail, "audit_events") == OLD + NEW
        assert trail.new_pruner().run() == OLD
        with trail.database.read() as session:
            noted = session.execute(text("SELECT sequence, seal FROM audit_anchors")).all()
        assert noted == [(OLD, written["seal"])]
        assert trail.verifier.verify().verified
        assert trail.compared().verified


class TestTheDatabaseItself:
    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM audit_events WHERE sequence = 11",
            "DELETE FROM audit_events",
            "UPDATE audit_events SET action = 'x'",
            "DELETE FROM audit_anchors",
            "UPDATE audit_anchors SET sequence = 15",
            "DELETE FROM audit_kept_events",
            "UPDATE audit_kept_events SET action = 'x'",
        ],
    )
    def test_refuses_to_let_go_what_no_anchor_stands_for(self, pruned: Trail, statement: str) -> None:
        with pytest.raises(DBAPIError, match="append-only"), pruned.database.engine.begin() as connection:
            connection.execute(text(statement))

    @pytest.mark.parametrize(("days", "age"), [(RETENTION_DAYS, RETENTION_DAYS - 1), (1, 0), (0, 5), (-9, 0)])
    def test_takes_no_anchor_for_what_is_within_its_retention(
        self, trail: Trail, days: int, age: int
    ) -> None:
        trail.append(3)
        now = datetime.now(UTC)
        anchor = {"before": (now - timedelta(days=age)).strftime("%Y-%m-%d %H:%M:%S.%f"), "days": days}
        zone = "" if trail.database.is_sqlite else "+00"
        statement = text(
            "INSERT INTO audit_anchors (sequence, hash, before, retention_days, pruned_at, kept, kept_digest,"
            f" location, seal) VALUES (3, 'x', '{anchor['before']}{zone}', :days, '{anchor['before']}{zone}',"
            " 0, 'x', 'x', 'x')"
        )
        with (
            pytest.raises(DBAPIError, match="within their retention"),
            trail.database.engine.begin() as connection,
        ):
            connection.execute(statement, {"days": days})

    def test_does_not_go_by_an_anchor_alone_but_by_the_age_of_each_event(self, trail: Trail) -> None:
        """Also whoever can sign: an anchor of long ago opens nothing of today."""
        trail.append(3)
        before = "2001-01-01 00:00:00.000000" + ("" if trail.database.is_sqlite else "+00")
        with trail.database.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO audit_anchors (sequence, hash, before, retention_days, pruned_at, kept,"
                    f" kept_digest, location, seal) VALUES (3, 'x', '{before}', 1, '{before}', 0, 'x', 'x', 'x')"
                )
            )
        with pytest.raises(DBAPIError, match="append-only"), trail.database.engine.begin() as connection:
            connection.execute(text("DELETE FROM audit_events WHERE sequence <= 3"))
        assert "forged" in trail.kinds(trail.verifier.verify())


@ON_SQLITE
class TestTamperingBehindAnAnchor:
    @pytest.mark.parametrize(
        ("kind", "statements"),
        [
            ("missing", ["DELETE FROM audit_anchors"]),
            ("forged", ["UPDATE audit_anchors SET retention_days = 3"]),
            (
                "forged",
                ["UPDATE audit_anchors SET sequence = 12", "DELETE FROM audit_events WHERE sequence < 13"],
            ),
            ("missing", ["DELETE FROM audit_events WHERE sequence = 11"]),
            ("edited", ["UPDATE audit_kept_events SET actor_name = 'somebody else' WHERE sequence = 7"]),
            ("edited", ["DELETE FROM audit_kept_events WHERE sequence = 8"]),
        ],
    )
    def test_is_found(self, pruned: Trail, kind: str, statements: list[str]) -> None:
        pruned.tamper(*statements)
        assert kind in pruned.kinds(pruned.verifier.verify())

    def test_an_export_whose_anchor_was_left_out_or_changed_is_found(self, pruned: Trail) -> None:
        lines = list(pruned.exporter.lines(team_id=None))
        assert '"kind":"pruned"' in lines[1]
        for changed in (
            [lines[0], *lines[2:]],
            [lines[0], lines[1].replace('"retention_days":2557', '"retention_days":1'), *lines[2:]],
            [lines[0], lines[1], lines[1], *lines[2:]],
        ):
            assert not verify_export(changed, pruned.chain.public_key).verified


@ON_SQLITE
class TestAnArchiveWhoseOldestFilesAreGone:
    """A life cycle rule may delete what is out of its lock."""

    def test_verifies_by_the_anchor(self, pruned: Trail) -> None:
        first, second, *_ = sorted((pruned.root / "segments").iterdir())
        first.unlink()
        found = pruned.verified()
        assert (found.verified, found.pruned) == (True, 6), found.findings
        second.unlink()
        found = pruned.verified()
        assert (found.verified, found.pruned, found.events) == (True, OLD, NEW + 1), found.findings
        assert pruned.compared().verified

    def test_does_not_without_one_or_beyond_it(self, pruned: Trail) -> None:
        first, second, third, *_ = sorted((pruned.root / "segments").iterdir())
        for path in (first, second, third):
            path.unlink()
        assert pruned.kinds(pruned.verified()) == {"missing"}

    def test_does_not_when_the_anchor_is_not_ours(self, pruned: Trail) -> None:
        min((pruned.root / "segments").iterdir()).unlink()
        [anchor] = (pruned.root / "pruned").iterdir()
        anchor.chmod(0o644)
        anchor.write_bytes(anchor.read_bytes().replace(b'"kept":2', b'"kept":1'))
        assert pruned.kinds(pruned.verified()) == {"forged", "missing"}


@ON_SQLITE
class TestANewPlace:
    def test_that_gets_what_is_left_verifies_by_the_anchor(self, pruned: Trail) -> None:
        pruned.root = pruned.home / "elsewhere"
        archiver = pruned.new_archiver(ArchiveDirectory(pruned.root))
        assert archiver.run() == NEW + 1
        for found in (pruned.verified(), pruned.compared()):
            assert (found.verified, found.pruned, found.events) == (True, OLD, NEW + 1), found.findings


@ON_SQLITE
class TestALogThatWasCutAtItsBeginning:
    """By somebody who can sign: the archive has no such anchor, or another event there."""

    def test_is_found_beside_the_archive(self, trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(segments, "MOST_EVENTS", 5)
        trail.archive_old_and_new()
        store = ArchiveDirectory(trail.home / "of the forger")
        trail.archiver = trail.new_archiver(store)
        trail.archiver.run()
        assert trail.new_pruner(store).run() == OLD
        assert trail.verifier.verify().verified
        assert trail.verified().verified
        assert trail.kinds(trail.compared()) == {"missing"}


class TestWhatOthersRead:
    def test_the_last_event_of_a_moment_is_found_before_and_behind_the_anchor(self, pruned: Trail) -> None:
        pruned.append(1, KEPT)
        with pruned.factory.begin(Actor.system("test", team_id="team_1"), write=False) as work:
            service, now = AuditService(work), datetime.now(UTC)
            then = now - timedelta(days=7.9 * 365.25)
            newest, old = service.last_event("t1", {KEPT}, now), service.last_event("t1", {KEPT}, then)
            assert newest is not None
            assert old is not None
            assert (newest.sequence, old.sequence) == (OLD + NEW + 2, 8)
            assert service.last_event("t1", {KEPT}, now - timedelta(days=9 * 365.25)) is None
        with pruned.factory.begin(Actor.system("test", team_id="team_2"), write=False) as work:
            assert AuditService(work).last_event("t1", {KEPT}, now) is None
