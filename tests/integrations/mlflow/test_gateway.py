"""The platform's own access, in process."""

import math
from datetime import UTC, datetime

import pytest

from ml_platform.integrations.mlflow import (
    MlflowGateway,
    MlflowSettings,
    TrackingConflictError,
    TrackingInvalidError,
    TrackingNotFoundError,
    close_stores,
    open_stores,
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    home = tmp_path_factory.mktemp("gateway")
    yield open_stores(MlflowSettings(f"sqlite:///{home}/mlflow.db", str(home / "artifacts")))
    close_stores()


@pytest.fixture
def gateway(stores):
    return MlflowGateway(stores)


@pytest.fixture
def experiment(gateway, unique):
    return gateway.create_experiment("team-a", unique).experiment_id


def log_model(stores, team, experiment_id, run_id, files):
    """What a client does when it logs a model, without a server between."""
    from mlflow.entities import LoggedModelStatus
    from mlflow.server import handlers

    with stores.writing(team):
        model = stores.tracking.create_logged_model(experiment_id, "model", run_id)
        place = model.artifact_location.removeprefix("mlflow-artifacts:/")
        for name, content in files.items():
            import io

            folder = f"{place}/{name}".rpartition("/")[0]
            handlers._get_artifact_repo_mlflow_artifacts().log_artifact_from_stream(
                io.BytesIO(content), name.rpartition("/")[2], folder
            )
        stores.tracking.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model.model_id


class TestWorkspaces:
    def test_making_one_twice_is_one(self, gateway):
        assert gateway.ensure_workspace("team-x") == gateway.ensure_workspace("team-x")

    @pytest.mark.parametrize(
        "name", ["default", "a", "Team", "a_b", "-a", "a" * 64, "workspaces", "a/b", "ab\n", ""]
    )
    def test_names_that_mlflow_could_mistake_are_refused(self, gateway, name):
        with pytest.raises(TrackingInvalidError):
            gateway.ensure_workspace(name)


class TestExperiments:
    def test_is_found_by_id_and_name_in_its_team_only(self, gateway, unique):
        made = gateway.create_experiment("team-a", unique, {"mlops.id": "exp_1"})
        assert gateway.get_experiment("team-a", made.experiment_id).tags == {"mlops.id": "exp_1"}
        assert gateway.find_experiment("team-a", unique) == made
        assert gateway.find_experiment("team-b", unique) is None
        with pytest.raises(TrackingNotFoundError):
            gateway.get_experiment("team-b", made.experiment_id)

    def test_a_name_is_taken_once(self, gateway, unique):
        gateway.create_experiment("team-a", unique)
        with pytest.raises(TrackingConflictError):
            gateway.create_experiment("team-a", unique)


class TestRuns:
    def test_is_created_filled_ended_and_read(self, gateway, experiment):
        started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        run = gateway.create_run(
            "team-a", experiment, name="first", user="ann", tags={"mlops.job": "job_1"}, started_at=started
        )
        gateway.log_batch("team-a", run.run_id, metrics={"auc": 0.8, "bad": math.nan}, params={"p": "1"})
        gateway.log_batch("team-a", run.run_id, metrics={"auc": 0.9}, step=1)
        gateway.set_tags("team-a", run.run_id, {"t": "2"})
        gateway.end_run("team-a", run.run_id, "FAILED")
        read = gateway.get_run("team-a", run.run_id)
        assert (read.name, read.status, read.user, read.started_at) == ("first", "FAILED", "ann", started)
        assert read.metrics["auc"] == 0.9
        assert math.isnan(read.metrics["bad"])
        assert (read.params, read.tags["t"], read.tags["mlops.job"]) == ({"p": "1"}, "2", "job_1")
        assert read.ended_at > read.started_at

    def test_another_teams_run_does_not_exist(self, gateway, experiment):
        run = gateway.create_run("team-a", experiment)
        with pytest.raises(TrackingNotFoundError):
            gateway.get_run("team-b", run.run_id)
        with pytest.raises(TrackingNotFoundError):
            gateway.log_batch("team-b", run.run_id, metrics={"x": 1})
        with pytest.raises(TrackingNotFoundError):
            gateway.create_run("team-b", experiment)

    def test_lists_page_through_all_runs_without_gap_or_repetition(self, gateway, experiment):
        ids = [
            gateway.create_run(
                "team-a", experiment, started_at=datetime(2026, 1, 1, 0, 0, i // 2, tzinfo=UTC)
            ).run_id
            for i in range(11)
        ]
        seen, cursor = [], None
        while True:
            page = gateway.list_runs("team-a", experiment, limit=3, cursor=cursor)
            seen += [run.run_id for run in page.runs]
            if (cursor := page.next_cursor) is None:
                break
        assert sorted(seen) == sorted(ids)
        assert len(seen) == 11

    def test_lists_are_ordered_by_a_metric_and_are_those_of_mlflows_search(self, gateway, experiment):
        for value in (0.3, 0.9, math.nan, 0.5, None):
            run = gateway.create_run("team-a", experiment, tags={"k": "v"})
            if value is not None:
                gateway.log_batch("team-a", run.run_id, metrics={"auc": value}, params={"p": "1"})
        ours = gateway.list_runs("team-a", experiment, by_metric="auc", limit=2)
        theirs = gateway.search_runs("team-a", [experiment], order_by=["metrics.auc DESC"], limit=2)
        assert ours.runs == theirs.runs
        (last,) = gateway.list_runs(
            "team-a", experiment, by_metric="auc", limit=2, cursor=ours.next_cursor
        ).runs
        assert last.metrics == {"auc": 0.3}

    def test_lists_of_another_team_are_empty(self, gateway, experiment):
        gateway.create_run("team-a", experiment)
        assert gateway.list_runs("team-b", experiment).runs == ()

    @pytest.mark.parametrize("cursor", ["x", "!!", "W10=", ""])
    def test_a_cursor_of_others_is_refused(self, gateway, experiment, cursor):
        with pytest.raises(TrackingInvalidError):
            gateway.list_runs("team-a", experiment, cursor=cursor)


class TestArtifacts:
    def test_a_models_folder_is_listed_and_downloaded(self, gateway, stores, experiment, tmp_path):
        run = gateway.create_run("team-a", experiment)
        files = {"MLmodel": b"flavors: {}", "data/model.bin": b"\x00\x01"}
        model = log_model(stores, "team-a", experiment, run.run_id, files)
        assert [one.path for one in gateway.list_model_artifacts("team-a", model)] == ["MLmodel", "data"]
        place = gateway.download_model("team-a", model, tmp_path)
        assert (place / "data/model.bin").read_bytes() == b"\x00\x01"
        assert [one.name for one in tmp_path.iterdir()] == [place.name]
        with pytest.raises(TrackingNotFoundError):
            gateway.download_model("team-b", model, tmp_path)

    def test_a_path_that_climbs_is_refused(self, gateway, experiment, tmp_path):
        run = gateway.create_run("team-a", experiment)
        for path in ("../../..", "..%2f..", "a/../../../../../mlflow.db"):
            with pytest.raises(TrackingInvalidError):
                gateway.download_run_artifacts("team-a", run.run_id, path, tmp_path)
        with pytest.raises(TrackingNotFoundError):
            gateway.download_run_artifacts("team-a", run.run_id, "absent.txt", tmp_path)


class TestRegistry:
    def test_a_logged_model_becomes_a_version(self, gateway, stores, experiment, unique):
        run = gateway.create_run("team-a", experiment)
        model = log_model(stores, "team-a", experiment, run.run_id, {"MLmodel": b"x"})
        assert [one.model_id for one in gateway.find_logged_models("team-a", run.run_id)] == [model]
        gateway.create_registered_model("team-a", unique, "churn", {"mlops.owner": "a"})
        version = gateway.create_model_version("team-a", unique, model, tags={"mlops.gate": "passed"})
        assert (version.version, version.run_id, version.source) == (1, run.run_id, f"models:/{model}")
        gateway.set_alias("team-a", unique, "champion", 1)
        gateway.set_model_version_tag("team-a", unique, 1, "mlops.digest", "sha256:1")
        found = gateway.get_by_alias("team-a", unique, "champion")
        assert found.tags == {"mlops.gate": "passed", "mlops.digest": "sha256:1"}
        assert found.model_id == model
        assert gateway.get_model_version("team-a", unique, 1) == found
        assert gateway.get_registered_model("team-a", unique).aliases == {"champion": 1}
        gateway.delete_alias("team-a", unique, "champion")
        with pytest.raises(TrackingInvalidError):
            gateway.get_by_alias("team-a", unique, "champion")

    def test_a_versions_files_are_downloaded(self, gateway, stores, experiment, unique, tmp_path):
        run = gateway.create_run("team-a", experiment)
        model = log_model(stores, "team-a", experiment, run.run_id, {"MLmodel": b"flavors: {}"})
        gateway.create_registered_model("team-a", unique)
        gateway.create_model_version("team-a", unique, model)
        place = gateway.download_model_version("team-a", unique, 1, tmp_path)
        assert (place / "MLmodel").read_bytes() == b"flavors: {}"

    def test_versions_are_listed_newest_first(self, gateway, stores, experiment, unique):
        run = gateway.create_run("team-a", experiment)
        model = log_model(stores, "team-a", experiment, run.run_id, {"MLmodel": b"x"})
        gateway.create_registered_model("team-a", unique)
        for _ in range(3):
            gateway.create_model_version("team-a", unique, model)
        first, cursor = gateway.list_model_versions("team-a", unique, limit=2)
        rest, end = gateway.list_model_versions("team-a", unique, limit=2, cursor=cursor)
        assert [one.version for one in first + rest] == [3, 2, 1]
        assert end is None

    def test_another_team_has_its_own_names(self, gateway, unique):
        gateway.create_registered_model("team-a", unique)
        with pytest.raises(TrackingNotFoundError):
            gateway.get_registered_model("team-b", unique)
        gateway.create_registered_model("team-b", unique)

    def test_a_model_that_is_still_being_logged_is_refused(self, gateway, stores, experiment, unique):
        gateway.create_registered_model("team-a", unique)
        with stores.writing("team-a"):
            pending = stores.tracking.create_logged_model(experiment, "model").model_id
        with pytest.raises(TrackingInvalidError, match="not logged completely"):
            gateway.create_model_version("team-a", unique, pending)


class TestStores:
    def test_one_process_serves_one_database(self, stores):
        with pytest.raises(RuntimeError, match="another MLflow database"):
            open_stores(MlflowSettings("sqlite:////nowhere/else.db", "/nowhere"))

    def test_the_database_is_not_announced_to_children(self, stores):
        import os

        assert "sqlite" not in os.environ.get("MLFLOW_TRACKING_URI", "")
        assert "MLFLOW_WORKSPACE" not in os.environ
