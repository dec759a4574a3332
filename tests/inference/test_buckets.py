"""The inference server with its bundles and its prediction log in S3: what happens while the store is away."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest
from msgspec import structs

from ml_platform.contracts.bundles import BundleError
from ml_platform.inference.bundlestore import BundleStore
from ml_platform.inference.predictionlog.outgoing import waiting, waiting_bytes
from ml_platform.inference.predictionlog.roll import roll
from ml_platform.inference.predictionlog.ship import ship
from ml_platform.inference.predictionlog.spool import SegmentWriter
from ml_platform.inference.settings import Settings, load_settings
from ml_platform.integrations.s3 import S3Storage
from ml_platform.kit.s3.cache import FileCache
from tests.support.s3 import Bucket

from .support.control import ADMIN, endpoint, revision, snapshot
from .support.server import Server, eventually
from .test_predictionlog import HEADER, record

KEY = "team_1/bundles/one"


@pytest.fixture
def bundles(s3: Bucket, tmp_path: Path) -> S3Storage:
    return S3Storage(s3.client(), FileCache(tmp_path / "storage-cache", 1 << 30))


def in_bucket(bundle, uri, revision_id="rev-1", **more):
    return structs.replace(revision(bundle, revision_id, **more), bundle_uri=uri)


def logged(s3: Bucket, prefix: str = "predictions") -> pl.DataFrame:
    """All rows of the log, read from the bucket by Polars itself."""
    stored = s3.keys()
    if not [key for key in stored if key.endswith(".parquet")]:
        return pl.DataFrame({"request_id": []})
    return pl.scan_parquet(
        f"{s3.uri}/{prefix}/**/*.parquet",
        hive_partitioning=True,
        storage_options={
            "aws_endpoint_url": s3.server.url,
            "aws_allow_http": "true",
            **{name.lower(): os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
            "aws_region": os.environ["AWS_REGION"],
        },
    ).collect()


def metric(server: Server, name: str) -> float:
    [line] = [line for line in server.get("/metrics").text.splitlines() if line.startswith(name + " ")]
    return float(line.split()[1])


class TestBundles:
    def test_serves_one_from_a_bucket_and_goes_on_while_the_store_is_away(
        self, s3, bundles, control, make_server, one
    ):
        uri = bundles.put_dir(KEY, one.path)
        control.publish(snapshot(1, endpoint(in_bucket(one, uri))))
        server = make_server(storage_roots=s3.uri).start()
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]]).json() == {"predictions": [2.0]}
        with s3.server.away():
            server.stop()
            server.start()
            server.has_applied(control.snapshot)
            assert server.predict([[1.0]]).json() == {"predictions": [2.0]}

    def test_one_that_cannot_be_fetched_is_fetched_once_the_store_is_back(
        self, s3, bundles, control, make_server, one
    ):
        uri = bundles.put_dir(KEY, one.path)
        with s3.server.away():
            control.publish(snapshot(1, endpoint(in_bucket(one, uri))))
            server = make_server(storage_roots=s3.uri).start()

            def refused() -> bool:
                states = [r.state for worker in server.status().workers for r in worker.revisions]
                return states == ["failed"]

            eventually(refused, "a revision that failed", 90)
            assert server.predict([[1.0]]).status_code == 503
        eventually(lambda: server.predict([[1.0]]).status_code == 200, "the bundle", 90)


class TestFetching:
    @pytest.fixture
    def store(self, s3, tmp_path):
        return BundleStore(tmp_path / "bundles", (), (f"{s3.uri}/team_1",))

    def test_takes_a_folder_of_the_object_storage_and_a_plain_prefix(self, s3, bundles, store, one, tmp_path):
        directory, manifest = store.load(bundles.put_dir(KEY, one.path), one.digest)
        assert manifest == one.manifest
        shutil.rmtree(directory)
        for path in one.path.rglob("*"):
            if path.is_file():
                s3.client().put(f"team_1/plain/{path.relative_to(one.path)}", path)
        directory, manifest = store.load(f"{s3.uri}/team_1/plain", one.digest)
        assert manifest == one.manifest

    def test_refuses_what_was_changed_in_the_bucket(self, s3, bundles, store, one):
        uri = bundles.put_dir(KEY, one.path)
        [graph] = [info for info in s3.client().objects(KEY) if info.key.endswith("model.onnx")]
        s3.client().put(graph.key, b"x" * graph.size)
        with pytest.raises(BundleError, match="digest mismatch"):
            store.load(uri, one.digest)
        [manifest] = [info for info in s3.client().objects(KEY) if info.key.endswith("bundle.json")]
        s3.client().put(manifest.key, b"{}" + b" " * (manifest.size - 2))
        with pytest.raises(BundleError, match="not the bundle that was deployed"):
            store.load(uri, one.digest)

    @pytest.mark.parametrize(
        "tail", ["team_2/bundles/one", "team_1/../team_2", "team_11/a", "", "team_1%2f..%2fx"]
    )
    def test_refuses_what_is_not_below_a_root(self, s3, store, one, tail):
        with pytest.raises(BundleError, match="bundle_uri"):
            store.load(f"{s3.uri}/{tail}", one.digest)
        with pytest.raises(BundleError, match="bundle_uri"):
            store.load("s3://another-bucket/the/platform/team_1/a", one.digest)

    def test_says_what_is_not_there_and_that_the_store_is_away(self, s3, store, one):
        with pytest.raises(BundleError, match="is not in the object storage"):
            store.load(f"{s3.uri}/team_1/nothing", one.digest)
        with s3.server.away(), pytest.raises(BundleError, match="does not answer"):
            store.load(f"{s3.uri}/team_1/nothing", one.digest)


class TestSettings:
    def test_roots_may_be_directories_and_buckets(self):
        given = f"/srv/a{os.pathsep}s3://bucket/x{os.pathsep}/srv/b{os.pathsep}s3://other"
        settings = load_settings([f"--storage-roots={given}"], {})
        assert settings.roots == (Path("/srv/a"), Path("/srv/b"))
        assert settings.buckets == ("s3://bucket/x", "s3://other")

    def test_without_a_bucket_nothing_changes(self):
        settings = Settings(state_dir="/srv/state")
        assert settings.prediction_log == Path("/srv/state/predictions/log")
        assert settings.log_bucket == ""


class TestLog:
    def test_arrives_in_the_bucket_in_its_partitions_and_a_flush_waits_for_it(
        self, s3, control, make_server, churn
    ):
        control.publish(snapshot(1, endpoint(revision(churn.bundle, model_version="9"))))
        server = make_server(log_root=f"{s3.uri}/predictions", log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        answers = server.predict(churn.instances(3), x_request_id="mine").json()["predictions"]
        assert flush(server).status_code == 200
        rows = logged(s3).sort("instance")
        assert rows["request_id"].to_list() == ["mine"] * 3
        assert rows["prediction"].to_list() == answers
        assert (rows["team"][0], rows["environment"][0], rows["endpoint"][0]) == (
            "acme",
            "production",
            "churn",
        )
        assert metric(server, "prediction_log_uploads_total") == 1
        assert metric(server, "prediction_log_uploaded_bytes_total") > 0
        assert metric(server, "prediction_log_waiting_bytes") == 0

    def test_waits_while_the_store_is_away_and_arrives_exactly_once(self, s3, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_root=f"{s3.uri}/predictions", log_roll_seconds=0.5, workers=2).start()
        server.has_applied(control.snapshot)
        sent = 0

        def predict(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                assert server.predict([[1.0]]).status_code == 200
            sent += count

        predict(20)
        eventually(lambda: len(logged(s3)) == 20, "the log in the bucket", 60)
        with s3.server.away():
            predict(30)
            eventually(lambda: metric(server, "prediction_log_upload_failures_total") > 0, "a failed try", 60)
            eventually(lambda: metric(server, "prediction_log_waiting_bytes") > 0, "what waits", 60)
            answer = flush(server)
            assert answer.status_code == 503
            assert "its bucket" in answer.json()["error"]
            predict(10)
        s3.server.failing = True  # it is there again, and takes nothing yet
        try:
            predict(10)
        finally:
            s3.server.failing = False
        eventually(lambda: flush(server).status_code == 200, "a flush", 90)
        rows = logged(s3)
        assert len(rows) == sent
        assert rows["request_id"].n_unique() == sent

    def test_a_server_that_is_killed_while_it_sends_doubles_and_loses_nothing(
        self, s3, control, make_server, one
    ):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(log_root=f"{s3.uri}/predictions", log_roll_seconds=0.25).start()
        server.has_applied(control.snapshot)
        with s3.server.hanging():
            for _ in range(40):
                assert server.predict([[1.0]]).status_code == 200
            time.sleep(1)  # the promise is about what is older than this
            eventually(lambda: waiting(outgoing(server)), "what waits")
            pids = server.worker_pids()
            server.kill()
            for pid in pids:
                server.kill_worker(pid)
        server.start()
        eventually(lambda: flush(server).status_code == 200, "a flush", 90)
        rows = logged(s3)
        assert (len(rows), rows["request_id"].n_unique()) == (40, 40)

    def test_never_holds_an_answer_up_and_takes_no_more_of_the_disk_than_it_may(
        self, s3, control, make_server, one
    ):
        control.publish(snapshot(1, endpoint(revision(one))))
        options = {"log_root": f"{s3.uri}/predictions", "log_roll_seconds": 0.25, "log_spool_bytes": 20_000}
        server = make_server(**options).start()
        server.has_applied(control.snapshot)
        with s3.server.away():

            def dropped() -> bool:
                assert server.predict([[1.0]]).status_code == 200
                return sum(worker.predictions_dropped for worker in server.status().workers) > 0

            eventually(dropped, "dropped and counted predictions", 90)
            assert waiting_bytes(outgoing(server)) < 400_000
        eventually(lambda: flush(server).status_code == 200, "a flush", 90)
        assert waiting(outgoing(server)) == []

    def test_a_root_that_is_no_bucket_is_said_at_the_start(self, make_server):
        server = make_server(log_root="s3://No_Bucket/x")
        arguments = [sys.executable, "-m", "ml_platform.inference.main", *server.arguments]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
        assert ended.returncode != 0
        assert "is not s3://bucket/prefix" in ended.stderr


class TestShip:
    """One process's work, at its edges."""

    @pytest.fixture
    def outgoing(self, tmp_path) -> Path:
        for number in range(3):
            writer = SegmentWriter(tmp_path, f"{number:020d}-1-1")
            writer.append(HEADER, [msgspec.msgpack.encode(record(number))])
            writer.close()
        roll(tmp_path, tmp_path / "outgoing")
        return tmp_path / "outgoing"

    def send(self, s3, outgoing, keep_days=0.0, now=None):
        client = s3.client(f"{s3.uri}/predictions")
        return ship(outgoing, client, keep_days=keep_days, now=now or datetime.now(UTC))

    def test_what_arrived_goes_from_here(self, s3, outgoing):
        shipped = self.send(s3, outgoing)
        assert (shipped.files, shipped.error) == (3, None)
        assert waiting(outgoing) == []
        assert len(logged(s3)) == 3

    def test_sent_again_after_a_crash_replaces_itself(self, s3, outgoing, tmp_path):
        shutil.copytree(outgoing, tmp_path / "before", copy_function=shutil.copy2)
        self.send(s3, outgoing)
        for path in waiting(tmp_path / "before"):
            shutil.copy2(path, outgoing / path.relative_to(tmp_path / "before"))
        assert self.send(s3, outgoing).files == 3
        assert len(logged(s3)) == 3

    def test_two_servers_with_segments_of_one_name_do_not_replace_each_other(self, s3, outgoing, tmp_path):
        shutil.copytree(outgoing, tmp_path / "second")
        self.send(s3, outgoing)
        self.send(s3, tmp_path / "second")
        assert len(logged(s3)) == 6

    def test_stops_at_the_first_that_is_refused_and_goes_on_there(self, s3, outgoing):
        taken = iter((1, 2))
        s3.server.refuse = lambda method, _path: method == "PUT" and next(taken, None) is None
        try:
            shipped = self.send(s3, outgoing)
        finally:
            s3.server.refuse = None
        assert shipped.files == 2
        assert "SlowDown" in shipped.error
        assert len(waiting(outgoing)) == 1
        assert self.send(s3, outgoing).files == 1
        assert len(logged(s3)) == 3

    def test_deletes_days_that_are_too_old_and_nothing_else(self, s3, outgoing):
        self.send(s3, outgoing)
        client = s3.client(f"{s3.uri}/predictions")
        today = datetime.now(UTC)
        for age in (1, 29, 31, 400):
            day = (today - timedelta(days=age)).date()
            client.put(f"team=a/environment=e/endpoint=x/date={day}/f.parquet", b"x")
            client.put(f"team=b/environment=e/endpoint=y/date={day}/g.parquet", b"x")
        client.put("team=a/environment=e/endpoint=x/date=never/f.parquet", b"x")
        client.put("elsewhere/date=2001-01-01/f.parquet", b"x")
        assert self.send(s3, outgoing, keep_days=30).days_deleted == 2
        left = [info.key for info in client.objects("team=a")]
        assert len(left) == 3
        assert len(list(client.objects("team=b"))) == 2
        assert list(client.objects("elsewhere"))
        assert len(list(client.objects("team=acme"))) == 3

    def test_a_process_that_is_killed_leaves_a_file_here_or_there_whole(self, s3, outgoing):
        arguments = ["--outgoing", str(outgoing), "--root", f"{s3.uri}/predictions"]
        command = [sys.executable, "-m", "ml_platform.inference.predictionlog.ship", *arguments]
        with s3.server.hanging():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            eventually((outgoing / "server").exists, "its beginning")
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(waiting(outgoing)) == 3
        assert subprocess.run(command, capture_output=True).returncode == 0
        assert len(logged(s3)) == 3


def outgoing(server: Server) -> Path:
    return server.state / "predictions" / "outgoing"


def flush(server: Server):
    return server.client.post(
        f"{server.base}/internal/flush", headers={"authorization": f"Bearer {ADMIN}"}, timeout=90
    )
