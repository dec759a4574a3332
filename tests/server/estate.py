"""A team that owns one of everything, and a request that each route would carry out for it."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from ml_platform.contracts.trials import ABTestRequest
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.services.alerts.tables import AlertRow
from ml_platform.services.deployments.tables import RolloutRow
from ml_platform.services.governance.tables import ApprovalRow
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.monitoring.tables import RetrainingRow
from ml_platform.services.trials.tables import ABTestArmRow, ABTestRow, ShadowRow
from tests.server.table import API, Route
from tests.services.features.test_features import ASKED, CUSTOMERS, VIEW
from tests.support.monitoring import Watched, watch
from tests.support.platform import Caller, RunningPlatform
from tests.support.rollouts import LOW, answers
from tests.support.training import create_experiment, submit_script

ALL_ROLES = (
    *("data_scientist", "senior_data_scientist", "ml_engineer", "ml_architect", "team_lead", "manager"),
    *("product_owner", "legal", "security", "board_chair", "approver", "auditor", "viewer"),
    *("prediction_client", "inference_server"),
)
SOME_RUN = "0" * 32


@dataclass
class Estate:
    """What stands in a path of ours for each parameter; `owner` has every role in the team."""

    owner: Caller
    values: dict[str, str] = field(default_factory=dict)

    @property
    def marks(self) -> set[str]:
        """Texts that no other team may ever be shown."""
        return {value for name, value in self.values.items() if len(value) > 12 and name != "user"}

    def path(self, route: Route) -> str:
        named = dict(self.values)
        for prefix, kind in (
            ("datasets", "dataset"),
            ("feature-views", "view"),
            ("models", "model"),
            ("governance/models", "model"),
        ):
            if route.path.startswith(f"{API}/{prefix}/"):
                named["name"] = self.values[kind]
        return route.filled(named)

    def request(self, route: Route) -> dict[str, Any]:
        """Arguments for httpx that a route accepts."""
        return BODIES.get(f"{route.method} {route.path.removeprefix(API)}", {})


AB_TEST: dict[str, Any] = {
    "name": "a test",
    "arms": [
        {"name": "control", "weight": 1, "model_id": "churn/1"},
        {"name": "other", "weight": 1, "model_id": "churn/2"},
    ],
    "metric": "error_rate",
    "direction": "decrease",
    "minimum_detectable_effect": 0.01,
}
PUSHED: dict[str, list[Any]] = {
    "customer_id": ["a"],
    "event_timestamp": ["2036-03-01T12:00:00Z"],
    "tenure": [1],
    "plan": ["basic"],
}
BODIES: dict[str, dict[str, Any]] = {
    "POST /feast/get-online-features": {
        "json": {"features": ["profile:tenure"], "entities": {"customer_id": ["a"]}},
    },
    "POST /feast/push": {"json": {"push_source_name": "profile", "df": PUSHED}},
    "POST /feast/write-to-online-store": {"json": {"feature_view_name": "profile", "df": PUSHED}},
    "POST /feast/materialize": {"json": {"disable_event_timestamp": True}},
    "POST /feast/materialize-incremental": {"json": {"end_ts": "2036-03-01T12:00:00Z"}},
    "POST /feature-views/{name}/push": {"json": {"columns": PUSHED}},
    "POST /teams": {"json": {"name": "a-team"}},
    "PUT /teams/{team}/members/{user}": {"json": {"roles": ["viewer"]}},
    "POST /users": {"json": {"name": "a-user"}},
    "POST /keys": {"json": {"name": "a key"}},
    "POST /models/deploy": {
        "json": {"model_name": "churn", "model_version": 1, "target_stage": "staging"},
    },
    "POST /models/{model_id:path}/deploy/plan": {"json": {"environment": "staging"}},
    "POST /models/{model_id:path}/deploy": {"json": {"environment": "staging"}},
    "PUT /deployments/{deployment_id}/monitor": {"json": {}},
    "POST /deployments/{deployment_id}/predict": {"json": {"instances": [{"tenure": 1}]}},
    "POST /deployments/{deployment_id}/shadow": {"json": {"model_id": "churn/1"}},
    "POST /shadows/{shadow_id}/promote": {"json": {}},
    "POST /deployments/{deployment_id}/ab-tests": {"json": AB_TEST},
    "POST /ab-tests/{ab_test_id}/promote": {"json": {}},
    "POST /deployments/{deployment_id}/ground-truth": {
        "json": {"records": [{"request_id": "req-1", "label": 1}]},
    },
    "GET /deployments/{deployment_id}/as-of": {"params": {"at": "2036-03-01T12:00:00Z"}},
    "POST /deployments/{deployment_id}/restore": {"json": {"at": "2036-03-01T12:00:00Z"}},
    "PUT /models/{name}/risk": {"json": answers(LOW)},
    "PUT /governance/models/{name}/owner": {"json": {"user": "somebody"}},
    "POST /governance/models/{name}/reviews": {"json": {"verdict": "keep", "findings": "all is well"}},
    "PUT /models/{name}/versions/{version}/card": {"json": {"card": {"intended_use": "offers"}}},
    "POST /approvals/{approval_id}/approve": {"json": {"reason": "because"}},
    "POST /approvals/{approval_id}/reject": {"json": {"reason": "because"}},
    "POST /approvals/{approval_id}/abstain": {"json": {"reason": "because"}},
    "POST /approvals/{approval_id}/break-glass": {"json": {"reason": "because"}},
    "POST /approvals/{approval_id}/review": {"json": {"verdict": "justified", "reason": "because"}},
    "PUT /policies": {"json": {"files": {}}},
    "POST /policies/validate": {"json": {"files": {}}},
    "POST /datasets": {"json": {"name": "a-dataset"}},
    "PUT /datasets/{name}/schema": {
        "json": {"schema": {"columns": [{"name": "customer_id", "type": "string"}]}},
    },
    "PUT /datasets/{name}/personal-data": {
        "json": {
            "column": "customer_id",
            "kind": "person_id",
            "verdict": "personal",
            "reason": "an id of people",
        },
    },
    "POST /datasets/{name}/versions": {"content": CUSTOMERS},
    "POST /datasets/{name}/validate": {"content": CUSTOMERS},
    "POST /feature-views": {"json": {**VIEW, "name": "second"}},
    "POST /feature-views/{name}/online": {"json": {"keys": [{"customer_id": "a"}]}},
    "POST /training-sets": {"json": {"entities": "asked@1", "features": ["profile"]}},
    "POST /experiments": {"json": {"name": "an experiment"}},
    "POST /sources": {"content": b"no archive", "headers": {"content-type": "application/gzip"}},
    "POST /experiments/{experiment}/train": {"json": {"source": {"train.py": "print(1)"}}},
    "POST /models/{model_id:path}/evaluations": {"json": {"dataset": "customers@1"}},
    "POST /models/{name}/versions": {"json": {"run_id": SOME_RUN}},
    "PUT /models/{name}/aliases/{alias}": {"json": {"version": 1}},
}


def settle(platform: RunningPlatform, folder: Path) -> Estate:
    """Makes the team and its things: over the API where that takes moments, else as rows."""
    owner = platform.new_user(platform.new_team("estate"), *ALL_ROLES)
    watched = watch(platform, folder, caller=owner, reference=pl.DataFrame())
    client = owner.client
    experiment = create_experiment(client, f"estate {time.time_ns()}")
    for name, content in (("customers", CUSTOMERS), ("asked", ASKED)):
        _made(client.post("/datasets", json={"name": name}))
        _made(client.post(f"/datasets/{name}/versions", content=content))
    _made(client.post("/feature-views", json=VIEW))
    training_set = _made(client.post("/training-sets", json=BODIES["POST /training-sets"]["json"]))
    materialization = _made(client.post("/feature-views/profile/materialize"))
    key = _made(client.post("/keys", json={"name": "another"}))
    _register(platform, owner, _run(platform, owner, experiment))
    _made(client.put("/models/churn/aliases/mine", json={"version": 1}))
    _made(client.put("/models/churn/risk", json=answers(LOW)))
    rows = _rows(platform, watched)
    return Estate(
        owner,
        {
            "team": owner.team,
            "user": platform.new_user(owner.team, "viewer").name,
            "key_id": key["key_id"],
            "experiment": experiment,
            "run_id": _run(platform, owner, experiment),
            "job_id": submit_script(client, experiment, "print(1)"),
            "dataset": "customers",
            "view": "profile",
            "model": "churn",
            "model_id": "churn",
            "version": "1",
            "alias": "mine",
            "policy_version": str(_made(platform.admin.put("/policies", json={"files": {}}))["version"]),
            "training_set_id": training_set["training_set_id"],
            "materialization_id": materialization["materialization_id"],
            "deployment_id": watched.deployment_id,
            "check_id": watched.request_check(),
            "kind": "deployment",
            "id": watched.deployment_id,
            **rows,
        },
    )


def _made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (200, 201, 202), answer.text
    return dict(answer.json())


def _run(platform: RunningPlatform, owner: Caller, experiment: str) -> str:
    answer = httpx.post(
        f"{platform.url}/mlflow/api/2.0/mlflow/runs/create",
        json={"experiment_id": experiment},
        headers={"authorization": f"Bearer {owner.token}"},
        timeout=30,
    )
    return str(_made(answer)["run"]["info"]["run_id"])


def _register(platform: RunningPlatform, owner: Caller, run: str) -> None:
    """MLflow's side of `churn` version 1, which was planted."""
    headers = {"authorization": f"Bearer {owner.token}"}
    with httpx.Client(base_url=f"{platform.url}/mlflow/api/2.0/mlflow", headers=headers) as mlflow:
        _made(mlflow.post("/registered-models/create", json={"name": "churn"}))
        source = {"name": "churn", "source": f"runs:/{run}/model", "run_id": run}
        _made(mlflow.post("/model-versions/create", json=source))


