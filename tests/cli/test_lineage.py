"""`mlops lineage` on a real platform, and the SDK behind it."""

import polars as pl
import pytest
import yaml

from ml_platform.sdk import Platform
from ml_platform.sdk.errors import NotFoundError
from tests.cli.conftest import ON_SQLITE
from tests.cli.running import Mlops
from tests.services.features.test_features import ASKED, CUSTOMERS, VIEW
from tests.support.monitoring import Watched, features, watch
from tests.support.platform import Caller, RunningPlatform

pytestmark = ON_SQLITE


@pytest.fixture
def training_set(ana: Caller) -> str:
    """Joined from `asked@1` and the view `profile` over `customers@1`."""
    for name, content in (("customers", CUSTOMERS), ("asked", ASKED)):
        ana.client.post("/datasets", json={"name": name})
        assert ana.client.post(f"/datasets/{name}/versions", content=content).status_code == 201
    assert ana.client.post("/feature-views", json=VIEW).status_code == 201
    answer = ana.client.post("/training-sets", json={"entities": "asked@1", "features": ["profile"]})
    return str(answer.json()["training_set_id"])


@pytest.fixture
def watched(platform: RunningPlatform, ana: Caller, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("watched")
    return watch(platform, folder, caller=ana, reference=pl.DataFrame())


class TestTheTree:
    def test_shows_both_sides(self, as_ana: Mlops, training_set: str) -> None:
        ran = as_ana("lineage", "feature_view", "profile")
        assert (ran.code, ran.stderr) == (0, "")
        lines = [line.lstrip(" │├└─") for line in ran.stdout.splitlines()]
        assert lines[0].startswith("feature_view profile@1")
        assert lines.index("made of") < lines.index("used for")
        assert any(line.startswith("source: dataset customers@1") for line in lines)
        assert any(line.startswith(f"features: training_set {training_set}") for line in lines)

    def test_shows_one_side_when_asked(self, as_ana: Mlops, training_set: str) -> None:
        ran = as_ana("lineage", "training_set", training_set, "--direction", "upstream", "--depth", 1)
        assert "used for" not in ran.stdout
        assert "profile@1" in ran.stdout
        assert "customers@1  rows" not in ran.stdout, "that is two steps away"

    def test_of_a_prediction_leads_to_its_model(self, as_ana: Mlops, watched: Watched) -> None:
        watched.log(features().head(2))
        ran = as_ana("lineage", "prediction", "req-1")
        assert ran.code == 0, ran.stderr
        assert f"answered: revision {watched.revision_id}" in ran.stdout
        assert "deployed as: model churn/1" in ran.stdout

    def test_says_when_there_is_more(self, as_ana: Mlops, training_set: str) -> None:
        ran = as_ana("lineage", "training_set", training_set, "--limit", 2)
        assert ran.code == 0
        assert "there is more than 2 nodes" in ran.stderr


class TestData:
    def test_is_json_or_yaml(self, as_ana: Mlops, training_set: str) -> None:
        found = as_ana("lineage", "training_set", training_set, "-o", "json").data
        assert {node["id"] for node in found["nodes"]} == {
            training_set, "profile@1", "customers@1", "asked@1"
        }  # fmt: skip
        same = as_ana("lineage", "training_set", training_set, "-o", "yaml")
        assert yaml.safe_load(same.stdout) == found

    def test_wrong_words_are_said(self, as_ana: Mlops) -> None:
        assert as_ana("lineage", "model", "nothing").code != 0
        assert "'nothing'" in as_ana("lineage", "nothing", "x").stderr


class TestTheSDK:
    def test_gives_nodes_and_a_readable_text(
        self, platform: RunningPlatform, ana: Caller, training_set: str, watched: Watched
    ) -> None:
        with Platform(platform.url, ana.token) as client:
            found = client.lineage("training_set", training_set)
            assert [node.id for node in found.upstream("dataset")] == ["asked@1", "customers@1"]
            assert found.downstream() == []
            assert (found.root.id, found.truncated) == (training_set, False)
            assert "  made of\n" in repr(found)
            assert "dataset customers@1 (source)" in repr(found)
            assert "<pre>" in found._repr_html_()
            model = client.models.get("churn/1").lineage(direction="downstream")
            assert [node.id for node in model.downstream("deployment")] == [watched.deployment_id]
            with pytest.raises(NotFoundError):
                client.lineage("job", "job_nothing")
            with pytest.raises(ValueError, match="colour"):
                client.lineage("colour", "red")
