"""Deployments, their rollouts, and approvals."""

import builtins
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from ml_platform.contracts.deployments import (
    Deployment as DeploymentData,
)
from ml_platform.contracts.deployments import (
    DeploymentAccepted,
    DeploymentAsOf,
    DeploymentMetrics,
    DeploymentPlan,
    DeploymentQuota,
    DeploymentStatus,
    KServeManifest,
    Rollout,
    RolloutDetail,
    StageStatus,
)
from ml_platform.contracts.governance import Approval, ApprovalDetail
from ml_platform.contracts.quality import DeploymentQuality, GroundTruth
from ml_platform.contracts.trials import ABTest as ABTestData
from ml_platform.contracts.trials import Shadow as ShadowData
from ml_platform.sdk.errors import (
    ApprovalRequiredError,
    DeploymentFailedError,
    NotFoundError,
    ServerError,
    WaitTimeoutError,
)
from ml_platform.sdk.jobs import Progress, report_to_terminal
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.transport import Transport, at
from ml_platform.sdk.trials import ABTest, Shadow

_LABELS_AT_ONCE = 5_000
_UNDER_WAY = frozenset(
    {DeploymentStatus.DEPLOYING, DeploymentStatus.CANARY, DeploymentStatus.PENDING_APPROVAL}
)


