"""The whole platform with its files in a bucket: control plane, inference server, prediction log, monitoring."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from ml_platform.integrations.inference import InferenceClient
from ml_platform.kit.s3 import S3Address
from ml_platform.kit.s3.client import S3Client
from ml_platform.server.settings import Settings
from ml_platform.services.deployments import RolloutParts, RolloutSettings
from tests.inference.support.server import Server, eventually
from tests.inference.test_buckets import logged
from tests.support.monitoring import drifted, features, watch
from tests.support.platform import RunningPlatform, running_platform
from tests.support.rollouts import Bench, LinearTools
from tests.support.s3 import Bucket


@pytest.fixture
def estate(s3: Bucket, tmp_path: Path) -> Iterator[RunningPlatform]:
    """A control plane that is told of the bucket by its settings alone."""
    with running_platform(tmp_path / "home", storage=s3.uri, inference={"port": 0}) as running:
        yield running


@pytest.fixture
def server(estate: RunningPlatform, s3: Bucket) -> Iterator[Server]:
    """The inference server, told of it as the supervisor tells it."""
    home = estate.settings.home
    server = Server(
        home / "inference",
        None,
        s3.uri,
        log_root=estate.settings.prediction_log,
        control_url=estate.url,
        token_file=home / "secrets" / "inference.key",
        poll_wait=5,
        log_roll_seconds=600,
    )
    server.start()
    yield server
    server.close()


@pytest.fixture
def bench(estate: RunningPlatform, server: Server, tmp_path: Path) -> Iterator[Bench]:
    parts = estate.runtime.components.get(RolloutParts)
    tools = LinearTools()
    parts.tools = tools
    parts.plane = InferenceClient(lambda: server.base, parts.smoke_keys.service_token())
    parts.inference_url = lambda: server.base
    parts.settings = RolloutSettings(ready_timeout_seconds=120, ready_poll_seconds=0.2)
    parts.comparison = None
    found = Bench(estate, tmp_path / "models", tools, server.base)
    found.new_team()
    with ExitStack() as stack:
        stack.callback(found.caller.close)
        stack.callback(parts.plane.close)
        yield found


@pytest.mark.slow
class TestFromModelToMonitoring:
    def test_every_step_goes_through_the_bucket_and_an_outage_of_it_costs_no_prediction_and_no_row(
        self, estate: RunningPlatform, bench: Bench, s3: Bucket
    ) -> None:
        bench.plant("plain")
        accepted = bench.deploy("plain", "staging")
        rollout = bench.until(accepted, "succeeded", within=150)
        build = next(stage["evidence"] for stage in rollout["stages"] if stage["name"] == "build")
        assert build["bundle_uri"].startswith(f"{s3.uri}/")
        assert not list((estate.settings.home / "storage").glob("*"))

        plane = estate.runtime.components.get(InferenceClient)
        ids = self.predict(bench, accepted, 60)
        with s3.server.away():
            ids += self.predict(bench, accepted, 60)
            assert not plane.flush()
            refused = bench.engineer.client.get(f"/deployments/{accepted['deployment_id']}/quality")
            assert refused.status_code in (200, 503), refused.text  # without labels nothing is looked up
        eventually(plane.flush, "a flush", 120)

        rows = logged(s3).filter(pl.col("endpoint") == accepted["endpoint"].rpartition("/")[2].split(":")[0])
        assert set(ids) <= set(rows["request_id"])
        assert rows.select("request_id", "instance").n_unique() == len(rows)
        self.labels_find_their_predictions(bench, accepted, ids, s3)

        again = bench.deploy("plain", "dev")
        second = bench.until(again, "succeeded", within=150)
        reused = next(stage["evidence"] for stage in second["stages"] if stage["name"] == "build")
        assert (reused["reused"], reused["bundle_uri"]) == (True, build["bundle_uri"])

    def predict(self, bench: Bench, accepted: dict[str, str], count: int) -> list[str]:
        ids = []
        for _ in range(count):
            answer = bench.predict(accepted)
            assert answer.status_code == 200, answer.text
            ids.append(answer.headers["x-request-id"])
        return ids

    def labels_find_their_predictions(
        self, bench: Bench, accepted: dict[str, str], ids: list[str], s3: Bucket
    ) -> None:
        path = f"/deployments/{accepted['deployment_id']}"
        told = bench.engineer.client.post(
            f"{path}/ground-truth", json={"records": [{"request_id": name, "label": 2.5} for name in ids]}
        )
        assert told.status_code == 201, told.text
        report = bench.engineer.client.get(f"{path}/quality").json()
        assert (report["labels"], report["matched"], report["ambiguous"]) == (len(ids), len(ids), 0)
        [revision] = [found for found in report["revisions"] if found["labelled"]]
        assert revision["metrics"]["mean_error"] == pytest.approx(-0.5)
        assert any("/ground-truth/" in key for key in s3.keys())  # noqa: SIM118 - no dictionary
        with s3.server.away():
            answer = bench.engineer.client.get(f"{path}/quality")
        assert answer.status_code == 503
        assert answer.json()["code"] == "unavailable"
        assert bench.engineer.client.get(f"{path}/quality").json()["matched"] == len(ids)


@pytest.mark.slow
class TestDrift:
    def test_is_found_in_a_log_that_lies_in_the_bucket(self, estate: RunningPlatform, tmp_path: Path) -> None:
        watched = watch(estate, tmp_path / "models", graph=True)
        watched.log(features().sample(1_500, seed=1))
        assert watched.check()["verdict"] == "none"
        watched.log(drifted().sample(1_500, seed=1))
        report = watched.check()
        assert (report["verdict"], report["rows"]) == ("drift", 3_000)
        assert "contract" in report["drifted_features"]


class TestSettings:
    def test_a_bucket_that_is_none_is_refused(self, tmp_path: Path) -> None:
        for wrong in ("s3://", "s3://UPPER/x", "s3://bucket/../x", "https://bucket/x", "s3://a:b@bucket/x"):
            with pytest.raises(ValueError, match="s3://"):
                Settings(home=tmp_path, storage=wrong)

    def test_without_one_everything_stays_in_the_home_directory(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path)
        assert settings.prediction_log == str(tmp_path / "storage" / "predictions")
        assert Settings(home=tmp_path, storage="s3://bucket/x/").prediction_log == "s3://bucket/x/predictions"

    def test_the_address_of_the_log_is_one(self, tmp_path: Path, s3: Bucket) -> None:
        settings = Settings(home=tmp_path, storage=s3.uri)
        assert S3Client(S3Address.parse(settings.prediction_log)).head("anything") is None
