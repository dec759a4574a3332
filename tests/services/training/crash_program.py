"""The program that the crash test kills: a control plane in which one job trains and registers a model."""

import json
import threading
import time
from pathlib import Path

import httpx
import uvicorn

from ml_platform.server.app import create_app
from ml_platform.server.compose import compose
from ml_platform.server.settings import ApiSettings, JobSettings, Settings
from tests.support.platform import shared_environments
from tests.support.training import SKLEARN_SOURCE

_COUNTED = "import json, os\nwith open(json.load(open(os.environ['MLOPS_CONFIG']))['count'], 'a') as f: f.write('x')\n"
"""Comes before the script: says how often it was started."""


def train_and_register(home: Path, port: int) -> None:
    """Submits the job unless that was done, waits until it has ended, and leaves what there is to see."""
    settings = Settings(
        home=home, api=ApiSettings(port=port), jobs=JobSettings(environments_dir=shared_environments())
    )
    app = create_app(settings, compose(settings))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    token = (home / "secrets" / "admin.key").read_text()
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=30) as client:
        _drive(client, home)
        (home / "seen.json").write_text(json.dumps(_look(client)))
    server.should_exit = True
    thread.join(timeout=30)


def _drive(client: httpx.Client, home: Path) -> None:
    client.post("/experiments", json={"name": "churn"})
    if not client.get("/jobs").json()["items"]:
        script = _COUNTED + SKLEARN_SOURCE["train.py"]
        answer = client.post(
            "/experiments/churn/train",
            json={
                "source": {**SKLEARN_SOURCE, "train.py": script},
                "config": {"count": str(home / "started")},
                "register_as": {
                    "name": "churn",
                    "label": "churn",
                    "gate": {"metric": "roc_auc", "threshold": 0.8},
                },
            },
        )
        assert answer.status_code == 202, answer.text
    while client.get("/jobs").json()["items"][0]["finished_at"] is None:
        time.sleep(0.1)


def _look(client: httpx.Client) -> dict[str, object]:
    [job] = client.get("/jobs").json()["items"]
    actions = [event["action"] for event in client.get("/audit/events?limit=500").json()["items"]]
    root = str(client.base_url).partition("/api/v1")[0]
    versions = client.get(f"{root}/mlflow/api/2.0/mlflow/model-versions/search").json()
    return {
        "job": job,
        "log": client.get(f"/jobs/{job['job_id']}/logs").json()["text"],
        "runs": client.get("/experiments/churn/runs").json()["items"],
        "versions": client.get("/models/churn/versions").json()["items"],
        "mlflow_versions": versions.get("model_versions", []),
        "actions": {action: actions.count(action) for action in set(actions)},
        "audit": client.get("/audit/verify").json(),
    }