class Deployment(PlatformObject[DeploymentData]):
    """A stable endpoint of a team in an environment."""

    _shown = ("deployment_id", "name", "environment", "status", "endpoint")

    def __init__(self, transport: Transport, data: DeploymentData, *, rollout_id: str | None = None) -> None:
        super().__init__(transport, data)
        self._rollout_id = rollout_id

    @property
    def deployment_id(self) -> str:
        return self._data.deployment_id

    @property
    def endpoint(self) -> str:
        """Where predictions are asked for."""
        return self._data.endpoint

    @property
    def status(self) -> str:
        """The state now."""
        return self.refresh().data.status.value

    @property
    def rollout_id(self) -> str | None:
        """The rollout that this object was returned for, else the newest."""
        return self._rollout_id or self._data.active_rollout_id or self._data.last_rollout_id

    def refresh(self) -> "Deployment":
        self._data = self._transport.get(at("deployments", self.deployment_id), DeploymentData)
        return self

    def rollout(self) -> RolloutDetail:
        """The rollout's nine stages and its canary, with their evidence."""
        if self.rollout_id is None:
            raise NotFoundError(f"deployment {self.deployment_id} has had no rollout")
        return self._transport.get(at("rollouts", self.rollout_id), RolloutDetail)

    def wait(
        self,
        timeout: float | None = None,
        *,
        for_approval: bool = False,
        poll: float = 0.3,
        progress: Progress = report_to_terminal,
    ) -> "Deployment":
        """Waits until the rollout is over.

        Args:
            timeout: seconds; default: as long as it takes.
            for_approval: go on waiting while people have to decide; otherwise that is an error.
            poll: seconds between two looks.
            progress: is told every stage that ends.

        Raises:
            ApprovalRequiredError: it waits for an approval (`approval` says whose).
            DeploymentFailedError: a stage stopped it, or the canary was rolled back.
            WaitTimeoutError: it is still under way after `timeout`.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        told: set[str] = set()
        while True:
            rollout = self.rollout()
            _tell(rollout, told, progress)
            if rollout.status.finished:
                break
            if rollout.status.value == "pending_approval" and not for_approval:
                raise ApprovalRequiredError(
                    f"{rollout.model_name}/{rollout.model_version} waits for an approval ({rollout.approval_id})",
                    code="approval_required",
                    hint=f"mlops approvals show {rollout.approval_id} says who can give it",
                )
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"rollout {rollout.rollout_id} is still {rollout.status.value} after {timeout} s"
                )
            time.sleep(poll)
        self.refresh()
        if rollout.status.value != "succeeded":
            raise DeploymentFailedError(
                f"rollout {rollout.rollout_id} {rollout.status.value}: {rollout.reason or 'no reason was given'}",
                hint=f"mlops deployments rollout {rollout.rollout_id}",
            )
        return self

    def predict(
        self,
        instances: Sequence[Any] | Mapping[str, Any] | Any,
        *,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Any]:
        """Predictions for rows, objects by column name, or entity keys.

        One object is one instance; a pandas DataFrame is one instance a row. `parameters` are the params of the
        model's signature, where it has some. Goes straight to the inference server.
        """
        answer = self._transport.request(
            "POST", self.endpoint, json=_body(instances, parameters), headers=headers, timeout=30
        )
        return _answered(answer, self.endpoint, "predictions")

    def explain(
        self,
        instances: Sequence[Any] | Mapping[str, Any] | Any,
        *,
        parameters: Mapping[str, Any] | None = None,
        timeout: float = 90,
    ) -> list[dict[str, Any]]:
        """Why the model predicts what it does: SHAP values for a few instances, given as in `predict`.

        Returns:
            `{"base_value": b, "values": {column: value}}` for each: `b` is what the model predicts on average
            over its background rows, and `b` plus the values is its prediction. For a model that answers with
            one of several labels `{"classes": [{"class": label, "base_value": b, "values": {...}}, ...]}`, of
            the probability of each.

        Raises:
            ServerError: the revision cannot be explained; the message says why.
            LimitExceededError: there are more instances than are explained at once.
        """
        endpoint = f"{self.endpoint.removesuffix(':predict')}:explain"
        answer = self._transport.request(
            "POST", endpoint, json=_body(instances, parameters), timeout=timeout, retries=1
        )
        return _answered(answer, endpoint, "explanations")

    def invoke(self, payload: Mapping[str, Any]) -> list[Any]:
        """Predictions for a payload of MLflow's scoring protocol, such as `{"dataframe_split": {...}}`."""
        path = self.endpoint.removesuffix(f"/v1/models/{self._data.name}:predict")
        answer = self._transport.request(
            "POST", f"{path}/models/{self._data.name}/invocations", json=dict(payload), timeout=30
        )
        return _answered(answer, self.endpoint, "predictions")

    def metrics(self, window: str = "1h") -> DeploymentMetrics:
        """Requests, errors and latency of every revision in a trailing window such as `5m` or `1h`."""
        path = at("deployments", self.deployment_id, "metrics")
        return self._transport.get(path, DeploymentMetrics, {"window": window})

    def log_ground_truth(self, records: Sequence[Mapping[str, Any]] | Any) -> list[GroundTruth]:
        """Tells what happened after predictions; logging the same again changes nothing.

        Args:
            records: mappings, or a pandas DataFrame with a record a row: `label`, and either `request_id` (the
                answer's `x-request-id`; `instance` is the position in a request of several), or `entity` (such as
                `{"customer_id": "7590-VHVEG"}`) and `time` with its time zone: the label then belongs to the last
                prediction for that entity before that time.

        Returns:
            The uploads; each is stored whole or, when a record is wrong, not at all.

        Raises:
            InvalidInputError: `fields` names the wrong records by their position in their upload.
        """
        path = at("deployments", self.deployment_id, "ground-truth")
        rows = [{k: v for k, v in row.items() if v is not None} for row in _instances(records)]
        parts = [rows[start : start + _LABELS_AT_ONCE] for start in range(0, len(rows), _LABELS_AT_ONCE)]
        return [self._transport.post(path, GroundTruth, {"records": part}) for part in parts]

    def quality(self, window: str = "7d", *, min_rows: int = 100) -> DeploymentQuality:
        """How good the predictions of a trailing window were, by revision, as far as labels have arrived."""
        path = at("deployments", self.deployment_id, "quality")
        return self._transport.get(path, DeploymentQuality, {"window": window, "min_rows": min_rows})

    def manifest(self, rollout_id: str | None = None) -> KServeManifest:
        """The KServe InferenceService of a rollout, by default of the newest one that was built."""
        path = at("deployments", self.deployment_id, "manifest")
        return self._transport.get(path, KServeManifest, {"rollout_id": rollout_id})

    def as_of(self, moment: datetime) -> DeploymentAsOf:
        """What was live at a moment, since when, and on whose approval."""
        path = at("deployments", self.deployment_id, "as-of")
        return self._transport.get(path, DeploymentAsOf, {"at": moment.astimezone(UTC).isoformat()})

    def restore(self, moment: datetime, *, justification: str | None = None) -> "Deployment":
        """Starts a rollout of the version that was live at a moment; `wait` waits for it."""
        body = {"at": moment.astimezone(UTC).isoformat(), "justification": justification}
        accepted = self._transport.post(
            at("deployments", self.deployment_id, "restore"), DeploymentAccepted, body
        )
        data = self._transport.get(at("deployments", self.deployment_id), DeploymentData)
        return Deployment(self._transport, data, rollout_id=accepted.rollout_id)

    def shadow(self, model_id: str, *, share: float = 1.0, justification: str | None = None) -> Shadow:
        """Brings a version through the stages, to answer copies of a share of the requests, unseen."""
        body = {"model_id": model_id, "share": share, "justification": justification}
        path = at("deployments", self.deployment_id, "shadow")
        return Shadow(self._transport, self._transport.post(path, ShadowData, body))

    def shadows(self, *, limit: int | None = None) -> list[Shadow]:
        """Newest first."""
        path = at("deployments", self.deployment_id, "shadows")
        return [
            Shadow(self._transport, item) for item in self._transport.pages(path, ShadowData, limit=limit)
        ]

    def ab_test(
        self,
        name: str,
        *,
        arms: Sequence[Mapping[str, Any]],
        metric: str,
        direction: str,
        minimum_detectable_effect: float,
        **options: Any,
    ) -> ABTest:
        """Starts a test of versions that share the traffic; it may be looked at at any time.

        Args:
            name: what it is about.
            arms: mappings of `name`, `weight`, and `model_id` or `revision_id`; one is what serves now.
            metric: `error_rate`, `mean_answer`, `conversion` or `outcome`.
            direction: `increase` or `decrease`: what is better.
            minimum_detectable_effect: the smallest difference that matters, in the metric's unit.
            options: `sticky`, `guardrails`, `alpha`, `positive`, `min_samples`, `min_seconds`, `max_seconds`,
                `promote_winner`, `justification`, as `POST /deployments/{id}/ab-tests` takes them.

        Raises:
            ConflictError: a rollout or a test is under way there; it says whose.
        """
        body = {
            "name": name,
            "arms": [dict(arm) for arm in arms],
            "metric": metric,
            "direction": direction,
            "minimum_detectable_effect": minimum_detectable_effect,
            **options,
        }
        path = at("deployments", self.deployment_id, "ab-tests")
        return ABTest(self._transport, self._transport.post(path, ABTestData, body))

    def ab_tests(self, *, limit: int | None = None) -> list[ABTest]:
        """Newest first."""
        path = at("deployments", self.deployment_id, "ab-tests")
        return [
            ABTest(self._transport, item) for item in self._transport.pages(path, ABTestData, limit=limit)
        ]

    def promote(self) -> "Deployment":
        """Gives the new revision all traffic at once."""
        return self._act("promote")

    def pause(self) -> "Deployment":
        """Holds a canary at its step; when it fails it is still rolled back."""
        return self._act("pause")

    def resume(self) -> "Deployment":
        """Lets a canary go on that was paused."""
        return self._act("resume")

    def rollback(self) -> "Deployment":
        """Gives all traffic back to the revision before."""
        return self._act("rollback")

    def retire(self) -> "Deployment":
        """Stops serving; the endpoint answers 404 from then on."""
        return self._act("retire")

    def _act(self, verb: str) -> "Deployment":
        path = at("deployments", self.deployment_id, verb)
        self._data = self._transport.post(path, DeploymentData)
        return self


