"""The prediction log: complete, typed, readable by DuckDB and Polars, and safe from a kill."""

import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import polars as pl
from msgspec import structs

from ml_platform.inference.predictionlog.retention import prune
from ml_platform.inference.predictionlog.roll import roll
from ml_platform.inference.predictionlog.schema import COLUMNS
from ml_platform.inference.predictionlog.spool import Record, SegmentHeader, SegmentWriter, has_complete
from ml_platform.inference.predictionlog.writer import PredictionLog
from ml_platform.integrations.inference import InferenceClient
from ml_platform.integrations.predictionlog import LocalPredictionLog
from ml_platform.kit.clock import utc_now

from .support.control import ADMIN, CALLER, endpoint, revision, snapshot
from .support.server import eventually

HEADER = SegmentHeader(
    team="acme",
    environment="production",
    endpoint="churn",
    deployment_id="dep-1",
    revision_id="rev-1",
    model_name="churn",
    model_version="3",
    columns=(("tenure", "long"), ("plan", "string"), ("score", "double")),
)


def record(number: int, rows=((1, "a", 0.5),), predictions=(0.25,), at: int | None = None) -> Record:
    return Record(
        f"req-{number}", at or time.time_ns() // 1000, 1500, 200, None, rows, list(predictions), None
    )


def read(root) -> "duckdb.DuckDBPyRelation":
    return duckdb.sql(
        f"SELECT * FROM read_parquet('{root}/**/*.parquet', hive_partitioning=true, union_by_name=true)"
    )


