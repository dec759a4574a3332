"""Predictions joined with labels, and their measures against scikit-learn's."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from ml_platform.services.monitoring.statistics import AnswerKind, Labelled, measure_labelled

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BINARY = AnswerKind("classification", True, ("No", "Yes"))
COLUMNS: dict[str, Any] = {
    "request_id": pl.String,
    "instance": pl.Int32,
    "time": pl.Datetime("us", "UTC"),
    "deployment_id": pl.String,
    "revision_id": pl.String,
    "model_name": pl.String,
    "model_version": pl.String,
    "status": pl.Int16,
    "entity_keys": pl.String,
    "prediction": pl.Float64,
    "prediction_json": pl.String,
}
LABELS: dict[str, Any] = {
    "request_id": pl.String,
    "instance": pl.Int32,
    "entity_names": pl.String,
    "entity_key": pl.String,
    "time": pl.Datetime("us", "UTC"),
    "label": pl.Float64,
    "label_json": pl.String,
    "received_at": pl.Datetime("us", "UTC"),
    "position": pl.Int32,
}


def answered(request_id: str, answer: Any, **changes: Any) -> dict[str, Any]:
    number = isinstance(answer, int | float)
    return {
        "request_id": request_id,
        "instance": 0,
        "time": NOW - timedelta(hours=1),
        "deployment_id": "dep",
        "revision_id": "rev",
        "model_name": "churn",
        "model_version": "1",
        "status": 200,
        "entity_keys": None,
        "prediction": float(answer) if number else None,
        "prediction_json": json.dumps(answer),
    } | changes


def happened(label: Any, request_id: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "instance": None,
        "entity_names": None,
        "entity_key": None,
        "time": None,
        "label": None if isinstance(label, str) else float(label),
        "label_json": json.dumps(label),
        "received_at": NOW,
        "position": 0,
    } | changes


def of_customer(label: Any, customer: str, hours: float, **changes: Any) -> dict[str, Any]:
    moment = NOW - timedelta(hours=hours)
    return happened(label, entity_names='["customer_id"]', entity_key=customer, time=moment, **changes)


def measure(
    folder: Path,
    predictions: Sequence[dict[str, Any]],
    labels: Sequence[dict[str, Any]],
    kind: AnswerKind | None = BINARY,
) -> Labelled:
    pl.DataFrame(predictions, schema=COLUMNS).write_parquet(folder / "predictions.parquet")
    pl.DataFrame(labels, schema=LABELS).write_parquet(folder / "labels.parquet")
    return measure_labelled(
        [folder / "predictions.parquet"],
        [folder / "labels.parquet"],
        deployment_id="dep",
        since=NOW - timedelta(days=1),
        until=NOW,
        kind_of=lambda _: kind,
    )


class TestMeasures:
    def test_of_probabilities_are_those_of_scikit_learn(self, tmp_path: Path) -> None:
        chance = random.Random(7)
        scores = [round(chance.random(), 2) for _ in range(400)]
        truth = [int(chance.random() < score) for score in scores]
        found = measure(
            tmp_path,
            [answered(f"r{i}", score) for i, score in enumerate(scores)],
            [happened("Yes" if positive else "No", f"r{i}") for i, positive in enumerate(truth)],
        )
        [revision] = found.revisions
        guesses = [score >= 0.5 for score in scores]
        assert revision.metrics == {
            "accuracy": pytest.approx(accuracy_score(truth, guesses)),
            "f1": pytest.approx(f1_score(truth, guesses)),
            "auc": pytest.approx(roc_auc_score(truth, scores)),
            "log_loss": pytest.approx(log_loss(truth, scores)),
            "positive_rate": pytest.approx(sum(truth) / 400),
            "mean_prediction": pytest.approx(sum(scores) / 400),
        }
        assert (revision.predictions, revision.labelled, revision.usable) == (400, 400, 400)

    def test_of_classes_are_those_of_scikit_learn(self, tmp_path: Path) -> None:
        chance = random.Random(7)
        truth = [chance.choice("abc") for _ in range(200)]
        guesses = [chance.choice(actual + "abc") for actual in truth]
        predictions = [answered(f"r{i}", guess) for i, guess in enumerate(guesses)]
        labels = [happened(actual, f"r{i}") for i, actual in enumerate(truth)]
        found = measure(tmp_path, predictions, labels, AnswerKind("classification", False, ("a", "b", "c")))
        assert found.revisions[0].metrics == {
            "accuracy": pytest.approx(accuracy_score(truth, guesses)),
            "macro_f1": pytest.approx(f1_score(truth, guesses, average="macro")),
        }

    @pytest.mark.parametrize("classes", [(0, 1), (False, True), ("stays", "goes")])
    def test_of_two_classes_take_the_second_as_positive(
        self, tmp_path: Path, classes: tuple[Any, Any]
    ) -> None:
        no, yes = classes
        predictions = [answered(f"r{i}", answer) for i, answer in enumerate([yes, yes, no, no, yes])]
        labels = [happened(label, f"r{i}") for i, label in enumerate([yes, no, yes, no, yes])]
        kind = AnswerKind("classification", False, classes)
        metrics = measure(tmp_path, predictions, labels, kind).revisions[0].metrics
        assert metrics == {"accuracy": pytest.approx(0.6), "f1": pytest.approx(2 / 3)}

    def test_of_numbers_are_their_errors(self, tmp_path: Path) -> None:
        predictions = [answered(f"r{i}", value) for i, value in enumerate([1.0, 2.0, 6.0])]
        labels = [happened(value, f"r{i}") for i, value in enumerate([1.0, 4.0, 5.0])]
        metrics = measure(tmp_path, predictions, labels, AnswerKind("regression")).revisions[0].metrics
        assert metrics == {
            "rmse": pytest.approx((5 / 3) ** 0.5),
            "mae": pytest.approx(1.0),
            "mean_error": pytest.approx(-1 / 3),
        }

    def test_say_nothing_of_labels_that_are_no_class(self, tmp_path: Path) -> None:
        labels = [happened("Yes", "r0"), happened("Perhaps", "r1"), happened(1, "r2")]
        [revision] = measure(tmp_path, [answered(f"r{i}", 0.9) for i in range(3)], labels).revisions
        assert (revision.labelled, revision.usable) == (3, 1)
        assert revision.metrics is not None
        assert revision.metrics["auc"] is None

    def test_are_none_of_answers_that_nobody_can_compare(self, tmp_path: Path) -> None:
        for kind in (None, AnswerKind("other")):
            [revision] = measure(tmp_path, [answered("r", 0.9)], [happened("Yes", "r")], kind).revisions
            assert (revision.labelled, revision.metrics) == (1, None)

    def test_are_of_each_revision_alone(self, tmp_path: Path) -> None:
        predictions = [answered("r0", 0.9), answered("r1", 0.9, revision_id="other")]
        found = measure(tmp_path, predictions, [happened("Yes", "r0"), happened("No", "r1")])
        accuracies = {r.revision_id: (r.metrics or {}).get("accuracy") for r in found.revisions}
        assert accuracies == {"rev": 1.0, "other": 0.0}


class TestTheJoin:
    def test_leaves_out_other_deployments_failures_and_times(self, tmp_path: Path) -> None:
        predictions = [
            answered("r0", 0.9, deployment_id="another"),
            answered("r1", 0.9, status=500),
            answered("r2", 0.9, time=NOW - timedelta(days=2)),
            answered("r3", 0.9, time=NOW),
        ]
        found = measure(tmp_path, predictions, [happened("Yes", f"r{i}") for i in range(4)])
        assert (found.labels, found.matched, found.revisions) == (4, 0, ())

    def test_needs_the_position_in_a_request_of_several(self, tmp_path: Path) -> None:
        predictions = [answered("r", 0.1 * i, instance=i) for i in range(3)]
        found = measure(tmp_path, predictions, [happened("Yes", "r"), happened("No", "r", instance=2)])
        assert (found.matched, found.ambiguous) == (1, 1)
        assert found.revisions[0].labelled == 1

    def test_takes_the_newest_of_labels_that_were_corrected(self, tmp_path: Path) -> None:
        labels = [
            happened("Yes", "r", received_at=NOW),
            happened("No", "r", received_at=NOW - timedelta(hours=1)),
        ]
        for order in (labels, labels[::-1]):
            [revision] = measure(tmp_path, [answered("r", 0.9)], order).revisions
            assert (revision.labelled, (revision.metrics or {})["accuracy"]) == (1, 1.0)

    def test_finds_the_last_prediction_before_the_label(self, tmp_path: Path) -> None:
        key = json.dumps({"region": "eu", "customer_id": "c1"})
        predictions = [
            answered(f"r{hours}", score, time=NOW - timedelta(hours=hours), entity_keys=key)
            for hours, score in ((10, 0.1), (6, 0.9), (2, 0.2))
        ]
        found = measure(tmp_path, predictions, [of_customer("Yes", "c1", 4), of_customer("Yes", "c2", 4)])
        [revision] = found.revisions
        assert (found.matched, revision.labelled) == (1, 1)
        assert (revision.metrics or {})["mean_prediction"] == 0.9

    def test_gives_a_prediction_the_first_of_what_happened_after_it(self, tmp_path: Path) -> None:
        prediction = answered("r", 0.9, time=NOW - timedelta(hours=10), entity_keys='{"customer_id":"c1"}')
        labels = [of_customer("No", "c1", 2), of_customer("Yes", "c1", 8), of_customer("No", "c1", 12)]
        [revision] = measure(tmp_path, [prediction], labels).revisions
        assert (revision.labelled, (revision.metrics or {})["accuracy"]) == (1, 1.0)

    def test_gives_the_label_to_shadows_of_the_same_request_too(self, tmp_path: Path) -> None:
        key, moment = '{"customer_id":"c1"}', NOW - timedelta(hours=5)
        predictions = [
            answered("r", 0.9, entity_keys=key, time=moment),
            answered("r", 0.2, entity_keys=key, time=moment, revision_id="same moment"),
            answered("r", 0.1, entity_keys=key, time=moment + timedelta(seconds=2), revision_id="later"),
            answered("s", 0.9, entity_keys=key, time=moment - timedelta(hours=1), revision_id="before"),
        ]
        for label in (happened("Yes", "r"), of_customer("Yes", "c1", 1)):
            found = measure(tmp_path, predictions, [label])
            labelled = {revision.revision_id: revision.labelled for revision in found.revisions}
            assert labelled == {"rev": 1, "same moment": 1, "later": 1, "before": 0}
            assert found.matched == 1

    def test_matches_keys_of_any_name_and_type(self, tmp_path: Path) -> None:
        names = ["a/b", 'it\'s ~ "q"']
        prediction = answered("r", 0.9, entity_keys=json.dumps({names[1]: "x", names[0]: 7}))
        label = happened(
            "Yes", entity_names=json.dumps(names), entity_key="7\x1fx", time=NOW - timedelta(minutes=1)
        )
        assert measure(tmp_path, [prediction], [label]).matched == 1

    def test_of_nothing_is_nothing(self, tmp_path: Path) -> None:
        assert measure(tmp_path, [], []).revisions == ()
        assert measure(tmp_path, [answered("r", 0.5)], []).revisions[0].labelled == 0
