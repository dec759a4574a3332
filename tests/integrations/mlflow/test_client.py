"""MLflow's own client works unchanged through the mount."""

import json

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

from tests.integrations.mlflow.tokens import ANN, BOT, CAT, DEE, REA


class TestLogging:
    def test_a_run_without_an_experiment_goes_to_the_teams_default(self, sign_in):
        client = sign_in(ANN)
        with mlflow.start_run() as run:
            mlflow.log_params({"depth": 3, "rate": 0.1})
            for step in range(3):
                mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
            mlflow.set_tag("note", "first")
        stored = client.get_run(run.info.run_id)
        assert stored.data.params == {"depth": "3", "rate": "0.1"}
        assert stored.data.metrics == {"loss": pytest.approx(1 / 3)}
        assert stored.data.tags["note"] == "first"
        assert [one.value for one in client.get_metric_history(run.info.run_id, "loss")] == [1.0, 0.5, 1 / 3]
        assert client.get_experiment(stored.info.experiment_id).name == "Default"

    def test_a_batch_of_metrics_params_and_tags_is_stored(self, sign_in, unique):
        from mlflow.entities import Metric, Param, RunTag

        client = sign_in(ANN)
        run = client.create_run(client.create_experiment(unique)).info.run_id
        client.log_batch(
            run,
            metrics=[Metric(f"m{i}", i, 1, 0) for i in range(100)],
            params=[Param("p", "1")],
            tags=[RunTag("t", "2")],
        )
        data = client.get_run(run).data
        assert len(data.metrics) == 100
        assert (data.params["p"], data.tags["t"]) == ("1", "2")

    def test_a_param_cannot_change_its_value(self, sign_in, unique):
        client = sign_in(ANN)
        run = client.create_run(client.create_experiment(unique)).info.run_id
        client.log_param(run, "p", "1")
        client.log_param(run, "p", "1")
        with pytest.raises(MlflowException, match="Changing param values is not allowed"):
            client.log_param(run, "p", "2")

    def test_runs_are_searched_by_metric(self, sign_in, unique):
        client = sign_in(ANN)
        experiment = client.create_experiment(unique)
        for value in (0.1, 0.9, 0.5):
            client.log_metric(client.create_run(experiment).info.run_id, "auc", value)
        found = client.search_runs([experiment], "metrics.auc > 0.2", order_by=["metrics.auc DESC"])
        assert [run.data.metrics["auc"] for run in found] == [0.9, 0.5]


class TestArtifacts:
    def test_files_and_folders_come_back_byte_for_byte(self, sign_in, tmp_path):
        sign_in(ANN)
        content = bytes(range(256)) * 4096
        source = tmp_path / "out" / "deep"
        source.mkdir(parents=True)
        (source / "big file.bin").write_bytes(content)
        (tmp_path / "out" / "ünïcode.txt").write_text("ok")
        with mlflow.start_run() as run:
            mlflow.log_artifacts(str(tmp_path / "out"), "out")
        fetched = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path="out", dst_path=str(tmp_path / "back")
        )
        assert (tmp_path / "back/out/deep/big file.bin").read_bytes() == content
        assert (tmp_path / "back/out/ünïcode.txt").read_text() == "ok"
        assert fetched

    def test_the_screens_download_an_artifact_by_run_and_path(self, sign_in, server):
        sign_in(ANN)
        with mlflow.start_run() as run:
            mlflow.log_text("x" * 1_000_000, "a.txt")
        answer = server.http(ANN).get("/get-artifact", params={"run_uuid": run.info.run_id, "path": "a.txt"})
        assert answer.text == "x" * 1_000_000
        assert "attachment" in answer.headers["content-disposition"]

    def test_an_upload_beyond_the_limit_is_refused_and_leaves_nothing(self, server):
        path = "/api/2.0/mlflow-artifacts/artifacts/too-big.bin"
        refused = server.http(ANN).put(path, content=(b"x" * 65536 for _ in range(64)))
        assert refused.status_code == 413
        assert server.http(ANN).get(path).status_code == 404


class TestModels:
    def test_a_model_is_logged_registered_aliased_and_loaded(self, sign_in, unique):
        client = sign_in(ANN)
        rows = np.random.default_rng(0).random((40, 3))
        model = LogisticRegression().fit(rows, (rows[:, 0] > 0.5).astype(int))
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model, name="model", registered_model_name=unique, pip_requirements=["scikit-learn"]
            )
        client.set_registered_model_alias(unique, "candidate", 1)
        client.set_model_version_tag(unique, "1", "owner", "ann")
        assert client.get_model_version_by_alias(unique, "candidate").tags == {"owner": "ann"}
        loaded = mlflow.sklearn.load_model(f"models:/{unique}@candidate")
        assert (loaded.predict(rows) == model.predict(rows)).all()

    def test_a_model_is_registered_from_a_runs_artifact(self, sign_in, unique):
        client = sign_in(ANN)
        with mlflow.start_run() as run:
            mlflow.log_text("flavors: {}", "m/MLmodel")
        client.create_registered_model(unique)
        version = client.create_model_version(unique, f"{run.info.artifact_uri}/m", run.info.run_id)
        assert version.version in (1, "1")


