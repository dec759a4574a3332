"""Two teams see nothing of each other, through any call."""

import contextlib

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from requests import HTTPError

from tests.integrations.mlflow.tokens import ANN, BOB


@pytest.fixture
def theirs(sign_in, unique):
    """What team A has: an experiment, a run, a logged and registered model, an artifact, a trace."""
    client = sign_in(ANN)
    experiment = mlflow.set_experiment(f"a-{unique}").experiment_id
    with mlflow.start_run() as run:
        mlflow.log_metric("auc", 0.9)
        mlflow.log_text("secret of team a", "secret.txt")

        @mlflow.trace
        def traced():
            return 1

        traced()
    mlflow.flush_trace_async_logging()
    model = client.create_logged_model(experiment, f"m-{unique}", run.info.run_id)
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model(f"r-{unique}")
    client.create_model_version(f"r-{unique}", f"models:/{model.model_id}", model_id=model.model_id)
    (trace,) = mlflow.search_traces(locations=[experiment], return_type="list")
    return {
        "experiment": experiment,
        "run": run.info.run_id,
        "uri": run.info.artifact_uri,
        "trace": trace.info.trace_id,
        "model": model.model_id,
        "registered": f"r-{unique}",
    }


class TestOtherTeam:
    def test_cannot_read_anything_by_id(self, sign_in, theirs):
        client = sign_in(BOB)
        reads = [
            lambda: client.get_experiment(theirs["experiment"]),
            lambda: client.get_run(theirs["run"]),
            lambda: client.get_metric_history(theirs["run"], "auc"),
            lambda: client.get_logged_model(theirs["model"]),
            lambda: client.get_registered_model(theirs["registered"]),
            lambda: client.get_model_version(theirs["registered"], "1"),
            lambda: client.get_trace(theirs["trace"]),
            lambda: client.list_artifacts(theirs["run"]),
            lambda: mlflow.artifacts.load_text(f"{theirs['uri']}/secret.txt"),
        ]
        for read in reads:
            with pytest.raises((MlflowException, HTTPError)):
                read()

    def test_finds_nothing_by_searching(self, sign_in, theirs):
        client = sign_in(BOB)
        names = [one.name for one in client.search_experiments()]
        assert not any(name.startswith("a-") for name in names)
        assert client.search_runs([theirs["experiment"]]) == []
        assert client.search_registered_models(f"name = '{theirs['registered']}'") == []
        assert client.search_model_versions(f"name = '{theirs['registered']}'") == []
        assert mlflow.search_traces(locations=[theirs["experiment"]], return_type="list") == []
        assert list(client.search_logged_models([theirs["experiment"]])) == []

    def test_cannot_write_into_anything_by_id(self, sign_in, theirs, unique):
        client = sign_in(BOB)
        own = client.create_run(client.create_experiment(f"b-{unique}")).info.run_id
        writes = [
            lambda: client.create_run(theirs["experiment"]),
            lambda: client.log_metric(theirs["run"], "auc", 0.1),
            lambda: client.log_param(theirs["run"], "p", 1),
            lambda: client.set_tag(theirs["run"], "t", 1),
            lambda: client.log_batch(theirs["run"], [Metric("x", 1, 1, 1)]),
            lambda: client.delete_run(theirs["run"]),
            lambda: client.rename_experiment(theirs["experiment"], "mine"),
            lambda: client.delete_experiment(theirs["experiment"]),
            lambda: client.set_registered_model_alias(theirs["registered"], "x", 1),
            lambda: client.delete_registered_model(theirs["registered"]),
            lambda: client.delete_logged_model(theirs["model"]),
            lambda: client.set_logged_model_tags(theirs["model"], {"x": "y"}),
            lambda: client.set_trace_tag(theirs["trace"], "x", "y"),
            lambda: client.log_metric(own, "auc", 0.1, model_id=theirs["model"]),
            lambda: client.log_batch(own, [Metric("x", 1, 1, 1, theirs["model"])]),
        ]
        for number, write in enumerate(writes):
            assert _refused(write), f"write {number} went through"
        untouched = sign_in(ANN).get_run(theirs["run"])
        assert untouched.data.metrics == {"auc": 0.9}
        assert "x" not in sign_in(ANN).get_logged_model(theirs["model"]).tags

    def test_cannot_delete_traces(self, sign_in, theirs):
        bob = sign_in(BOB)
        with contextlib.suppress(MlflowException):
            assert bob.delete_traces(theirs["experiment"], trace_ids=[theirs["trace"]]) == 0
        assert sign_in(ANN).get_trace(theirs["trace"]).info.trace_id == theirs["trace"]

    def test_cannot_register_the_others_model(self, sign_in, theirs, unique):
        client = sign_in(BOB)
        client.create_registered_model(unique)
        for source, arguments in (
            (f"models:/{theirs['model']}", {"model_id": theirs["model"]}),
            (f"models:/{theirs['model']}", {}),
            (f"{theirs['uri']}", {"run_id": theirs["run"]}),
            (f"runs:/{theirs['run']}/secret.txt", {"run_id": theirs["run"]}),
            (f"models:/{theirs['registered']}/1", {}),
        ):
            try:
                client.create_model_version(unique, source, **arguments)
            except MlflowException:
                continue
            with pytest.raises(MlflowException):  # a runs:/ source is only a note: nothing can be read by it
                mlflow.artifacts.download_artifacts(f"models:/{unique}/1")

    def test_cannot_reach_the_others_artifacts(self, server, theirs):
        inside = theirs["uri"].removeprefix("mlflow-artifacts:/")
        base = "/api/2.0/mlflow-artifacts/artifacts"
        with server.http(BOB) as http:
            assert http.get(f"{base}/{inside}/secret.txt").status_code == 404
            assert http.put(f"{base}/{inside}/secret.txt", content=b"x").status_code == 404
            assert http.get(base, params={"path": inside}).status_code == 404
            for path in (f"../team-a/{theirs['experiment']}", f"x/../../team-a/{theirs['experiment']}"):
                assert http.get(base, params={"path": path}).status_code == 400
        assert server.http(ANN).get(f"{base}/{inside}/secret.txt").text == "secret of team a"

    def test_sees_nothing_through_graphql(self, server, theirs):
        query = 'query { mlflowGetRun(input: {runId: "%s"}) { run { info { runUuid artifactUri } } } }'
        body = {"query": query % theirs["run"]}
        assert theirs["run"] not in str(server.http(BOB).post("/graphql", json=body).json().get("data"))
        assert theirs["run"] in server.http(ANN).post("/graphql", json=body).text


def _refused(call):
    try:
        call()
    except MlflowException:
        return True
    return False
