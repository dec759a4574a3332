"""What a plan says that a deployment would cost."""

from typing import Any

import pytest

from ml_platform.contracts.deployments import PlannedCost, ReplicaResources
from ml_platform.sdk import Platform
from ml_platform.services.deployments import Prices, RolloutParts
from ml_platform.services.deployments.costs import planned_cost
from ml_platform.services.deployments.sizes import Size
from tests.cli.running import Mlops
from tests.support.crash import eventually
from tests.support.rollouts import Bench

PRICES = Prices(currency="EUR", cpu_hour=0.04, memory_gb_hour=0.005, gpu_hour=2.0, million_predictions=3.0)


def size(replicas: int, most: int | None = -1, **resources: Any) -> Size:
    return Size(replicas, replicas if most == -1 else most, ReplicaResources(**resources))


class TestCounting:
    def test_copies_times_cores_memory_and_gpus(self) -> None:
        found = planned_cost(PRICES, size(3, cpu=2, memory_mb=4096, gpus=1), [])
        assert found.hourly == pytest.approx(3 * (2 * 0.04 + 4 * 0.005 + 2.0))
        assert found.monthly == pytest.approx(6.3 * 730)
        assert (found.replaces_hourly, found.difference_hourly) == (0, found.hourly)
        assert found.detail == "3 x (2 cores, 4 GiB, 1 GPUs)"

    def test_what_is_replaced_and_the_difference(self) -> None:
        found = planned_cost(PRICES, size(1), [size(2, cpu=2, memory_mb=2048), size(1)], canary=True)
        assert found.replaces_hourly == pytest.approx(2 * (0.08 + 0.01) + 0.045)
        assert found.difference_hourly == pytest.approx(0.045 - 0.225)
        assert found.difference_monthly == pytest.approx(-0.18 * 730)
        assert "both run" in found.detail

    @pytest.mark.parametrize(("most", "expected"), [(4, 4 * 0.045), (None, None)])
    def test_the_most_that_there_may_be(self, most: int | None, expected: float | None) -> None:
        found = planned_cost(PRICES, size(2, most), [])
        assert found.hourly == pytest.approx(0.09)
        assert found.at_most_hourly == (None if expected is None else pytest.approx(expected))
        assert "under load" in found.detail

    def test_predictions_stand_apart(self) -> None:
        found = planned_cost(PRICES, size(1), [], predictions_per_hour=500_000)
        assert (found.predictions_hourly, found.predictions_monthly) == (1.5, 1095)
        assert found.hourly == pytest.approx(0.045)
        assert planned_cost(PRICES, size(1), []).predictions_hourly is None

    def test_what_has_no_price_is_named(self) -> None:
        found = planned_cost(Prices(cpu_hour=0.04), size(1, gpus=1), [])
        assert found.hourly == pytest.approx(0.04)
        assert "no price of memory and GPUs" in found.detail

    def test_without_a_price_list_it_says_so_and_gives_no_amount(self) -> None:
        found = planned_cost(Prices(), size(5), [size(1)], predictions_per_hour=1.0)
        assert found.detail.startswith("no price list is set")
        assert found == PlannedCost(detail=found.detail)

    def test_a_price_of_nothing_is_a_price(self) -> None:
        assert planned_cost(Prices(cpu_hour=0.0), size(5), []).hourly == 0


@pytest.fixture
def priced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(bench.platform.runtime.components.get(RolloutParts), "prices", PRICES)
    return bench


class TestThePlan:
    def cost(self, bench: Bench, **body: Any) -> dict[str, Any]:
        answer = bench.engineer.client.post(
            "/models/plain/deploy/plan", json={"environment": "staging", **body}
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["cost"]
        return found

    def test_says_that_there_is_no_price_list(self, bench: Bench) -> None:
        bench.plant("plain")
        found = self.cost(bench)
        assert "no price list is set: MLOPS_PRICES__CPU_HOUR" in found["detail"]
        assert {value for name, value in found.items() if name != "detail"} == {None}

    def test_compares_with_what_serves(self, priced: Bench) -> None:
        priced.plant("plain")
        assert self.cost(priced)["replaces_hourly"] == 0
        priced.until(priced.deploy("plain", replicas=2, resources={"cpu": 2, "memory_mb": 2048}), "succeeded")
        found = self.cost(priced, replicas=4, resources={"cpu": 2, "memory_mb": 2048})
        assert (found["hourly"], found["replaces_hourly"], found["difference_hourly"]) == (0.36, 0.18, 0.18)
        assert (found["monthly"], found["currency"]) == (262.8, "EUR")
        assert found["predictions_hourly"] is not None

    def test_estimates_predictions_by_what_was_asked(self, priced: Bench) -> None:
        priced.plant("plain")
        accepted = priced.deploy("plain")
        priced.until(accepted, "succeeded")
        with priced.traffic(accepted):
            eventually(lambda: self.cost(priced)["predictions_hourly"] > 0, within=60)


class TestTheCommandLine:
    @pytest.fixture
    def mlops(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Mlops:
        found = Mlops(monkeypatch)
        found.use(MLOPS_API_URL=bench.platform.url, MLOPS_API_KEY=bench.engineer.token, MLOPS_TEAM=None)
        return found

    def test_shows_the_amounts_as_a_table(self, priced: Bench, mlops: Mlops) -> None:
        priced.plant("plain")
        ran = mlops("deploy", "-m", "plain", "--replicas", "2", "--cpu", "1", "--memory-mb", "1024", "--plan")
        assert ran.code == 0, ran.stderr
        assert "2 x (1 cores, 1 GiB)" in ran.stdout
        [line] = [line for line in ran.stdout.splitlines() if line.startswith("what would run")]
        assert line.split()[3:] == ["0.0900", "65.70", "EUR"]
        [line] = [line for line in ran.stdout.splitlines() if line.startswith("difference")]
        assert "65.70" in line
        assert mlops.json("deploy", "-m", "plain", "--gpus", "1", "--plan")["cost"]["hourly"] == 2.045

    def test_says_that_there_is_no_price_list(self, bench: Bench, mlops: Mlops) -> None:
        bench.plant("plain")
        ran = mlops("deploy", "-m", "plain", "--plan")
        assert "no price list is set" in ran.stdout
        assert "what would run" not in ran.stdout

    def test_says_what_a_file_of_deployments_changes(
        self, priced: Bench, mlops: Mlops, tmp_path: Any
    ) -> None:
        priced.plant("plain")
        file, summary = tmp_path / "deployment.yaml", tmp_path / "plan.md"
        file.write_text(
            "version: 1\ndeployments: [{name: plain, environment: staging, model: plain/1, replicas: 2}]\n"
        )
        [line] = mlops.json("plan", "-f", str(file), "--summary", str(summary))
        assert line["cost"] == "+65.70 EUR a month"
        assert "+65.70 EUR a month" in summary.read_text()

    def test_is_told_the_same_by_the_sdk(self, priced: Bench) -> None:
        priced.plant("plain")
        with Platform(url=priced.platform.url, key=priced.engineer.token) as here:
            found = here.deployments.plan("plain", environment="staging", replicas=2)
        assert (found.cost.hourly, found.cost.currency) == (0.09, "EUR")