class TestTraces:
    def test_a_trace_with_its_spans_is_stored_and_found(self, sign_in, unique):
        sign_in(ANN)
        experiment = mlflow.set_experiment(unique)

        @mlflow.trace
        def answer(question):
            return question * 2

        answer(21)
        mlflow.flush_trace_async_logging()
        (trace,) = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list")
        assert [span.name for span in trace.data.spans] == ["answer"]


class TestWorkspaces:
    def test_a_user_of_two_teams_selects_by_environment(self, sign_in, unique):
        sign_in(CAT, "team-b").create_experiment(unique)
        assert sign_in(CAT).get_experiment_by_name(unique) is None
        assert sign_in(CAT, "team-b").get_experiment_by_name(unique).workspace == "team-b"

    def test_basic_authentication_takes_the_token_as_password(self, server, unique):
        answer = server.http().get("/api/3.0/mlflow/workspaces", auth=("anything", CAT))
        assert [one["name"] for one in answer.json()["workspaces"]] == ["team-a", "team-b"]

    def test_a_user_of_no_team_is_told_to_name_one(self, sign_in):
        with pytest.raises(MlflowException, match="Name a workspace"):
            sign_in(DEE).search_experiments()

    def test_a_reader_reads_what_a_writer_wrote(self, sign_in, unique):
        experiment = sign_in(ANN).create_experiment(unique)
        assert sign_in(REA).get_experiment(experiment).name == unique


class TestReservedNames:
    @pytest.mark.parametrize("alias", ["champion", "Champion"])
    def test_the_champion_alias_is_the_platforms(self, sign_in, unique, alias):
        client = sign_in(ANN)
        client.create_registered_model(unique)
        with pytest.raises(MlflowException, match="platform only"):
            client.set_registered_model_alias(unique, alias, 1)
        with pytest.raises(MlflowException, match="platform only"):
            client.delete_registered_model_alias(unique, alias)

    def test_platform_tags_are_refused_wherever_tags_are_written(self, sign_in, unique):
        client = sign_in(ANN)
        experiment = client.create_experiment(unique)
        run = client.create_run(experiment).info.run_id
        client.create_registered_model(unique)
        writes = [
            lambda: client.create_experiment(f"{unique}x", tags={"mlops.a": "1"}),
            lambda: client.set_experiment_tag(experiment, "mlops.a", "1"),
            lambda: client.create_run(experiment, tags={"mlops.a": "1"}),
            lambda: client.set_tag(run, "mlops.a", "1"),
            lambda: client.set_tag(run, "MLOps.a", "1"),
            lambda: client.delete_tag(run, "mlops.a"),
            lambda: client.log_batch(run, tags=[mlflow.entities.RunTag("mlops.a", "1")]),
            lambda: client.create_registered_model(f"{unique}x", tags={"mlops.a": "1"}),
            lambda: client.set_registered_model_tag(unique, "mlops.a", "1"),
            lambda: client.delete_registered_model_tag(unique, "mlops.a"),
        ]
        for write in writes:
            with pytest.raises(MlflowException, match="platform only"):
                write()

    def test_the_platform_itself_may_write_them(self, sign_in, unique):
        client = sign_in(BOT)
        client.create_registered_model(unique, tags={"mlops.approved": "yes"})
        assert client.get_registered_model(unique).tags == {"mlops.approved": "yes"}

    def test_the_hook_refuses_with_its_reason(self, sign_in, unique):
        client = sign_in(ANN)
        client.create_registered_model(f"frozen-{unique}")
        with pytest.raises(MlflowException, match="is deployed in production"):
            client.delete_registered_model(f"frozen-{unique}")
        assert client.get_registered_model(f"frozen-{unique}")


class TestAnswers:
    def test_not_a_number_is_strict_json_everywhere(self, sign_in, server, unique):
        client = sign_in(ANN)
        run = client.create_run(client.create_experiment(unique)).info.run_id
        client.log_metric(run, "m", float("nan"))
        for path, query in (
            ("/ajax-api/2.0/mlflow/metrics/get-history-bulk", {"run_id": run, "metric_key": "m"}),
            ("/api/2.0/mlflow/runs/get", {"run_id": run}),
        ):
            text = server.http(ANN).get(path, params=query).text

            def strict(constant, text=text):
                raise AssertionError(text)

            json.loads(text, parse_constant=strict)

    def test_malformed_bodies_are_4xx_in_mlflows_form(self, server):
        bodies = [
            b"[]",
            b"{",
            b'"x"',
            b"\xff\xfe{}",
            b'{"a":' * 900 + b"1" + b"}" * 900,
            b'{"experiment_id": {"a": []}}',
            b'{"max_results": 1e999}',
            b'{"experiment_ids": 7}',
            b'{"experiment_ids": ["' + b"9" * 40 + b'"]}',
            b'{"max_results": 99999999999999999999999}',
        ]
        with server.http(ANN) as http:
            for path in (
                "runs/create",
                "runs/search",
                "runs/log-batch",
                "experiments/create",
                "registered-models/create",
                "model-versions/create",
                "logged-models/search",
            ):
                for body in bodies:
                    answer = http.post(
                        f"/api/2.0/mlflow/{path}", content=body, headers={"Content-Type": "application/json"}
                    )
                    assert answer.status_code < 500, (path, body, answer.text)
                    if answer.status_code >= 400:
                        assert answer.json()["error_code"]
