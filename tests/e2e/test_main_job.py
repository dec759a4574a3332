"""The main job, end to end, as a new user meets it."""

import json
import stat

import httpx
import pytest

from ml_platform import Platform
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class TestTheDemo:
    def test_does_all_seven_steps(self, installation: Installation) -> None:
        assert installation.started.returncode == 0, installation.demo.stderr
        story = installation.started.stderr
        for number in range(1, 8):
            assert f"\n{number}. " in story
        for outcome in (
            "telco-customers@1: 7043 rows",
            "19 features of 7043 customers online",
            "registered churn",
            "validate ✓, security ✓, test ✓, approval ✓, build ✓, deploy ✓, smoke_test ✓, audit ✓, notify ✓",
            "may not approve her own",
            "canary at 10 %: passed",
            "0 failed",
            "drift found in",
            "critical alert",
            "waits at the gate",
            "events verified",
            "mlops down",
        ):
            assert outcome in story, story
        assert "endpoint" in json.loads(installation.started.stdout)

    def test_leaves_no_secret_in_logs_or_databases(self, installation: Installation) -> None:
        key = installation.profile["key"].encode()
        allowed = {installation.home / "profile.json", installation.home / "secrets" / "admin.key"}
        for path in installation.home.rglob("*"):
            if path.is_file() and not path.is_symlink() and path not in allowed and "envs" not in path.parts:
                assert key not in path.read_bytes(), path

    def test_keeps_the_key_to_its_owner(self, installation: Installation) -> None:
        mode = stat.S_IMODE((installation.home / "profile.json").stat().st_mode)
        assert mode == 0o600
        assert stat.S_IMODE(installation.home.stat().st_mode) == 0o700


class TestAfterwards:
    def test_status_and_doctor_say_that_all_is_well(self, installation: Installation) -> None:
        assert installation.run("status").returncode == 0
        done = installation.run("doctor", "--output", "json")
        assert done.returncode == 0, done.stdout
        assert all(check["ok"] for check in json.loads(done.stdout)["checks"])

    def test_the_sdk_finds_the_platform_by_the_profile(
        self, installation: Installation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLOPS_HOME", str(installation.home))
        monkeypatch.setenv("MLOPS_TEAM", "telco")
        with Platform() as platform:
            served = platform.deployments.find("churn", "production")
            assert served is not None
            assert 0 <= served.predict({"customer_id": "C0000002"})[0] <= 1
            assert served.metrics("1h").requests > 0

    def test_a_model_is_judged_on_other_rows(
        self, installation: Installation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLOPS_HOME", str(installation.home))
        monkeypatch.setenv("MLOPS_TEAM", "telco")
        with Platform() as platform:
            experiment = platform.get_experiment("churn")
            rows = platform.features.training_set(
                "telco-labels@1", ["customer_profile:tenure"], label="churn"
            )
            with pytest.raises(ValueError, match=r"contract|column"):
                platform.evaluate(experiment, rows.reference)
            whole = platform.features.training_set("telco-labels@1", ["customer_profile"], label="churn")
            judged = platform.evaluate(experiment, whole.reference)
            assert judged.rows == 7043
            assert judged.passes_threshold({"roc_auc": 0.8})
            with pytest.raises(LookupError):
                platform.evaluate(experiment, "no-such-data@1")

    def test_the_audit_log_verifies(self, installation: Installation) -> None:
        result = installation.json("audit", "verify")
        assert (result["verified"], result["findings"]) == (True, [])

    def test_every_prediction_was_logged(self, installation: Installation) -> None:
        import duckdb

        pattern = f"{installation.home}/storage/predictions/**/*.parquet"
        found = duckdb.sql(
            f"SELECT count(*) FROM read_parquet('{pattern}', union_by_name=true, hive_partitioning=true)"
        ).fetchall()
        assert found[0][0] > 1_500

    def test_metrics_are_prometheus_text(self, installation: Installation) -> None:
        headers = {"authorization": f"Bearer {installation.profile['key']}"}
        for url in (f"{installation.url}/metrics", f"{installation.inference_url}/metrics"):
            text = httpx.get(url, headers=headers).text
            assert "# TYPE" in text
            assert httpx.get(url).status_code == 401
            if url.startswith(installation.url):
                assert 'platform_training_jobs_total{status="succeeded",team="telco"}' in text
                assert 'platform_active_deployments{environment="production",team="telco"} 1.0' in text
