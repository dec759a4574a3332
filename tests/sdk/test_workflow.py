"""The standard workflow in five calls, with nothing but the SDK: from a table to an endpoint that answers."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform import Platform
from ml_platform.integrations.inference import InferenceClient
from ml_platform.sdk.errors import ConflictError, InvalidInputError, NotFoundError
from ml_platform.sdk.features import FeatureView
from ml_platform.services.deployments import RolloutParts
from tests.inference.support.server import Server
from tests.support.platform import RunningPlatform

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)
_VIEW = {"name": "customer_profile", "entities": ["customer_id"], "timestamp_field": "event_timestamp"}


@pytest.fixture(scope="module")
def inference(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An inference server that follows the control plane's snapshot."""
    home = platform.settings.home
    server = Server(
        tmp_path_factory.mktemp("inference"),
        None,
        home / "storage",
        control_url=platform.url,
        token_file=home / "secrets" / "inference.key",
        poll_wait=5,
    )
    server.start()
    yield server
    server.close()


@pytest.fixture
def ana(platform: RunningPlatform) -> Iterator[Platform]:
    caller = platform.new_user(platform.new_team(), "ml_engineer")
    with Platform(platform.url, caller.token) as found:
        yield found


def customers(file: Path, rows: int = 600) -> Path:
    """Customers of whom those with a monthly contract and a short tenure leave."""
    dice = random.Random(7)
    lines = ["customer_id,event_timestamp,tenure,monthly_charges,contract,payment,churn"]
    for number in range(rows):
        tenure, contract = dice.randrange(72), dice.choice(["monthly", "yearly"])
        leaves = 2.0 * (contract == "monthly") - tenure / 24 + dice.gauss(0, 0.4) > 0
        charges = f"{dice.uniform(20, 110):.2f}"
        payment = dice.choice(["card", "check", "transfer"])
        day = 1 + number % 28
        lines.append(
            f"C{number:05d},2024-01-{day:02d}T00:00:00Z,{tenure},{charges},{contract},{payment},{int(leaves)}"
        )
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def view(ana: Platform, tmp_path: Path) -> FeatureView:
    data = ana.data.upload("customers", customers(tmp_path / "customers.csv"))
    assert ana.data.validate(data).valid
    return ana.features.create(data, _VIEW)


class TestAFeatureView:
    def test_it_is_made_once_and_then_taken_as_it_is(self, ana: Platform, view: FeatureView) -> None:
        again, made = ana.features.get_or_create("customers", _VIEW)
        assert (again.name, made) == (view.name, False)
        first, second = view.materialize(), again.materialize()
        assert first.data.materialized_at < second.data.materialized_at
        other, made = ana.features.get_or_create("customers", {**_VIEW, "name": "others"})
        assert (other.name, made) == ("others", True)
        assert sorted(found.name for found in ana.features.list()) == sorted([view.name, "others"])


class TestTheConfiguration:
    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({}, "label"),
            ({"label": "churn", "algoritm": "lightgbm"}, "'algoritm' is not known"),
            ({"label": "churn", "script": "t.py", "algorithm": "ridge"}, "beside a script of your own"),
            ({"label": "churn", "config": {"a": 1}}, "'config' is not known"),
            ({"label": "churn", "seed": float("nan")}, "NaN"),
            ({"label": "churn", "gate": {"metric": "beauty", "threshold": 1}}, "gate"),
            ({"label": "churn", "script": "nowhere.py"}, "is not there"),
        ],
    )
    def test_what_it_does_not_know_is_named_and_nothing_is_started(
        self, ana: Platform, view: FeatureView, config: dict, said: str
    ) -> None:
        with pytest.raises(InvalidInputError, match=said):
            ana.train(view, config)
        assert ana.jobs.list() == []

    def test_features_are_a_view_a_training_set_or_a_dataset(self, ana: Platform) -> None:
        with pytest.raises(InvalidInputError, match="not a str"):
            ana.train("customers", {"label": "churn"})  # type: ignore[arg-type]

    def test_an_experiment_without_a_model_has_no_best_one(self, ana: Platform) -> None:
        experiment = ana.create_experiment("empty")
        with pytest.raises(NotFoundError, match="no registered model yet"):
            ana.evaluate(experiment)
        with pytest.raises(NotFoundError, match="no registered model yet"):
            experiment.deploy_latest()


