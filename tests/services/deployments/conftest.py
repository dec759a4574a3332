"""A bench for rollouts: the shared control plane, a real inference server, models that build at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform.integrations.inference import InferenceClient
from ml_platform.integrations.predictionlog import LocalPredictionLog
from ml_platform.server.canary_comparison import LoggedComparison
from ml_platform.services.deployments import RolloutParts, RolloutSettings
from ml_platform.services.monitoring import AnswerKinds, Deployments, GroundTruthStore
from tests.inference.support.server import Server
from tests.support.platform import RunningPlatform
from tests.support.rollouts import Bench, LinearTools


@pytest.fixture(scope="session")
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
def bench(
    platform: RunningPlatform, inference: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A fresh team; rollouts of this test use small models and look often."""
    parts = platform.runtime.components.get(RolloutParts)
    tools = LinearTools()
    client = InferenceClient(lambda: inference.base, parts.smoke_keys.service_token())
    quick = RolloutSettings(ready_timeout_seconds=30, ready_poll_seconds=0.1, canary_poll_seconds=0.2)
    monkeypatch.setattr(parts, "tools", tools)
    monkeypatch.setattr(parts, "plane", client)
    monkeypatch.setattr(parts, "inference_url", lambda: inference.base)
    monkeypatch.setattr(parts, "settings", quick)
    monkeypatch.setattr(parts, "comparison", None)
    found = Bench(platform, tmp_path / "models", tools, inference.base)
    found.new_team()
    yield found
    found.caller.close()
    client.close()


@pytest.fixture
def comparing(bench: Bench, inference: Server, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench, whose canaries are judged by what they answer too, out of the inference server's log."""
    components = bench.platform.runtime.components
    parts = components.get(RolloutParts)
    assert isinstance(parts.plane, InferenceClient)
    predictions = inference.state / "predictions"
    log = LocalPredictionLog(predictions / "log", predictions / "spool", flush=parts.plane.flush)
    deployments, labels, kinds = (
        components.get(part) for part in (Deployments, GroundTruthStore, AnswerKinds)
    )
    monkeypatch.setattr(parts, "comparison", LoggedComparison(deployments, labels, log, kinds))
    return bench