class Deployments:
    """`platform.deployments`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def deploy(self, model_id: str, *, environment: str = "staging", **options: Any) -> Deployment:
        """Starts a rollout and returns at once; `Deployment.wait` waits for it."""
        body = {"environment": environment, **{k: v for k, v in options.items() if v is not None}}
        accepted = self._transport.post(
            at("models", *model_id.split("/"), "deploy"), DeploymentAccepted, body
        )
        data = self._transport.get(at("deployments", accepted.deployment_id), DeploymentData)
        return Deployment(self._transport, data, rollout_id=accepted.rollout_id)

    def plan(self, model_id: str, *, environment: str = "staging", **options: Any) -> DeploymentPlan:
        """Which gate would stop a deployment, and who would have to approve it."""
        body = {"environment": environment, **{k: v for k, v in options.items() if v is not None}}
        return self._transport.post(
            at("models", *model_id.split("/"), "deploy", "plan"), DeploymentPlan, body
        )

    def quota(self) -> DeploymentQuota:
        """What the team's deployments may take together, and what they take now."""
        return self._transport.get("/quota", DeploymentQuota)

    def get(self, deployment_id: str) -> Deployment:
        """A deployment, by its id or by `environment/name`."""
        environment, slash, name = deployment_id.partition("/")
        if slash:
            found = self.find(name, environment)
            if found is None:
                raise NotFoundError(
                    f"nothing called {name!r} is deployed to {environment!r}",
                    hint="list what there is: mlops deployments list",
                )
            return found
        data = self._transport.get(at("deployments", deployment_id), DeploymentData)
        return Deployment(self._transport, data)

    def list(
        self, *, environment: str | None = None, name: str | None = None, limit: int | None = None
    ) -> list[Deployment]:
        """Newest first."""
        params = {"environment": environment, "name": name}
        found = self._transport.pages("/deployments", DeploymentData, params, limit)
        return [Deployment(self._transport, item) for item in found]

    def find(self, name: str, environment: str) -> Deployment | None:
        """The deployment of a name in an environment, if there is one."""
        found = self.list(environment=environment, name=name, limit=1)
        return found[0] if found else None

    def rollout(self, rollout_id: str) -> RolloutDetail:
        return self._transport.get(at("rollouts", rollout_id), RolloutDetail)

    def rollouts(self, deployment_id: str) -> builtins.list[Rollout]:
        return list(self._transport.pages(at("deployments", deployment_id, "rollouts"), Rollout))

    def cancel(self, rollout_id: str) -> Rollout:
        """Ends a rollout; what served before goes on serving."""
        return self._transport.post(at("rollouts", rollout_id, "cancel"), Rollout)


