"""Whatever is killed comes back by itself, and predictions go on meanwhile."""

import json
import os
import signal
import time
from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.e2e.conftest import Installation, fresh_environment, mlops

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def pid_of(installation: Installation, name: str) -> int:
    return int(json.loads((installation.home / "run" / f"{name}.json").read_text())["pid"])


def healthy(installation: Installation) -> bool:
    return installation.run("status").returncode == 0


def predict(installation: Installation) -> int:
    key = (installation.home / "application.key").read_text()
    url = f"{installation.inference_url}/telco/production/v1/models/churn:predict"
    try:
        return httpx.post(
            url,
            json={"instances": [{"customer_id": "C0000003"}]},
            headers={"authorization": f"Bearer {key}"},
            timeout=20,
        ).status_code
    except httpx.TransportError:
        return 0


@pytest.fixture(scope="module", autouse=True)
def application_key(installation: Installation) -> None:
    environment = {**installation.environment, "MLOPS_TEAM": "telco"}
    done = mlops(
        environment, "keys", "create", "heal", "--user", "shop", "--role", "prediction_client", "-o", "json"
    )
    assert done.returncode == 0, done.stderr
    (installation.home / "application.key").write_text(json.loads(done.stdout)["token"])
    until(lambda: predict(installation) == 200, 20, "the new key never reached the inference server")


class TestKilling:
    @pytest.mark.parametrize("name", ["api", "inference", "supervisor"])
    def test_a_process_brings_it_back(self, installation: Installation, name: str) -> None:
        before = pid_of(installation, name)
        os.kill(before, signal.SIGKILL)
        until(lambda: pid_of(installation, name) != before, 60, f"{name} did not come back")
        until(lambda: healthy(installation), 90, f"the platform did not heal after {name} was killed")
        until(lambda: predict(installation) == 200, 20, "predictions did not go on")

    def test_a_worker_of_the_inference_server_brings_it_back(self, installation: Installation) -> None:
        parent = psutil.Process(pid_of(installation, "inference"))
        for worker in parent.children():
            worker.kill()
        until(lambda: predict(installation) == 200, 30, "the workers did not come back")
        assert parent.is_running()


class TestWithoutTheControlPlane:
    def test_predictions_go_on_also_after_the_inference_server_was_restarted(
        self, installation: Installation
    ) -> None:
        api, supervisor = pid_of(installation, "api"), pid_of(installation, "supervisor")
        os.kill(supervisor, signal.SIGSTOP)  # nobody brings the control plane back meanwhile
        os.kill(api, signal.SIGSTOP)
        try:
            assert predict(installation) == 200
            os.kill(supervisor, signal.SIGCONT)
            inference = pid_of(installation, "inference")
            os.kill(inference, signal.SIGKILL)
            until(lambda: pid_of(installation, "inference") != inference, 60, "it was not restarted")
            until(lambda: predict(installation) == 200, 60, "it does not serve from its own disk")
        finally:
            os.kill(supervisor, signal.SIGCONT)
            os.kill(api, signal.SIGCONT)
        until(lambda: healthy(installation), 60, "the control plane did not go on")


class TestStopping:
    def test_down_leaves_no_process_and_up_finds_everything_again(self, installation: Installation) -> None:
        assert installation.run("down").returncode == 0
        home = str(installation.home)
        commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        assert [command for command in commands if any(home in part for part in command)] == []
        assert installation.run("status").returncode == 1
        up = installation.run("up", "--output", "json")
        assert up.returncode == 0, up.stderr
        until(lambda: predict(installation) == 200, 60, "predictions did not come back")

    def test_up_twice_is_up_once(self, installation: Installation) -> None:
        before = pid_of(installation, "supervisor")
        assert installation.run("up").returncode == 0
        assert pid_of(installation, "supervisor") == before


class TestStarting:
    def test_a_taken_port_is_named(self, installation: Installation, tmp_path) -> None:
        environment = fresh_environment(tmp_path)
        environment["MLOPS_API__PORT"] = installation.environment["MLOPS_API__PORT"]
        done = mlops(environment, "up")
        assert done.returncode == 1
        assert environment["MLOPS_API__PORT"] in done.stderr
        assert "MLOPS_API__PORT" in done.stderr
        assert not (tmp_path / ".mlops").exists()

    def test_a_wrong_setting_is_named(self, tmp_path) -> None:
        environment = fresh_environment(tmp_path) | {"MLOPS_API__PORT": "many"}
        done = mlops(environment, "up")
        assert done.returncode == 2
        assert "MLOPS_API__PORT" in done.stderr

    def test_reset_deletes_no_directory_of_somebody_else(self, tmp_path) -> None:
        environment = fresh_environment(tmp_path) | {"MLOPS_HOME": str(tmp_path / "photos")}
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "cat.png").write_text("x")
        done = mlops(environment, "reset", "--yes")
        assert done.returncode == 1
        assert (tmp_path / "photos" / "cat.png").exists()
