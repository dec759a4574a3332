"""What the SDK returns can be read, in a terminal and in a notebook."""

from datetime import UTC, datetime

import pytest

from ml_platform.contracts.experiments import Experiment as ExperimentData
from ml_platform.sdk import Platform
from ml_platform.sdk.errors import InvalidInputError
from ml_platform.sdk.evaluation import Evaluation, EvaluationData
from ml_platform.sdk.experiments import Experiment
from tests.sdk.conftest import Answers


def experiment(platform: Platform, name: str) -> Experiment:
    data = ExperimentData(
        experiment_id="7",
        name=name,
        description=None,
        created_at=datetime(2024, 1, 1, tzinfo=UTC),
        workspace="w",
    )
    return Experiment(platform.experiments._transport, data)


def evaluation(platform: Platform, **metrics: float) -> Evaluation:
    data = EvaluationData(model_id="churn_v1", dataset=None, rows=10, metrics=metrics)
    return Evaluation(platform.experiments._transport, data)


class TestShowing:
    def test_a_repr_names_what_matters(self, platform_of_answers: Platform) -> None:
        text = repr(experiment(platform_of_answers, "churn"))
        assert text.startswith("Experiment(experiment_id='7', name='churn'")

    def test_html_of_a_notebook_is_escaped(self, platform_of_answers: Platform) -> None:
        html = experiment(platform_of_answers, "<script>alert('x')</script>")._repr_html_()
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        assert html.startswith("<table>")

    def test_a_platform_shows_its_address_and_no_key(self, answers: Answers) -> None:
        with Platform(answers.url, "mlops_a_secret", team="fraud") as platform:
            assert repr(platform) == f"Platform(url={answers.url!r}, team='fraud')"


class TestPassingThresholds:
    def test_scores_must_reach_and_losses_must_not_exceed(self, platform_of_answers: Platform) -> None:
        found = evaluation(platform_of_answers, roc_auc=0.84, log_loss=0.42)
        assert found.passes_threshold({"roc_auc": 0.84})
        assert not found.passes_threshold({"roc_auc": 0.85})
        assert found.passes_threshold({"log_loss": 0.5})
        assert not found.passes_threshold({"roc_auc": 0.8, "log_loss": 0.4})
        assert (found["roc_auc"], len(found), dict(found)["log_loss"]) == (0.84, 2, 0.42)

    @pytest.mark.parametrize("criteria", [{}, {"f1": 0.5}, {"roc_auc": float("nan")}, {"roc_auc": "high"}])
    def test_criteria_that_say_nothing_are_refused(
        self, platform_of_answers: Platform, criteria: dict
    ) -> None:
        with pytest.raises(InvalidInputError):
            evaluation(platform_of_answers, roc_auc=0.84).passes_threshold(criteria)


class TestPredicting:
    def test_what_pandas_calls_missing_is_sent_as_null(
        self, platform_of_answers: Platform, answers: Answers
    ) -> None:
        pandas = pytest.importorskip("pandas")
        deployment = {
            "deployment_id": "dep_1", "name": "churn", "environment": "staging", "status": "active",
            "endpoint": f"{answers.url}/fraud/staging/v1/models/churn:predict", "replicas": 1, "auto_scale": False,
            "max_replicas": None, "revisions": [], "active_rollout_id": None, "last_rollout_id": None,
            "created_by": "ana", "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
        }  # fmt: skip
        answers.add(200, deployment)
        answers.add(200, {"predictions": [0.87, 0.1]})
        found = platform_of_answers.deployments.get("dep_1")
        frame = pandas.DataFrame({"tenure": [1.5, None], "plan": ["a", None]})
        assert found.predict(frame) == [0.87, 0.1]
        sent = answers.received[1]
        answers.add(200, {"explanations": [{"base_value": 0.2, "values": {"tenure": 0.3}}]})
        assert found.explain({"tenure": 1.5}) == [{"base_value": 0.2, "values": {"tenure": 0.3}}]
        assert answers.received[2].path == "/fraud/staging/v1/models/churn:explain"
        assert answers.received[2].body == b'{"instances": [{"tenure": 1.5}]}'
        assert sent.path == "/fraud/staging/v1/models/churn:predict"
        assert sent.body == (b'{"instances": [{"tenure": 1.5, "plan": "a"}, {"tenure": null, "plan": null}]}')