class Approvals:
    """`platform.approvals`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, status: str | None = None, limit: int | None = None) -> list[Approval]:
        """Newest first."""
        return list(self._transport.pages("/approvals", Approval, {"status": status}, limit))

    def get(self, approval_id: str) -> ApprovalDetail:
        """The request, with everything that an approver reads."""
        return self._transport.get(at("approvals", approval_id), ApprovalDetail)

    def approve(self, approval_id: str, reason: str) -> Approval:
        return self._vote(approval_id, "approve", reason)

    def reject(self, approval_id: str, reason: str) -> Approval:
        return self._vote(approval_id, "reject", reason)

    def abstain(self, approval_id: str, reason: str) -> Approval:
        return self._vote(approval_id, "abstain", reason)

    def break_glass(self, approval_id: str, reason: str) -> Approval:
        """Lets an emergency through without the votes; somebody else reviews it within 24 hours."""
        return self._vote(approval_id, "break-glass", reason)

    def review(self, approval_id: str, verdict: str, reason: str) -> Approval:
        """Closes the review of a broken glass: `justified` or `unjustified`."""
        body = {"verdict": verdict, "reason": reason}
        return self._transport.post(at("approvals", approval_id, "review"), Approval, body)

    def _vote(self, approval_id: str, verdict: str, reason: str) -> Approval:
        return self._transport.post(at("approvals", approval_id, verdict), Approval, {"reason": reason})


def _answered(answer: httpx.Response, endpoint: str, what: str) -> list[Any]:
    try:
        return list(answer.json()[what])
    except (ValueError, KeyError, TypeError):
        raise ServerError(f"{endpoint} did not answer with {what}") from None


def _body(instances: Any, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {"instances": _instances(instances)}
    return body if parameters is None else body | {"parameters": dict(parameters)}


def _instances(given: Any) -> list[Any]:
    if isinstance(given, Mapping):
        return [dict(given)]
    if hasattr(given, "to_dict") and hasattr(
        given, "columns"
    ):  # a DataFrame: what pandas calls missing is null
        records = given.to_dict("records")
        return [{str(k): None if v != v else v for k, v in row.items()} for row in records]  # noqa: PLR0124
    return list(given)


def _tell(rollout: RolloutDetail, told: set[str], progress: Progress) -> None:
    for stage in rollout.stages:
        state = f"{stage.name.value}: {stage.status.value}"
        if stage.status not in (StageStatus.PENDING, StageStatus.RUNNING) and state not in told:
            told.add(state)
            progress(f"{state}{f' ({stage.reason})' if stage.reason else ''}")
    for step in rollout.canary:
        state = f"canary {step.percent} %: {step.status.value}"
        if state not in told:
            told.add(state)
            progress(f"{state}{f' ({step.reason})' if step.reason else ''}")