@pytest.mark.slow
class TestFiveCalls:
    @pytest.mark.timeout(600)
    def test_from_a_table_to_an_endpoint(
        self,
        ana: Platform,
        platform: RunningPlatform,
        view: FeatureView,
        inference: Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        parts = platform.runtime.components.get(RolloutParts)
        client = InferenceClient(lambda: inference.base, parts.smoke_keys.service_token())
        monkeypatch.setattr(parts, "plane", client)
        monkeypatch.setattr(parts, "inference_url", lambda: inference.base)
        view.materialize()
        gate = {"metric": "roc_auc", "threshold": 0.8}
        experiment = ana.train(view, {"label": "churn", "name": "churn", "gate": gate})
        metrics = ana.evaluate(experiment)
        assert metrics.rows == 120
        assert metrics.passes_threshold({"roc_auc": 0.8, "log_loss": 0.6})
        deployment = ana.deploy(experiment.best_model)
        assert deployment.status == "active"
        build = next(stage for stage in deployment.rollout().stages if stage.name.value == "build")
        assert build.evidence["runtime"] == "onnx", build.evidence
        leaver = {"tenure": 1, "monthly_charges": 80.0, "contract": "monthly", "payment": "card"}
        stayer = leaver | {"tenure": 70, "contract": "yearly"}
        likely, unlikely = (
            answer[1] if isinstance(answer, list) else answer
            for answer in deployment.predict([leaver, stayer])
        )
        assert likely > 0.5 > unlikely
        (by_key,) = deployment.predict({"customer_id": "C00003"})
        assert by_key is not None
        (why,) = deployment.explain(leaver)
        assert set(why["values"]) == set(leaver)
        assert why["base_value"] + sum(why["values"].values()) == pytest.approx(likely, abs=1e-6)
        assert why["values"]["contract"] > 0
        assert deployment.metrics("5m").requests >= 2
        assert ana.deployments.get("staging/churn").deployment_id == deployment.deployment_id
        self.watch(ana, deployment.deployment_id)
        assert deployment.retire().status == "retired"

    def watch(self, ana: Platform, deployment_id: str) -> None:
        """The monitor keeps what was set; a check on a handful of rows says that they are too few."""
        changed = ana.drift.configure(deployment_id, min_rows=200, retrain={"enabled": True})
        assert (changed.min_rows, changed.retrain.enabled) == (200, True)
        again = ana.drift.configure(deployment_id, psi_warn=0.2)
        assert (again.min_rows, again.retrain.enabled, again.psi_warn) == (200, True, 0.2)
        with pytest.raises(InvalidInputError, match="no setting 'psi'"):
            ana.drift.configure(deployment_id, psi=0.1)
        accepted = ana.drift.check(deployment_id)
        report = ana.drift.wait(deployment_id, accepted.check_id, timeout=60)
        assert report.verdict is not None
        assert report.verdict.value == "not_enough_data"
        assert [check.check_id for check in ana.drift.checks(deployment_id)] == [accepted.check_id]
        assert ana.drift.retrainings(deployment_id) == []

    @pytest.mark.timeout(400)
    def test_a_gate_that_is_not_reached_is_an_error_that_says_why(
        self, ana: Platform, view: FeatureView
    ) -> None:
        gate = {"metric": "roc_auc", "threshold": 0.999999}
        with pytest.raises(ConflictError, match="registered no model"):
            ana.train(view, {"label": "churn", "algorithm": "logistic_regression", "gate": gate})
        (job,) = ana.jobs.list()
        assert job.data.gate is not None
        assert job.data.gate.value is not None
        assert 0.8 < job.data.gate.value < 0.999999
