"""The gate's judgement, without anything to train."""

from datetime import UTC, datetime
from typing import Any

from ml_platform.contracts.models import Gate, GateResult
from ml_platform.services.registry import EvaluatedModel
from ml_platform.services.registry.gate import judge

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def judged(
    gate: dict[str, Any], candidate: float | None, champion: float | None = None, **more: Any
) -> GateResult:
    wanted = Gate.model_validate(gate)

    def evaluated(value: float | None) -> EvaluatedModel:
        return EvaluatedModel(
            {wanted.metric.value: value} if value is not None else {}, "classification", 100
        )

    return judge(
        wanted,
        evaluated(candidate),
        champion_id=more.get("champion_id", "churn_v1" if champion is not None else None),
        champion=evaluated(champion) if champion is not None else None,
        champion_problem=more.get("problem"),
        holdout_sha256="0" * 64,
        now=NOW,
    )


class TestThreshold:
    def test_exactly_met_passes(self) -> None:
        assert judged({"metric": "roc_auc", "threshold": 0.8}, 0.8).passed

    def test_just_missed_fails_and_says_by_what(self) -> None:
        result = judged({"metric": "roc_auc", "threshold": 0.8}, 0.79)
        assert not result.passed
        assert "roc_auc 0.79 misses the threshold: at least 0.8" in result.reasons

    def test_errors_and_losses_are_better_when_lower(self) -> None:
        for metric in ("rmse", "mae", "log_loss"):
            assert judged({"metric": metric, "threshold": 0.5}, 0.4).passed
            assert not judged({"metric": metric, "threshold": 0.5}, 0.6).passed

    def test_a_metric_that_cannot_be_computed_fails(self) -> None:
        result = judged({"metric": "roc_auc", "threshold": 0.0}, None, 0.9)
        assert not result.passed
        assert result.value is None


class TestChampion:
    def test_as_good_as_the_champion_passes(self) -> None:
        assert judged({"metric": "f1", "threshold": 0.5}, 0.8, 0.8).passed

    def test_worse_than_the_champion_fails_though_above_the_threshold(self) -> None:
        result = judged({"metric": "f1", "threshold": 0.5}, 0.79, 0.8)
        assert not result.passed
        assert (result.champion_model_id, result.champion_value) == ("churn_v1", 0.8)

    def test_better_than_the_champion_but_below_the_threshold_fails(self) -> None:
        assert not judged({"metric": "f1", "threshold": 0.9}, 0.85, 0.8).passed

    def test_a_lower_loss_than_the_champions_passes(self) -> None:
        assert judged({"metric": "log_loss", "threshold": 1.0}, 0.3, 0.4).passed
        assert not judged({"metric": "log_loss", "threshold": 1.0}, 0.5, 0.4).passed

    def test_within_the_tolerance_passes(self) -> None:
        assert judged({"metric": "f1", "threshold": 0.5, "tolerance": 0.02}, 0.79, 0.8).passed

    def test_a_champion_that_cannot_be_evaluated_fails_with_its_reason(self) -> None:
        result = judged(
            {"metric": "f1", "threshold": 0.5}, 0.9, None, champion_id="churn_v1", problem="no column 'age'"
        )
        assert not result.passed
        assert "no column 'age'" in result.reasons[-1]
