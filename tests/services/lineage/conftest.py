"""A team with something of everything that lineage leads through, made over the API where that takes moments."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.services.features.test_features import ASKED, CUSTOMERS, VIEW, materialize
from tests.support.monitoring import Watched, watch
from tests.support.platform import Caller, RunningPlatform
from tests.support.training import create_experiment, submit_script, wait_for


@dataclass(frozen=True)
class Made:
    """From `customers@1` and `asked@1` to a deployment that serves `churn/1`."""

    caller: Caller
    training_set: str
    job: dict[str, Any]
    watched: Watched

    def lineage(self, kind: str, name: str, **query: Any) -> dict[str, Any]:
        answer = self.caller.client.get(f"/lineage/{kind}/{name}", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ids(self, kind: str, name: str, **query: Any) -> set[tuple[str, str]]:
        """Kinds and ids of the nodes of an answer."""
        return {(node["kind"], node["id"]) for node in self.lineage(kind, name, **query)["nodes"]}


def uploaded(caller: Caller, name: str, content: bytes) -> None:
    caller.client.post("/datasets", json={"name": name})
    answer = caller.client.post(f"/datasets/{name}/versions", content=content)
    assert answer.status_code == 201, answer.text


@pytest.fixture(scope="session")
def made(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Made:
    caller = platform.new_user(platform.new_team("lineage"), "ml_engineer")
    return make(platform, caller, tmp_path_factory.mktemp("lineage"))


def make(platform: RunningPlatform, caller: Caller, folder: Path) -> Made:
    for name, content in (("customers", CUSTOMERS), ("asked", ASKED)):
        uploaded(caller, name, content)
    assert caller.client.post("/feature-views", json=VIEW).status_code == 201
    assert materialize(caller)["status"] == "succeeded"
    answer = caller.client.post(
        "/training-sets", json={"entities": "asked@1", "features": ["profile"], "label": "label"}
    )
    assert answer.status_code == 201, answer.text
    training_set = answer.json()["training_set_id"]
    job_id = submit_script(
        caller.client,
        create_experiment(caller.client, "lineage"),
        "print('trained')",
        inputs={"train": f"training_set:{training_set}", "customers": "dataset:customers"},
    )
    job = wait_for(caller.client, job_id, within=120)
    assert job["status"] == "succeeded", job
    watched = watch(platform, folder, caller=caller, job_id=job_id, reference=pl.DataFrame())
    return Made(caller, training_set, job, watched)
