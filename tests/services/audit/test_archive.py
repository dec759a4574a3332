"""The log goes to write-once storage once, whatever happens on the way, and what is there is the measure."""

import multiprocessing
import os
import shutil
import signal
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from ml_platform.contracts.audit import AuditArchiveState
from ml_platform.integrations.writeonce import ArchiveDirectory
from ml_platform.sdk.auditfile import verify_file
from ml_platform.services.audit import segments
from tests.services.audit.conftest import ON_SQLITE
from tests.support.audit import Trail


class _Dies(ArchiveDirectory):
    """The process is killed behind an upload, before anything notes it."""

    def put(self, name: str, content: bytes, keep_until: datetime) -> bool:
        super().put(name, content, keep_until)
        os.kill(os.getpid(), signal.SIGKILL)
        return True


def _archive_and_die(url: str, home: Path) -> None:
    trail = Trail(url, home)
    trail.new_archiver(_Dies(trail.root)).run()


class TestCopying:
    def test_everything_up_to_now_stands_there_in_files_that_nobody_writes(self, trail: Trail) -> None:
        trail.append(3)
        trail.checkpoints.write()
        trail.append(4)
        assert trail.archiver.run() == 7
        names = sorted(trail.files())
        assert [name for name in names if name.startswith("segments/")] == [
            "segments/00000000000000000001.jsonl.gz"
        ]
        assert len([name for name in names if name.startswith("checkpoints/00000000000000000007-")]) == 1
        assert len(names) == 2
        assert {stat.S_IMODE((trail.root / name).stat().st_mode) for name in names} == {0o444}
        found = trail.verified()
        assert (found.verified, found.events, found.checkpoints) == (True, 7, 2), found.findings
        assert found.until is not None
        alone = verify_file(trail.root / names[1], trail.chain.public_key)
        assert (alone.verified, alone.events, alone.checkpoints) == (True, 7, 1)

    @ON_SQLITE
    def test_nothing_is_written_when_nothing_happened(self, trail: Trail) -> None:
        trail.append(3)
        trail.archiver.run()
        before = trail.files()
        assert trail.archiver.run() == 0
        assert trail.files() == before
        trail.append(2)
        assert trail.archiver.run() == 2
        assert trail.compared().verified

    @ON_SQLITE
    def test_a_long_log_becomes_several_segments(self, trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(segments, "MOST_EVENTS", 4)
        trail.append(10)
        assert trail.archiver.run() == 10
        assert len([name for name in trail.files() if name.startswith("segments/")]) == 3
        assert trail.compared().verified

    @ON_SQLITE
    def test_a_new_place_gets_the_whole_log_again(self, trail: Trail, tmp_path: Path) -> None:
        trail.append(3)
        trail.archiver.run()
        elsewhere = ArchiveDirectory(tmp_path / "elsewhere")
        trail.append(2)
        assert trail.new_archiver(elsewhere).run() == 5
        trail.root = tmp_path / "elsewhere"
        assert trail.compared().verified

    def test_several_processes_copy_each_event_once(
        self, trail: Trail, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(segments, "MOST_EVENTS", 3)
        archivers = [trail.new_archiver() for _ in range(3)]
        done = threading.Event()

        def copy(number: int) -> None:
            while not done.is_set():
                archivers[number].run()

        threads = [threading.Thread(target=copy, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        trail.append(40)
        done.set()
        for thread in threads:
            thread.join()
        for archiver in archivers:
            archiver.run()
            assert archiver.status().state is AuditArchiveState.OK, archiver.status().detail
        found = trail.compared()
        assert (found.verified, found.events) == (True, 40), found.findings


class TestKilledBehindAnUpload:
    @pytest.mark.parametrize("more", [0, 5])
    def test_what_stands_there_is_taken_over(self, trail: Trail, more: int) -> None:
        trail.append(4)
        trail.database.close()
        process = multiprocessing.get_context("spawn").Process(
            target=_archive_and_die, args=(trail.url, trail.home)
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert [name for name in trail.files() if "/." not in name] == [
            "segments/00000000000000000001.jsonl.gz"
        ]
        trail.append(more)
        archiver = trail.new_archiver()
        assert archiver.run() == 4 + more
        assert archiver.status().state is AuditArchiveState.OK
        found = trail.compared()
        assert (found.verified, found.events) == (True, 4 + more), found.findings

    def test_other_content_is_an_alarm_and_stays_as_it_is(self, trail: Trail) -> None:
        trail.append(2)
        forged = b"\x1f\x8b something else"
        trail.store.put("segments/00000000000000000001.jsonl.gz", forged, datetime.now(UTC))
        for _ in range(2):
            assert trail.archiver.run() == 0
            status = trail.archiver.status()
            assert (status.state, status.backlog_events) == (AuditArchiveState.CONFLICT, 2)
            assert "cannot be read" in (status.detail or "")
        assert trail.files()["segments/00000000000000000001.jsonl.gz"] == forged
        assert trail.archiver.conflict
        trail.append(1)  # and whoever works goes on

    @ON_SQLITE
    def test_a_segment_of_another_installation_is_an_alarm(self, trail: Trail, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = Trail(f"sqlite:///{tmp_path}/other/audit.db", tmp_path / "other", key=b"x" * 32)
        other.store = trail.store
        other.append(2)
        other.new_archiver().run()
        other.close()
        trail.append(2)
        trail.archiver.run()
        assert trail.archiver.status().state is AuditArchiveState.CONFLICT


@ON_SQLITE
class TestStorageThatIsAway:
    def test_holds_up_nobody_and_gets_everything_afterwards(self, trail: Trail) -> None:
        trail.append(2)
        trail.archiver.run()
        shutil.move(trail.root, trail.home / "away")
        trail.root.write_text("in the way")
        trail.append(3)
        for attempt in (1, 2):
            assert trail.archiver.run() == 0
            status = trail.archiver.status()
            assert (status.state, status.backlog_events) == (AuditArchiveState.FAILING, 3)
            assert trail.archiver.failures == attempt
        trail.root.unlink()
        shutil.move(trail.home / "away", trail.root)
        assert trail.archiver.run() == 3
        assert trail.archiver.status().state is AuditArchiveState.OK
        assert trail.archiver.backlog() == (0, 0.0)
        assert trail.compared().verified

    def test_is_late_when_events_wait_for_long(self, trail: Trail) -> None:
        trail.moment = datetime.now(UTC) - timedelta(hours=1)
        trail.append(1)
        status = trail.archiver.status()
        assert (status.state, status.backlog_events) == (AuditArchiveState.LATE, 1)
        assert status.backlog_seconds >= 3600

    def test_nothing_new_is_begun_when_the_process_stops(self, trail: Trail) -> None:
        trail.append(1)
        trail.archiver.close()
        assert trail.archiver.run() == 0
        assert not trail.root.exists()


class TestALogThatWasRewritten:
    """Also by somebody who has the private key: the archive is another than the log then."""

    def test_is_found_by_the_process_that_copies(self, trail: Trail) -> None:
        trail.append(6)
        trail.archiver.run()
        trail.rechain(lambda rows: setattr(rows[2], "actor_name", "somebody else"), last=6)
        trail.append(2)
        assert trail.verifier.verify().events == 8
        trail.archiver.run()
        assert trail.archiver.status().state is AuditArchiveState.CONFLICT
        assert "edited" in trail.kinds(trail.compared())

    def test_is_found_by_a_process_that_starts_even_if_its_notes_were_forged(self, trail: Trail) -> None:
        trail.append(6)
        trail.archiver.run()
        trail.rechain(lambda rows: setattr(rows[2], "actor_name", "somebody else"), last=6)
        trail.tamper("UPDATE audit_segments SET hash = (SELECT hash FROM audit_events WHERE sequence = 6)")
        trail.append(2)
        archiver = trail.new_archiver()
        archiver.run()
        assert archiver.status().state is AuditArchiveState.CONFLICT

    @ON_SQLITE
    @pytest.mark.parametrize("fresh", [False, True])
    @pytest.mark.parametrize(("last", "more"), [(3, 0), (4, 0), (3, 1), (4, 5)])
    def test_a_cut_end_is_found_with_the_notes_put_back_too(
        self, trail: Trail, *, fresh: bool, last: int, more: int
    ) -> None:
        trail.append(3)
        trail.archiver.run()
        trail.append(3)
        trail.archiver.run()
        trail.rechain(last=last)
        trail.tamper("DELETE FROM audit_segments WHERE first > 3")
        trail.append(more)
        archiver = trail.new_archiver() if fresh else trail.archiver
        archiver.run()
        assert archiver.status().state is AuditArchiveState.CONFLICT
        assert trail.kinds(trail.compared()) >= ({"truncated"} if more == 0 else {"edited"})

    @ON_SQLITE
    def test_events_without_the_key_behind_them_never_come_into_the_archive(self, trail: Trail) -> None:
        trail.append(4)
        trail.tamper("UPDATE audit_events SET actor_name = 'somebody else' WHERE sequence = 3")
        assert trail.archiver.run() == 0
        assert trail.archiver.status().state is AuditArchiveState.CONFLICT
        assert not trail.root.exists()

    @ON_SQLITE
    def test_an_altered_archive_is_found_by_a_process_that_starts(self, trail: Trail) -> None:
        trail.append(4)
        trail.archiver.run()
        [segment] = (trail.root / "segments").iterdir()
        segment.chmod(0o644)
        segment.write_bytes(segment.read_bytes()[:-3])
        archiver = trail.new_archiver()
        archiver.run()
        assert archiver.status().state is AuditArchiveState.CONFLICT


class TestTheNotes:
    def test_are_one_a_segment(self, trail: Trail) -> None:
        trail.append(2)
        trail.archiver.run()
        trail.append(3)
        trail.archiver.run()
        with trail.database.read() as session:
            rows = session.execute(
                text("SELECT first, last, location FROM audit_segments ORDER BY first")
            ).all()
        assert rows == [(1, 2, str(trail.root)), (3, 5, str(trail.root))]


@ON_SQLITE
class TestCheckpoints:
    def test_are_followed_as_they_are_written_whole_lines_at_a_time(self, trail: Trail) -> None:
        tail, file = trail.checkpoints.tail(), trail.home / "checkpoints.jsonl"
        assert tail.between(0, 99) == []
        trail.append(1)
        trail.checkpoints.write()
        whole = file.read_bytes()
        file.write_bytes(whole + b"no checkpoint\n" + whole.replace(b'"sequence": 1', b'"sequence": 2')[:-1])
        assert [point.sequence for point in tail.between(0, 99)] == [1]
        with file.open("ab") as more:
            more.write(b"\n")
        assert [point.sequence for point in tail.between(0, 99)] == [1, 2]
        assert [point.sequence for point in tail.between(0, 1)] == [1]
        assert [point.sequence for point in tail.between(1, 99)] == [2]
