"""Trials by the SDK and by the command line."""

import json
from pathlib import Path

import pytest

from ml_platform.sdk import Platform
from tests.cli.conftest import mlops
from tests.cli.running import Mlops
from tests.services.trials.trying import TrialBench

__all__ = ["mlops"]


class TestSdk:
    def test_a_shadow_is_started_compared_and_stopped(self, trials: TrialBench) -> None:
        trials.serve({"bias": 1.5})
        with Platform(trials.bench.platform.url, trials.bench.engineer.token) as platform:
            deployment = platform.deployments.get("staging/plain")
            shadow = deployment.shadow("plain/2", share=0.5).wait(60)
            assert shadow.report().status == "not_enough_data"
            assert [item.shadow_id for item in deployment.shadows()] == [shadow.shadow_id]
            assert platform.trials.shadow(shadow.shadow_id).stop().data.status == "stopped"

    def test_an_ab_test_is_started_waited_for_and_read(self, trials: TrialBench) -> None:
        trials.serve({"bias": 2.0})
        with Platform(trials.bench.platform.url, trials.bench.engineer.token) as platform:
            deployment = platform.deployments.get("staging/plain")
            test = deployment.ab_test(**trials.plan(max_seconds=1)).wait(60)
            assert test.data.status == "expired"
            report = test.report()
            assert report is not None
            assert "without a verdict" in report.decision
            assert [item.ab_test_id for item in deployment.ab_tests()] == [test.ab_test_id]


class TestCommandLine:
    def test_an_ab_test_comes_from_a_file_and_is_cancelled(
        self, trials: TrialBench, mlops: Mlops, tmp_path: Path
    ) -> None:
        trials.serve({"bias": 2.0})
        mlops.use(MLOPS_API_URL=trials.bench.platform.url, MLOPS_API_KEY=trials.bench.engineer.token)
        file = tmp_path / "test.json"
        file.write_text(json.dumps(trials.plan()))
        group = ("deployments", "ab-test")
        started = json.loads(mlops(*group, "start", "staging/plain", "-f", str(file), "-o", "json").stdout)
        shown = mlops(*group, "show", started["ab_test_id"], "-o", "json")
        assert [arm["name"] for arm in shown.data["arms"]] == ["control", "more"]
        assert mlops(*group, "show", started["ab_test_id"]).code == 0
        ran = mlops(*group, "cancel", started["ab_test_id"], "--yes", "-o", "json")
        assert json.loads(ran.stdout)["status"] == "cancelled"

    @pytest.mark.parametrize(("change", "says"), [({"metric": "profit"}, "metric"), ({"arms": []}, "arms")])
    def test_a_file_that_says_nonsense_is_refused_by_its_field(
        self, mlops: Mlops, tmp_path: Path, change: dict[str, object], says: str
    ) -> None:
        file = tmp_path / "test.json"
        file.write_text(json.dumps({"name": "x", **change}))
        ran = mlops("deployments", "ab-test", "start", "staging/plain", "-f", str(file))
        assert ran.code == 2
        assert f"{says}:" in ran.stderr