class TestLog:
    def test_holds_every_prediction_of_a_server(self, control, make_server, churn):
        control.publish(snapshot(1, endpoint(revision(churn.bundle, model_version="9"))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        answers = [server.predict(churn.instances(3), x_request_id=f"mine-{i}").json() for i in range(20)]
        server.predict([{"tenure": "x"}])  # refused: no prediction
        root = server.state / "predictions" / "log"
        eventually(lambda: list(root.rglob("*.parquet")) and len(read(root)) == 60, "60 logged predictions")
        rows = read(root)
        first = rows.filter("request_id = 'mine-0' AND instance = 1").fetchall()
        names = dict(zip(rows.columns, first[0], strict=True))
        assert names["prediction"] == answers[0]["predictions"][1]
        assert names["model_version"] == "9"
        assert (names["team"], names["environment"], names["endpoint"]) == ("acme", "production", "churn")
        assert names["f_tenure"] == churn.instances(2)[1]["tenure"]
        assert names["f_contract"] == churn.instances(2)[1]["contract"]
        assert 0 < names["latency_ms"] < 5000
        frame = pl.scan_parquet(f"{root}/**/*.parquet", hive_partitioning=True).collect()
        assert frame.height == 60
        assert frame["f_monthly_charges"].dtype == pl.Float64
        assert frame["time"].dtype == pl.Datetime("us", "UTC")

    def test_loses_at_most_a_second_when_a_worker_is_killed(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        for i in range(50):
            server.predict([[float(i)]])
        time.sleep(1)  # the promise is about what is older than this
        server.kill_worker(server.worker_pids()[0])
        root = server.state / "predictions" / "log"
        eventually(lambda: any(root.rglob("*.parquet")) and len(read(root)) == 50, "the dead worker's spool")

    def test_loses_at_most_a_second_when_everything_is_killed(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=2, log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        for i in range(50):
            server.predict([[float(i)]])
        time.sleep(1)  # the promise is about what is older than this
        pids = server.worker_pids()
        server.kill()
        for pid in pids:
            server.kill_worker(pid)
        server.start()
        root = server.state / "predictions" / "log"
        eventually(lambda: any(root.rglob("*.parquet")) and len(read(root)) == 50, "the dead server's spool")
        assert len(set(read(root).project("request_id").fetchall())) == 50

    def test_is_complete_after_a_clean_stop(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        for i in range(7):
            server.predict([[float(i)]])
        assert server.stop() == 0
        assert len(read(server.state / "predictions" / "log")) == 7
        assert not list((server.state / "predictions" / "spool").iterdir())

    def test_never_holds_an_answer_up_when_the_disk_is_full(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_roll_seconds=600, log_spool_bytes=1).start()
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]]).status_code == 200

        def dropped() -> bool:
            assert server.predict([[1.0]]).status_code == 200
            return sum(worker.predictions_dropped for worker in server.status().workers) > 0

        eventually(dropped, "dropped and counted predictions")
        page = server.get("/metrics").text
        [count] = [line for line in page.splitlines() if line.startswith("prediction_log_dropped_total ")]
        assert float(count.split()[1]) > 0

    def test_leaves_the_disk_its_free_space(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_roll_seconds=0.5, log_free_bytes=1 << 60).start()
        server.has_applied(control.snapshot)

        def dropped() -> bool:
            assert server.predict([[1.0]]).status_code == 200
            return sum(worker.predictions_dropped for worker in server.status().workers) > 0

        eventually(dropped, "dropped and counted predictions")


class TestFlush:
    """`POST /internal/flush`: what was answered before stands in Parquet files when it answers."""

    def test_makes_parquet_of_everything_at_once(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=2, log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        sent = 0
        for _ in range(3):
            for i in range(20):
                assert server.predict([[float(i)]]).status_code == 200
            sent += 20
            assert flush(server).status_code == 200
            assert len(read(server.state / "predictions" / "log")) == sent

    def test_does_not_wait_for_a_worker_that_was_killed(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=2, log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        for i in range(40):
            server.predict([[float(i)]])
        time.sleep(1)  # the promise is about what is older than this
        server.kill_worker(server.worker_pids()[0])
        eventually(lambda: flush(server).status_code == 200, "a flush")
        assert len(read(server.state / "predictions" / "log")) == 40

    def test_says_so_when_the_files_cannot_be_written_and_loses_nothing(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        root = server.state / "predictions" / "log"
        root.write_text("in the way")
        assert server.predict([[1.0]]).status_code == 200
        answer = flush(server)
        assert answer.status_code == 503
        assert "could not be written" in answer.json()["error"]
        assert server.predict([[1.0]]).status_code == 200
        root.unlink()
        assert flush(server).status_code == 200
        assert len(read(root)) == 2

    def test_is_for_the_control_plane_alone(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        assert flush(server, token=None).status_code == 401
        assert flush(server, token=CALLER).status_code == 403
        assert server.get("/internal/flush").status_code == 405
        assert flush(server).json() == {"flushed": True}

    def test_completes_the_log_for_the_control_plane_and_time_does_without_it(
        self, control, make_server, one
    ):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        predictions = server.state / "predictions"
        client = InferenceClient(lambda: server.base, ADMIN)
        log = LocalPredictionLog(predictions / "log", predictions / "spool", flush=client.flush)
        alone = LocalPredictionLog(predictions / "log", predictions / "spool")
        server.predict([[1.0]])
        assert not alone.is_complete(utc_now())
        assert log.is_complete(utc_now())
        assert len(read(predictions / "log")) == 1
        server.predict([[1.0]])
        answered = utc_now()
        eventually(lambda: list((predictions / "spool").glob("*.spool")), "the spool")
        server.stop()
        assert not client.flush()
        eventually(lambda: log.is_complete(answered), "the log without the server")
        client.close()


def flush(server, token=ADMIN):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return server.client.post(f"{server.base}/internal/flush", headers=headers)


class TestTheDocumentation:
    def test_reads_a_log_with_duckdb_and_polars_as_it_says(self, tmp_path):
        root = tmp_path / "storage" / "predictions"
        for number, columns in enumerate(([["tenure", "long"]], [["plan", "string"], ["tenure", "long"]])):
            header = structs.replace(HEADER, revision_id=f"rev-{number}", columns=tuple(map(tuple, columns)))
            writer = SegmentWriter(tmp_path, f"{number}")
            writer.append(header, [_encoded(record(number, rows=(("a", 1)[-len(columns) :],)))])
            writer.close()
        roll(tmp_path, root)
        page = Path(__file__).parents[2] / "docs" / "serving.md"
        section = page.read_text().partition("\n## The prediction log")[2].partition("\n## ")[0]
        [code] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"MLOPS_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert "rev-0" in ran.stdout
        assert "rev-1" in ran.stdout
        assert "0.25" in ran.stdout


class TestRoll:
    def test_gives_every_file_the_published_columns_and_types(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a")
        writer.append(
            HEADER, [_encoded(record(1)), _encoded(record(2, rows=((None, None, None),), predictions=("x",)))]
        )
        writer.close()
        assert roll(tmp_path, tmp_path / "log").rows == 2
        (file,) = (tmp_path / "log").rglob("*.parquet")
        import pyarrow.parquet as pq

        schema = pq.read_schema(file)
        assert [(n, str(schema.field(n).type)) for n, _ in COLUMNS] == [
            (n, t.replace("us, UTC", "us, tz=UTC")) for n, t in COLUMNS
        ]
        assert [str(schema.field(f"f_{n}").type) for n in ("tenure", "plan", "score")] == [
            "int64",
            "string",
            "double",
        ]
        assert read(tmp_path / "log").project("prediction, prediction_json").order("1").fetchall() == [
            (0.25, "0.25"),
            (None, '"x"'),
        ]

    def test_leaves_segments_alone_that_are_being_written(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a")
        writer.append(HEADER, [_encoded(record(1))])
        assert not has_complete(tmp_path)
        assert roll(tmp_path, tmp_path / "log").rows == 0
        writer.close()
        assert has_complete(tmp_path)
        assert roll(tmp_path, tmp_path / "log").rows == 1

    def test_reads_up_to_a_torn_tail(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a")
        for number in range(3):
            writer.append(HEADER, [_encoded(record(number))])
        writer.close()
        data = writer.path.read_bytes()
        for cut in (1, 20):
            writer.path.write_bytes(data[:-cut])
            assert roll(tmp_path, tmp_path / f"log-{cut}").rows == 2

    def test_passes_over_a_segment_without_a_header(self, tmp_path):
        (tmp_path / "a.spool").write_bytes(b"\x00\x01")
        assert roll(tmp_path, tmp_path / "log").rows == 0
        assert not list(tmp_path.glob("*.spool"))

    def test_twice_doubles_nothing(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a")
        writer.append(HEADER, [_encoded(record(1))])
        writer.close()
        data = writer.path.read_bytes()
        roll(tmp_path, tmp_path / "log")
        writer.path.write_bytes(data)  # as after a crash between publishing and deleting
        roll(tmp_path, tmp_path / "log")
        assert len(read(tmp_path / "log")) == 1

    def test_is_not_held_up_by_a_record_that_does_not_fit_its_columns(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a")
        wrong = record(2, rows=(("no number", "a", 0.5),))
        writer.append(HEADER, [_encoded(item) for item in (record(1), wrong, record(3))])
        writer.close()
        rolled = roll(tmp_path, tmp_path / "log")
        assert (rolled.rows, rolled.unreadable) == (2, 1)

    def test_sets_a_segment_of_another_form_aside(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a")
        writer.append(HEADER, [msgspec.msgpack.encode({"another": "form"})])
        writer.close()
        second = SegmentWriter(tmp_path, "b")
        second.append(HEADER, [_encoded(record(1))])
        second.close()
        assert roll(tmp_path, tmp_path / "log").rows == 1
        assert [path.name for path in tmp_path.glob("a*")] == ["a.unreadable"]

    def test_parts_the_days(self, tmp_path):
        day = 86_400 * 1_000_000
        writer = SegmentWriter(tmp_path, "a")
        writer.append(
            HEADER, [_encoded(record(1, at=20_000 * day - 1)), _encoded(record(2, at=20_000 * day))]
        )
        writer.close()
        roll(tmp_path, tmp_path / "log")
        dates = {path.parent.name for path in (tmp_path / "log").rglob("*.parquet")}
        assert dates == {"date=2024-10-03", "date=2024-10-04"}


class TestKilledRolls:
    """A roll dies at each of its steps; the next one ends with every record exactly once."""

    def test_double_nothing_and_lose_nothing(self, tmp_path):
        day = 86_400 * 1_000_000
        other = structs.replace(HEADER, revision_id="rev-2", columns=())
        step, killed = 0, True
        while killed:
            step += 1
            home = tmp_path / str(step)
            (home / "spool").mkdir(parents=True)
            for segment in range(2):
                writer = SegmentWriter(home / "spool", f"{segment:020d}-1-1")
                numbers = range(segment * 10, segment * 10 + 10)
                writer.append(HEADER, [_encoded(record(n, at=(20_000 + n % 2) * day)) for n in numbers])
                writer.append(
                    other, [_encoded(record(100 + n, rows=((),), at=20_000 * day)) for n in numbers]
                )
                writer.close()
            killed = _roll_that_dies(home, step)
            roll(home / "spool", home / "log")
            rows = read(home / "log").project("request_id").fetchall()
            assert (len(rows), len(set(rows))) == (40, 40), step
            assert not list((home / "spool").iterdir())
            assert not [path for path in (home / "log").rglob(".*") if path.is_file()]
        assert step > 12  # two segments with three files each: made, published, removed

    def test_at_any_moment(self, tmp_path):
        spool, root = tmp_path / "spool", tmp_path / "log"
        spool.mkdir()
        for segment in range(20):
            writer = SegmentWriter(spool, f"{segment:020d}-1-1")
            writer.append(HEADER, [_encoded(record(segment * 500 + n)) for n in range(500)])
            writer.close()
        kills, allowed = 0, 0.002
        while list(spool.iterdir()):
            child = multiprocessing.get_context("fork").Process(target=roll, args=(spool, root))
            child.start()
            child.join(random.uniform(0, allowed))
            allowed *= 1.2  # from almost nothing to enough, however fast the machine is
            if child.is_alive():
                child.kill()
                child.join()
                kills += 1
        assert kills > 2
        rows = read(root).project("request_id").fetchall()
        assert (len(rows), len(set(rows))) == (10_000, 10_000)


def _roll_that_dies(home, step) -> bool:
    """Rolls in a child that dies right before its `step`th change of names on the disk; whether it died."""

    def run() -> None:
        left = [step]

        def count(event: str, _: object) -> None:
            if event in {"os.rename", "os.remove", "os.mkdir"}:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        roll(home / "spool", home / "log")

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


class TestRetention:
    NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)

    def _fill(self, root, days: int, size: int = 100) -> None:
        for back in range(days):
            for name in ("churn", "fraud"):
                folder = root / f"team=a/environment=production/endpoint={name}"
                folder /= f"date={(self.NOW - timedelta(days=back)).date()}"
                folder.mkdir(parents=True)
                (folder / "1.parquet").write_bytes(b"x" * size)

    def _left(self, root) -> set[str]:
        return {path.parent.name.partition("=")[2] for path in root.rglob("*.parquet")}

    def test_deletes_days_that_are_too_old(self, tmp_path):
        self._fill(tmp_path, 6)
        gone = prune(tmp_path, days=2, most_bytes=0, now=self.NOW)
        assert [str(day) for day in gone] == ["2026-03-05", "2026-03-06", "2026-03-07"]
        assert self._left(tmp_path) == {"2026-03-08", "2026-03-09", "2026-03-10"}

    def test_deletes_the_oldest_days_until_the_rest_fits_but_never_today(self, tmp_path):
        self._fill(tmp_path, 6)
        prune(tmp_path, days=0, most_bytes=500, now=self.NOW)
        assert self._left(tmp_path) == {"2026-03-09", "2026-03-10"}
        prune(tmp_path, days=0, most_bytes=1, now=self.NOW)
        assert self._left(tmp_path) == {"2026-03-10"}

    def test_ends_what_a_killed_one_had_begun_and_touches_nothing_else(self, tmp_path):
        self._fill(tmp_path, 2)
        (tmp_path / ".deleted-1").mkdir()
        (tmp_path / ".deleted-1" / "1.parquet").write_bytes(b"x")
        (tmp_path / "notes").mkdir()
        assert prune(tmp_path, days=30, most_bytes=0, now=self.NOW) == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "team=a"]

    def test_is_done_by_the_server(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_retention_days=30)
        self._fill(server.state / "predictions" / "log", 1)  # of a day that is long gone
        server.start()
        root = server.state / "predictions" / "log"
        eventually(lambda: not self._left(root), "the end of old days")


class TestWriter:
    def test_counts_what_waits_exactly_while_two_threads_work(self, tmp_path):
        log = PredictionLog(
            tmp_path, roll_seconds=60, roll_bytes=1 << 30, spool_bytes=1 << 40, buffer_bytes=1 << 30
        )
        log.start()
        revision_log, item = log.revision(HEADER), record(1)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for _ in range(30):
                for _ in range(1_000):
                    revision_log.append(item)
                log.flush(lambda _: None)
        finally:
            sys.setswitchinterval(interval)
            log.close()
        assert (log.buffered, log.dropped) == (0, 0)
        assert roll(tmp_path, tmp_path / "log").rows == 30_000

    def test_keeps_records_in_memory_while_the_disk_is_full(self, tmp_path):
        child = multiprocessing.get_context("fork").Process(target=_write_to_a_full_disk, args=(tmp_path,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        rows = read(tmp_path / "log").project("request_id").fetchall()
        assert (len(rows), len(set(rows))) == (3_000, 3_000)

    def test_drops_and_counts_what_cannot_be_encoded(self, tmp_path):
        log = PredictionLog(
            tmp_path, roll_seconds=60, roll_bytes=1 << 20, spool_bytes=1 << 30, buffer_bytes=1 << 20
        )
        log.revision(HEADER).append(record(1, rows=((object(),), (1,))))
        assert log.dropped == 2

    def test_keeps_all_revisions_in_one_segment(self, tmp_path):
        log = PredictionLog(
            tmp_path, roll_seconds=60, roll_bytes=1 << 20, spool_bytes=1 << 30, buffer_bytes=1 << 20
        )
        log.start()
        for number in range(50):
            log.revision(structs.replace(HEADER, revision_id=f"rev-{number}")).append(record(number))
        log.close()
        assert len(list(tmp_path.glob("*.spool"))) == 1
        assert roll(tmp_path, tmp_path / "log").rows == 50
        found = read(tmp_path / "log").project("revision_id, request_id").fetchall()
        assert sorted(found) == sorted((f"rev-{number}", f"req-{number}") for number in range(50))

    def test_drops_and_counts_what_its_memory_cannot_hold(self, tmp_path):
        log = PredictionLog(
            tmp_path, roll_seconds=60, roll_bytes=1 << 20, spool_bytes=1 << 30, buffer_bytes=1000
        )
        revision_log = log.revision(HEADER)
        for number in range(1000):
            revision_log.append(record(number))
        assert 0 < log.dropped < 1000
        log.start()
        log.close()
        assert roll(tmp_path, tmp_path / "log").rows + log.dropped == 1000

    def test_starts_a_new_segment_when_one_is_large(self, tmp_path):
        log = PredictionLog(
            tmp_path, roll_seconds=60, roll_bytes=1, spool_bytes=1 << 30, buffer_bytes=1 << 20
        )
        log.start()
        for number in range(3):
            log.revision(HEADER).append(record(number))
            eventually(lambda n=number: len(list(tmp_path.glob("*.spool"))) == n + 1, "a segment")
        log.close()
        assert roll(tmp_path, tmp_path / "log").rows == 3


def _write_to_a_full_disk(folder) -> None:
    """No file may grow beyond some kilobytes, which is what a full disk does to a writer; then it is freed."""
    spool = folder / "spool"
    spool.mkdir()
    log = PredictionLog(spool, roll_seconds=60, roll_bytes=1 << 30, spool_bytes=1 << 30, buffer_bytes=1 << 30)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    log.start()
    for number in range(3_000):
        log.revision(HEADER).append(record(number))
        if number % 1_000 == 0:
            time.sleep(0.3)
    eventually(lambda: len(list(spool.glob("*.spool"))) > 1, "attempts that failed")
    assert log.buffered > 0
    answers: list[bool] = []
    log.flush(answers.append)
    eventually(lambda: answers == [False], "that a flush cannot be done")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.close()
    assert (log.buffered, log.dropped) == (0, 0)
    roll(spool, folder / "log")


def _encoded(item: Record) -> bytes:
    return msgspec.msgpack.encode(item)
