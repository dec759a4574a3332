"""The prediction log: complete, typed, readable by DuckDB and Polars, and safe from a kill."""

import time

import duckdb
import polars as pl

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


class TestRoll:
    def test_gives_every_file_the_published_columns_and_types(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a", HEADER)
        writer.append(
            [_encoded(record(1)), _encoded(record(2, rows=((None, None, None),), predictions=("x",)))]
        )
        writer.close()
        assert roll(tmp_path, tmp_path / "log") == 2
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
        writer = SegmentWriter(tmp_path, "a", HEADER)
        writer.append([_encoded(record(1))])
        assert not has_complete(tmp_path)
        assert roll(tmp_path, tmp_path / "log") == 0
        writer.close()
        assert has_complete(tmp_path)
        assert roll(tmp_path, tmp_path / "log") == 1

    def test_reads_up_to_a_torn_tail(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a", HEADER)
        for number in range(3):
            writer.append([_encoded(record(number))])
        writer.close()
        data = writer.path.read_bytes()
        for cut in (1, 20):
            writer.path.write_bytes(data[:-cut])
            assert roll(tmp_path, tmp_path / f"log-{cut}") == 2

    def test_passes_over_a_segment_without_a_header(self, tmp_path):
        (tmp_path / "a.spool").write_bytes(b"\x00\x01")
        assert roll(tmp_path, tmp_path / "log") == 0
        assert not list(tmp_path.glob("*.spool"))

    def test_twice_doubles_nothing(self, tmp_path):
        writer = SegmentWriter(tmp_path, "a", HEADER)
        writer.append([_encoded(record(1))])
        writer.close()
        data = writer.path.read_bytes()
        roll(tmp_path, tmp_path / "log")
        writer.path.write_bytes(data)  # as after a crash between publishing and deleting
        roll(tmp_path, tmp_path / "log")
        assert len(read(tmp_path / "log")) == 1

    def test_parts_the_days(self, tmp_path):
        day = 86_400 * 1_000_000
        writer = SegmentWriter(tmp_path, "a", HEADER)
        writer.append([_encoded(record(1, at=20_000 * day - 1)), _encoded(record(2, at=20_000 * day))])
        writer.close()
        roll(tmp_path, tmp_path / "log")
        dates = {path.parent.name for path in (tmp_path / "log").rglob("*.parquet")}
        assert dates == {"date=2024-10-03", "date=2024-10-04"}


class TestWriter:
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
        assert roll(tmp_path, tmp_path / "log") + log.dropped == 1000

    def test_starts_a_new_segment_when_one_is_large(self, tmp_path):
        log = PredictionLog(
            tmp_path, roll_seconds=60, roll_bytes=1, spool_bytes=1 << 30, buffer_bytes=1 << 20
        )
        log.start()
        for number in range(3):
            log.revision(HEADER).append(record(number))
            eventually(lambda n=number: len(list(tmp_path.glob("*.spool"))) == n + 1, "a segment")
        log.close()
        assert roll(tmp_path, tmp_path / "log") == 3


def _encoded(item: Record) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(item)
