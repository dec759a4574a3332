"""The bench of the deployments, with the prediction log of its real inference server."""

import pytest

from ml_platform.integrations.inference import InferenceClient
from ml_platform.integrations.predictionlog import LocalPredictionLog
from ml_platform.services.deployments import RolloutParts
from ml_platform.services.trials import TrialEvidence
from tests.inference.support.server import Server
from tests.services.deployments.conftest import bench, inference
from tests.services.trials.trying import TrialBench
from tests.support.rollouts import Bench

__all__ = ["bench", "inference"]


@pytest.fixture
def trials(bench: Bench, inference: Server, monkeypatch: pytest.MonkeyPatch) -> TrialBench:
    """A fresh team whose trials are read out of the log of the server that serves them."""
    components = bench.platform.runtime.components
    client = components.get(RolloutParts).plane
    assert isinstance(client, InferenceClient)
    predictions = inference.state / "predictions"
    log = LocalPredictionLog(predictions / "log", predictions / "spool", flush=client.flush)
    monkeypatch.setattr(components.get(TrialEvidence), "_log", log)
    return TrialBench(bench)
