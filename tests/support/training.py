"""Jobs for the tests: a real scikit-learn script, and how to submit one and wait for it."""

import io
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.platform import Caller, RunningPlatform

REQUIREMENTS = """\
mlflow-skinny==3.17.2
numpy==2.4.6
pandas==2.3.3
pyarrow==25.0.1
scikit-learn==1.9.1
"""

TRAIN = '''\
"""Logistic regression on generated customers, two of whose columns are text."""

import json
import os
from pathlib import Path

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def customers(rows, seed):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "contract": random.choice(["monthly", "yearly"], rows),
        "payment": random.choice(["card", "check", "transfer"], rows),
        "tenure": random.integers(0, 72, rows).astype("float64"),
    })
    score = 2.0 * (frame["contract"] == "monthly") + (frame["payment"] == "check") - frame["tenure"] / 24
    frame["churn"] = (score + random.normal(0, 0.5, rows) > 0).astype("int64")
    return frame


config = json.loads(Path(os.environ["MLOPS_CONFIG"]).read_text())
outputs = Path(os.environ["MLOPS_OUTPUTS"])
train, holdout = customers(400, 1), customers(200, 2)
features, text = ["contract", "payment", "tenure"], ["contract", "payment"]
truth = train["churn"]
if config.get("quality") == "bad":
    truth = 1 - truth
model = make_pipeline(
    ColumnTransformer([("text", OneHotEncoder(handle_unknown="ignore"), text)], remainder="passthrough"),
    LogisticRegression(C=config.get("C", 1.0), max_iter=500),
)
with mlflow.start_run():
    model.fit(train[features], truth)
    probability = model.predict_proba(holdout[features])[:, 1]
    metrics = {
        "accuracy": float(accuracy_score(holdout["churn"], probability > 0.5)),
        "roc_auc": float(roc_auc_score(holdout["churn"], probability)),
    }
    mlflow.log_params({"C": config.get("C", 1.0)})
    mlflow.log_metrics(metrics)
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(train[features], model.predict(train[features])),
        pip_requirements="requirements.txt",
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
    )
(outputs / "metrics.json").write_text(json.dumps(metrics | {"holdout_rows": len(holdout)}))
if config.get("holdout", True):
    holdout.to_parquet(outputs / "holdout.parquet", index=False)
print("trained", metrics, flush=True)
'''

SKLEARN_SOURCE = {"train.py": TRAIN, "requirements.txt": REQUIREMENTS}


@dataclass(frozen=True)
class TrainedTeam:
    """A team with an experiment in which one job has registered `churn` version 1."""

    caller: Caller
    experiment_id: str
    job: dict[str, Any]


def create_experiment(client: httpx.Client, name: str = "experiment") -> str:
    answer = client.post("/experiments", json={"name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["experiment_id"])


def submit(client: httpx.Client, experiment: str, **request: Any) -> str:
    """Submits a job, by default of inline files; answers its id."""
    answer = client.post(f"/experiments/{experiment}/train", json=request)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def submit_script(client: httpx.Client, experiment: str, text: str, **request: Any) -> str:
    return submit(client, experiment, source={"train.py": text}, **request)


def wait_for(client: httpx.Client, job_id: str, *statuses: str, within: float = 90) -> dict[str, Any]:
    """The job, when it has one of the statuses; by default, when it has ended."""
    wanted = statuses or ("succeeded", "failed", "cancelled", "timed_out")
    deadline = time.monotonic() + within
    while (job := client.get(f"/jobs/{job_id}").json())["status"] not in wanted:
        assert time.monotonic() < deadline, f"the job is still {job['status']}: {job}"
        assert job["finished_at"] is None, f"the job ended otherwise: {job}"
        time.sleep(0.1)
    return dict(job)


def train_sklearn(
    client: httpx.Client,
    experiment: str,
    *,
    gate: Mapping[str, Any] | None,
    register_as: str = "churn",
    **config: Any,
) -> str:
    """Submits the scikit-learn job, which registers a model when it passes the gate; answers its id."""
    return submit(
        client,
        experiment,
        source=SKLEARN_SOURCE,
        config=config,
        register_as={"name": register_as, "label": "churn", "gate": gate},
    )


def train_team(platform: RunningPlatform) -> TrainedTeam:
    caller = platform.new_user(platform.new_team(), "ml_engineer")
    experiment = create_experiment(caller.client, "churn")
    job_id = train_sklearn(caller.client, experiment, gate={"metric": "roc_auc", "threshold": 0.8})
    job = wait_for(caller.client, job_id, within=300)
    log = caller.client.get(f"/jobs/{job_id}/logs").json()["text"]
    assert job["model_id"] == "churn_v1", f"{job}\n{log}"
    return TrainedTeam(caller, experiment, job)


def archive_of(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()