def _rows(platform: RunningPlatform, watched: Watched) -> dict[str, str]:
    """What only comes about in the course of events."""
    now = utc_now()
    with platform.runtime.components.get(Database).write() as session:
        team = session.query(TeamRow).filter_by(name=watched.caller.team).one()
        approval = ApprovalRow(
            id=new_id("apr"),
            team_id=team.id,
            subject_id=new_id("rol"),
            model_name="churn",
            model_version=1,
            environment="production",
            digest="0" * 64,
            risk_level="medium",
            risk_score=20,
            automatic=False,
            status="pending",
            requested_by=new_id("usr"),
            requested_by_name="somebody",
            evidence={},
            created_at=now,
            expires_at=now + timedelta(days=1),
        )
        alert = AlertRow(
            id=new_id("alr"),
            team_id=team.id,
            team_name=team.name,
            dedup_key="estate",
            severity="warning",
            status="open",
            title="Something",
            detail="happened",
            resource_kind="deployment",
            resource_id=watched.deployment_id,
            context={},
            occurrences=1,
            created_at=now,
            last_seen_at=now,
        )
        retraining = RetrainingRow(
            id=new_id("rtr"),
            team_id=team.id,
            team_name=team.name,
            deployment_id=watched.deployment_id,
            status="failed",
            source_job_id=new_id("job"),
            requested_by="somebody",
            created_at=now,
        )
        rollout = RolloutRow(
            id=new_id("rol"),
            team_id=team.id,
            team_name=team.name,
            revision_id=new_id("rev"),
            deployment_id=watched.deployment_id,
            model_name="churn",
            model_version=1,
            environment="staging",
            status="failed",
            config={},
            requested_by="somebody",
            requested_by_name="somebody",
            created_at=now,
            finished_at=now,
        )
        session.add_all([approval, alert, retraining, rollout])
        session.flush()
        shadow = ShadowRow(
            id=new_id("shd"),
            team_id=team.id,
            deployment_id=watched.deployment_id,
            rollout_id=rollout.id,
            revision_id=rollout.revision_id,
            model_name="churn",
            model_version=1,
            share=1.0,
            started_by_name="somebody",
            created_at=now,
        )
        test = ABTestRow(
            id=new_id("abt"),
            team_id=team.id,
            team_name=team.name,
            deployment_id=watched.deployment_id,
            name="a test",
            plan=ABTestRequest.model_validate(AB_TEST).model_dump(mode="json"),
            status="expired",
            started_by="somebody",
            started_by_name="somebody",
            created_at=now,
            finished_at=now,
        )
        session.add_all([shadow, test])
        session.flush()
        for number, name in enumerate(("control", "other")):
            session.add(
                ABTestArmRow(
                    id=new_id("arm"),
                    ab_test_id=test.id,
                    position=number,
                    name=name,
                    weight=1.0,
                    control=number == 0,
                    model_name="churn",
                    model_version=number + 1,
                )
            )
        return {
            "shadow_id": shadow.id,
            "ab_test_id": test.id,
            "rollout_id": rollout.id,
            "approval_id": approval.id,
            "alert_id": alert.id,
            "retraining_id": retraining.id,
        }
