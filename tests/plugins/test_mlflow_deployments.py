"""MLflow's own deployment client against a real platform: it deploys, asks, changes and deletes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow.deployments import get_deploy_client, run_local
from mlflow.exceptions import MlflowException

from ml_platform.plugins.mlflow_deployments import target_help
from tests.support.rollouts import LOW, MEDIUM, Bench

Client = Callable[..., Any]
ON_SQLITE = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)


@pytest.fixture
def client(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """`get_deploy_client` of an ML engineer."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLOPS_API_URL", bench.platform.url)
    monkeypatch.setenv("MLOPS_API_KEY", bench.engineer.token)
    monkeypatch.delenv("MLOPS_TEAM", raising=False)
    return lambda uri="mlops": get_deploy_client(uri)


def code_of(refused: pytest.ExceptionInfo[MlflowException]) -> str:
    return refused.value.error_code


@ON_SQLITE
class TestDeployments:
    def test_go_from_creation_to_deletion(self, bench: Bench, client: Client) -> None:
        bench.plant("adder", bias=1.0)
        bench.plant("adder", bias=2.0)
        bench.assess("adder", LOW)
        mlops = client()
        assert mlops.list_deployments() == []
        made = mlops.create_deployment("sums", "models:/adder/1", config={"replicas": "1"})
        assert (made["name"], made["environment"], made["status"]) == ("sums", "staging", "active")
        assert [d["name"] for d in mlops.list_deployments()] == ["sums"]
        frame = pd.DataFrame({"x0": [1.0, 2.5]})
        assert mlops.predict("sums", frame).get_predictions("ndarray").tolist() == [2.0, 3.5]

        explained = mlops.explain("sums", frame)["explanations"]
        assert explained == [
            {"base_value": 2.0, "values": {"x0": 0.0}},
            {"base_value": 2.0, "values": {"x0": 1.5}},
        ]

        mlops.update_deployment("sums", "models:/adder/2")
        found = mlops.get_deployment("sums")
        assert found["revisions"][0]["model_version"] == 2
        assert mlops.predict("sums", frame)["predictions"] == [3.0, 4.5]

        mlops.delete_deployment("sums")
        mlops.delete_deployment("sums")
        assert mlops.list_deployments() == []
        with pytest.raises(MlflowException) as refused:
            mlops.predict("sums", frame)
        assert code_of(refused) == "RESOURCE_DOES_NOT_EXIST"

    def test_take_every_form_of_input(self, bench: Bench, client: Client) -> None:
        bench.plant("forms")
        bench.assess("forms", LOW)
        mlops = client("mlops:/staging")
        mlops.create_deployment("forms", "models:/forms")
        for inputs in (
            pd.DataFrame({"more": ["a"], "x0": [1.5]}, index=[7]),
            np.array([[1.5]]),
            [[1.5]],
            [{"x0": 1.5}],
            {"x0": np.array([1.5])},
            {"x0": 1.5},
            {"instances": [{"x0": 1.5}]},
            {"dataframe_split": {"columns": ["x0"], "data": [[1.5]]}, "params": {"none": 1}},
        ):
            assert mlops.predict("forms", inputs) == {"predictions": [2.5]}
        with pytest.raises(
            MlflowException, match=r"dataframe_split\.data\[0\]\.x0: expected float, got null"
        ) as refused:
            mlops.predict("forms", pd.DataFrame({"x0": [float("nan")]}))
        assert code_of(refused) == "INVALID_PARAMETER_VALUE"

    def test_of_production_wait_for_people_when_told_to(self, bench: Bench, client: Client) -> None:
        bench.plant("risky")
        bench.assess("risky", MEDIUM)
        mlops = client(f"mlops:/{bench.team}/production")
        with pytest.raises(MlflowException, match="waits for an approval") as refused:
            mlops.create_deployment("risky", "models:/risky/1", config={"justification": "42"})
        assert code_of(refused) == "RESOURCE_CONFLICT"
        assert mlops.get_deployment("risky")["status"] == "pending_approval"

    def test_return_at_once_when_told_to(self, bench: Bench, client: Client) -> None:
        bench.plant("later")
        bench.assess("later", LOW)
        made = client().create_deployment("later", "models:/later/1", config={"wait": "false"})
        assert made["active_rollout_id"]
        bench.until({"rollout_id": made["active_rollout_id"]}, "succeeded")

    def test_refuse_what_they_cannot_do_in_mlflows_terms(self, bench: Bench, client: Client) -> None:
        bench.plant("taken")
        bench.assess("taken", LOW)
        mlops = client()
        mlops.create_deployment("taken", "models:/taken/1")
        for call, code, says in (
            (
                lambda: mlops.create_deployment("taken", "models:/taken/1"),
                "RESOURCE_ALREADY_EXISTS",
                "already",
            ),
            (lambda: mlops.create_deployment("x", "runs:/abc/model"), "INVALID_PARAMETER_VALUE", "models:/"),
            (lambda: mlops.create_deployment("x", "models:/nobody/1"), "RESOURCE_DOES_NOT_EXIST", "nobody"),
            (
                lambda: mlops.create_deployment("x", "models:/taken/1", "sklearn"),
                "INVALID_PARAMETER_VALUE",
                "flavor",
            ),
            (
                lambda: mlops.create_deployment("x", "models:/taken/1", config={"gpu": 1}),
                "INVALID_PARAMETER_VALUE",
                "gpu",
            ),
            (
                lambda: mlops.create_deployment("Not A Slug", "models:/taken/1"),
                "INVALID_PARAMETER_VALUE",
                "name",
            ),
            (lambda: mlops.update_deployment("taken"), "INVALID_PARAMETER_VALUE", "model_uri"),
            (
                lambda: mlops.update_deployment("nobody", "models:/taken/1"),
                "RESOURCE_DOES_NOT_EXIST",
                "nobody",
            ),
            (lambda: mlops.get_deployment("nobody"), "RESOURCE_DOES_NOT_EXIST", "nobody"),
            (lambda: mlops.list_deployments(endpoint="e"), "INVALID_PARAMETER_VALUE", "endpoint"),
            (lambda: mlops.predict(None, []), "INVALID_PARAMETER_VALUE", "which"),
            (lambda: get_deploy_client("mlops:/a/b/c"), "INVALID_PARAMETER_VALUE", "no target"),
            (lambda: run_local("mlops", "x", "models:/taken/1"), "INVALID_PARAMETER_VALUE", "mlops up"),
        ):
            with pytest.raises(MlflowException, match=says) as refused:
                call()
            assert code_of(refused) == code, says

    def test_of_other_teams_are_out_of_reach(self, bench: Bench, client: Client) -> None:
        bench.plant("mine")
        bench.assess("mine", LOW)
        client().create_deployment("mine", "models:/mine/1")
        theirs = bench.platform.new_team("other")
        with pytest.raises(MlflowException) as refused:
            client(f"mlops:/{theirs}/staging").get_deployment("mine")
        assert code_of(refused) in {"RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"}

    def test_are_reached_by_mlflows_command_line(self, bench: Bench, client: Client, tmp_path: Path) -> None:
        bench.plant("cli")
        bench.assess("cli", LOW)
        create = ["create", "-t", "mlops", "--name", "cli", "-m", "models:/cli/1", "-C", "replicas=1"]
        assert "cli is created" in mlflow_deployments(*create)
        rows = tmp_path / "rows.json"
        rows.write_text(json.dumps([{"x0": 4.0}]))
        asked = mlflow_deployments("predict", "-t", "mlops", "--name", "cli", "-I", str(rows))
        assert json.loads(asked) == {"predictions": [5.0]}
        assert "cli" in mlflow_deployments("list", "-t", "mlops")
        mlflow_deployments("delete", "-t", "mlops", "--name", "cli")
        assert "cli" not in mlflow_deployments("list", "-t", "mlops")


class TestWithoutAPlatform:
    def test_nobody_is_configured(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
        monkeypatch.delenv("MLOPS_API_URL", raising=False)
        with pytest.raises(MlflowException, match="mlops up"):
            get_deploy_client("mlops")

    def test_nobody_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with httpx.Client() as _, monkeypatch.context() as patch:
            patch.setenv("MLOPS_API_URL", "http://127.0.0.1:9")
            patch.setenv("MLOPS_API_KEY", "mlops_a_b")
            with pytest.raises(MlflowException) as refused:
                get_deploy_client("mlops").list_deployments()
        assert code_of(refused) == "TEMPORARILY_UNAVAILABLE"

    def test_help_names_targets_and_configuration(self) -> None:
        assert mlflow_deployments("help", "-t", "mlops").strip().endswith(target_help().strip())


def mlflow_deployments(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "deployments", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
