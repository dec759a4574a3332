"""The seven steps of the main job, each through the SDK, each with its outcome."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.cli.demo.churn import ChurnProject
from ml_platform.cli.demo.people import Cast, assemble
from ml_platform.cli.demo.stage import Narrator
from ml_platform.cli.demo.traffic import Application, SteadyTraffic
from ml_platform.contracts.deployments import RolloutStatus, StageStatus
from ml_platform.contracts.governance import ApprovalStatus
from ml_platform.contracts.monitoring import DriftVerdict
from ml_platform.sdk import Platform
from ml_platform.sdk.data import Dataset
from ml_platform.sdk.deployments import Deployment
from ml_platform.sdk.errors import ApprovalRequiredError, ConflictError, NotFoundError, PlatformError
from ml_platform.sdk.experiments import Experiment
from ml_platform.sdk.features import TrainingSet
from ml_platform.sdk.models import Model

MODEL = "churn"
VIEW = "customer_profile"
CUSTOMER = "C0000001"
QUICK_CANARY = {
    "steps": [10, 50, 100],
    "step_seconds": 1.5,
    "min_requests": 50,
    "hold_seconds": 120,
    # A laptop that trains, builds and serves at once is slow for reasons that are not the model's.
    "latency_floor_ms": 250,
}
_RISK = {
    "business_impact": (5, "a wrong offer costs a discount or a customer"),
    "customer_exposure": (5, "customers see offers that follow from it"),
    "data_sensitivity": (4, "contract data and two demographic flags"),
    "regulatory_scope": (2, "no decision about credit, health or employment"),
    "explainability": (3, "call-centre staff ask why"),
}
_CARD = {
    "intended_use": "Ranking customers for an offer before their contract ends; a person decides about the offer",
    "out_of_scope": "Prices, credit, employment, and anything about a person who is no customer",
    "training_data": "The Telco customers of the training set, one row each, joined point-in-time",
    "limitations": "One market and one quarter; tariffs that came later are unknown to it",
    "ethical_considerations": "Two demographic flags are inputs; offers must not follow from them alone",
}
_DRIFTED_ROWS = 1_500
_WAIT = 300.0
_WINDOW_HOURS = 0.25


@dataclass(slots=True)
class Script:
    """What the steps hand on to each other."""

    narrator: Narrator
    people: Cast
    project: ChurnProject
    folder: Path
    tables: dict[str, Path]

    # -- 2

    def version_the_data(self) -> tuple[Dataset, Dataset]:
        """The real tables become versions of two datasets."""
        data = self.people.engineer.data
        profile = data.upload("telco-customers", self.tables["customer_profile"])
        labels = data.upload("telco-labels", self.tables["churn_labels"])
        for dataset in (profile, labels):
            self.narrator.tell(
                f"{dataset.reference}: {dataset.data.rows} rows, {dataset.data.columns} columns,"
                f" schema validated, sha256 {dataset.data.digest[:12]}"
            )
        charges = profile.profile["columns"]["monthly_charges"] if "columns" in profile.profile else None
        if isinstance(charges, dict):
            self.narrator.tell(
                f"profile of monthly_charges: mean {charges.get('mean')}, max {charges.get('max')}"
            )
        return profile, labels

    # -- 3

    def define_features(self, profile: Dataset, labels: Dataset) -> TrainingSet:
        """Defined once; online for predictions, point-in-time for training."""
        features = self.people.engineer.features
        try:
            view = features.get(VIEW)
        except NotFoundError:
            view = features.create(
                profile, {"name": VIEW, "entities": ["customer_id"], "timestamp_field": "event_timestamp"}
            )
        view.materialize(dataset_version=profile.version)
        self.narrator.tell(
            f"{VIEW}: {len(view.feature_names)} features of {view.data.online_entities} customers online"
        )
        values = view.online({"customer_id": CUSTOMER}, features=["tenure", "contract", "monthly_charges"])
        self.narrator.tell(
            f"online now for {CUSTOMER}: " + ", ".join(f"{k} {v[0]}" for k, v in values.items())
        )
        joined = features.training_set(labels, [view], label="churn")
        self.narrator.tell(
            f"training set {joined.training_set_id}: {joined.data.rows} rows, joined point-in-time"
        )
        return joined

    # -- 4

    def train(self, experiment: Experiment, joined: TrainingSet, trees: int) -> Model:
        """The project's own train.py, as a job in an environment of its own."""
        job = experiment.train(
            script="train.py",
            source=self.project.folder,
            requirements="requirements.txt",
            inputs={"train": joined.reference},
            config={"n_estimators": trees},
            register_as={
                "name": MODEL,
                "label": "churn",
                "feature_view": VIEW,
                "gate": {"metric": "roc_auc", "threshold": 0.8},
                "model_card": _CARD,
            },
        )
        self.narrator.tell(f"{job.job_id} runs train.py with {trees} trees")
        job.wait(timeout=_WAIT, progress=lambda _: None)
        gate = job.data.gate
        if job.model_id is None:
            reason = "; ".join(gate.reasons) if gate else job.reason
            raise PlatformError(f"the gate did not let the model pass: {reason}")
        assert gate is not None
        beaten = f", champion {gate.champion_value:.4f}" if gate.champion_value is not None else ""
        self.narrator.tell(f"registered {job.model_id}: roc_auc {gate.value:.4f} on {gate.rows} rows{beaten}")
        return self.people.engineer.models.get(job.model_id)

    # -- 5

    def to_staging(self, model: Model) -> Deployment:
        deployment = self.people.engineer.deploy_model(model.model_id, environment="staging")
        deployment.wait(timeout=_WAIT, progress=lambda _: None)
        rollout = deployment.rollout()
        self.narrator.tell(
            "staging: " + ", ".join(f"{s.name.value} {_mark(s.status)}" for s in rollout.stages)
        )
        build = next(stage for stage in rollout.stages if stage.name.value == "build")
        self.narrator.tell(f"built for {build.evidence.get('runtime')}: {_parity(build.evidence)}")
        return deployment

    def to_production(self, model: Model) -> Deployment:
        """Through the approval that the risk demands; as a canary where something serves already."""
        engineer = self.people.engineer
        self._clear_the_way(engineer.deployments.find(MODEL, "production"))
        risk = engineer.models.assess_risk(MODEL, _RISK)
        self.narrator.tell(
            f"risk {risk.score} of 50: {risk.level.value}; needs {', '.join(risk.approval.seats)}"
        )
        deployment = engineer.deploy_model(
            model.model_id, environment="production", justification="The demo's release", canary=QUICK_CANARY
        )
        with SteadyTraffic(deployment.endpoint, self.people.application_key, self.keys(200)) as traffic:
            try:
                deployment.wait(timeout=_WAIT, progress=lambda _: None)
            except ApprovalRequiredError:
                self._approve(deployment)
                deployment.wait(timeout=_WAIT, for_approval=True, progress=lambda _: None)
        rollout = deployment.rollout()
        self.narrator.tell(
            "production: " + ", ".join(f"{s.name.value} {_mark(s.status)}" for s in rollout.stages)
        )
        for step in rollout.canary:
            self.narrator.tell(f"canary at {step.percent} %: {step.status.value} {_compared(step.evidence)}")
        if rollout.canary:
            self.narrator.tell(
                f"meanwhile the application asked {traffic.answered} times, {traffic.failed} failed"
            )
        return deployment

    def _clear_the_way(self, deployment: Deployment | None) -> None:
        """An earlier run leaves its retrained model waiting for people; this run ends that rollout."""
        waiting = deployment.data.active_rollout_id if deployment is not None else None
        if waiting is not None:
            self.people.engineer.deployments.cancel(waiting)
            self.narrator.tell(f"cancelled {waiting}, which an earlier run had left waiting for approval")

    def _approve(self, deployment: Deployment) -> None:
        approval_id = deployment.rollout().approval_id
        assert approval_id is not None
        try:
            self.people.engineer.approvals.approve(approval_id, "I made it")
        except PlatformError as error:
            self.narrator.tell(f"ana may not approve her own: {error.detail}")
        for name, person in (("maria", self.people.manager), ("sam", self.people.senior)):
            approval = person.approvals.approve(approval_id, "evidence read: gate, parity and risk")
            missing = ", ".join(approval.missing) or "nobody"
            state = "approved" if approval.status is ApprovalStatus.APPROVED else f"still missing: {missing}"
            self.narrator.tell(f"{name} approves; {state}")

    # -- 6

    def keys(self, count: int) -> list[dict[str, Any]]:
        return [{"customer_id": f"C{number:07d}"} for number in range(1, count + 1)]

    def predict(self, deployment: Deployment) -> None:
        """Nothing but a customer_id; features are looked up online."""
        application = Application(deployment.endpoint, self.people.application_key)
        try:
            answer = application.ask([{"customer_id": CUSTOMER}])
            if answer.status_code != 200:
                raise PlatformError(f"the endpoint answered {answer.status_code}: {answer.text[:300]}")
            self.narrator.tell(f'{{"customer_id": "{CUSTOMER}"}} -> {answer.text.strip()}')
            application.measure(self.keys(50))
            measured = application.measure(self.keys(1_000))
        finally:
            application.close()
        if measured.failures:
            raise PlatformError(
                f"{measured.failures} of {measured.requests} predictions failed: {measured.last}"
            )
        self.narrator.tell(
            f"{measured.requests} predictions, one at a time: p50 {measured.p50:.2f} ms, p95 {measured.p95:.2f} ms"
            " seen by the application"
        )

    # -- 7

    def drift(self, deployment: Deployment) -> None:
        """Drifted traffic is found, an alert is raised, a retraining starts and waits at the gate."""
        rows = self.project.drifted_rows(
            self.tables["customers"], self.folder / "drifted.json", _DRIFTED_ROWS
        )
        application = Application(deployment.endpoint, self.people.application_key)
        try:
            for start in range(0, len(rows), 50):
                answer = application.ask(rows[start : start + 50])
                if answer.status_code != 200:
                    raise PlatformError(
                        f"drifted traffic was answered {answer.status_code}: {answer.text[:300]}"
                    )
        finally:
            application.close()
        self.narrator.tell(f"sent {len(rows)} customers after a price rise and a campaign for newcomers")
        self._detect(deployment.deployment_id)

    def _detect(self, deployment_id: str) -> None:
        engineer = self.people.engineer
        for alert in engineer.alerts.list(status="open", resource=deployment_id):
            engineer.alerts.resolve(alert.alert_id, "from an earlier run of the demo")
        retrain = {"enabled": True, "cooldown_hours": 0, "max_per_week": 1000}
        engineer.drift.configure(deployment_id, retrain=retrain, window_hours=_WINDOW_HOURS)
        accepted = engineer.drift.check(deployment_id)
        check = engineer.drift.wait(deployment_id, accepted.check_id, progress=lambda _: None)
        if check.verdict is not DriftVerdict.DRIFT:
            raise PlatformError(f"the drift was not found: {check.verdict}, {'; '.join(check.reasons)}")
        worst = sorted(check.features, key=lambda feature: -(feature.psi or 0))[:4]
        measured = ", ".join(
            f"{f.name} PSI {f.psi:.2f} JS {f.js_distance:.2f}" for f in worst if f.psi is not None
        )
        self.narrator.tell(f"drift found in {check.rows} predictions: {measured}")
        if check.alert_id is None or check.retraining is None or check.retraining.retraining_id is None:
            raise PlatformError(f"drift had no consequences: {check.retraining}")
        alert = engineer.alerts.get(check.alert_id)
        self.narrator.tell(f"{alert.severity.value} alert {alert.alert_id}: {alert.title}")
        self._follow_retraining(deployment_id, check.retraining.retraining_id)
        # The traffic stays drifted: without this the platform would retrain every quarter of an hour.
        engineer.drift.configure(deployment_id, retrain={"enabled": False}, window_hours=24)

    def _follow_retraining(self, deployment_id: str, retraining_id: str) -> None:
        engineer, deadline = self.people.engineer, time.monotonic() + _WAIT
        retraining = engineer.drift.retraining(deployment_id, retraining_id)
        while not retraining.status.finished:
            if time.monotonic() > deadline:
                raise PlatformError(f"retraining {retraining_id} is still {retraining.status.value}")
            time.sleep(0.3)
            retraining = engineer.drift.retraining(deployment_id, retraining_id)
        if retraining.rollout_id is None:
            raise PlatformError(f"retraining {retraining.status.value}: {retraining.reason}")
        self.narrator.tell(
            f"retraining {retraining_id} ran {retraining.job_id}, which registered {retraining.model_id}"
        )
        rollout = engineer.deployments.rollout(retraining.rollout_id)
        while rollout.status is RolloutStatus.RUNNING and time.monotonic() < deadline:
            time.sleep(0.3)
            rollout = engineer.deployments.rollout(retraining.rollout_id)
        if rollout.status is not RolloutStatus.PENDING_APPROVAL:
            raise PlatformError(
                f"{retraining.model_id} does not wait for people: {rollout.status} {rollout.reason}"
            )
        approval = engineer.approvals.get(rollout.approval_id or "")
        self.narrator.tell(
            f"{retraining.model_id} waits at the gate: approval {approval.approval_id}"
            f" needs {', '.join(approval.missing)}"
        )


def run(admin: Platform, narrator: Narrator) -> Deployment:
    """Steps 2 to 7 against a running platform."""
    with tempfile.TemporaryDirectory(prefix="mlops-demo-") as folder:
        project = ChurnProject.find()
        people = assemble(admin)
        with narrator.step(2, "The data become versions of datasets, with a validated schema and a profile"):
            tables = project.export(Path(folder))
            script = Script(narrator, people, project, Path(folder), tables)
            profile, labels = script.version_the_data()
        with narrator.step(3, "Features are defined once, materialised online, joined point-in-time"):
            joined = script.define_features(profile, labels)
        serving = people.engineer.deployments.find(MODEL, "production")
        experiment = _experiment(people.engineer)
        with narrator.step(4, "A job runs the project's own train.py; its model must pass the gate"):
            model = script.train(experiment, joined, 200 if serving is not None else 40)
        with narrator.step(5, "Nine stages to staging, then to production through an approval, as a canary"):
            script.to_staging(model)
            deployment = script.to_production(model)
            if serving is None:
                narrator.tell("nothing served before, so that was no canary; a better model follows as one")
                deployment = script.to_production(script.train(experiment, joined, 200))
        with narrator.step(6, "An application asks with nothing but a customer_id"):
            script.predict(deployment)
        with narrator.step(
            7, "Drifted traffic: found, alerted, retrained, held at the gate; the audit log verifies"
        ):
            script.drift(deployment)
            result = admin.audit.verify()
            if not result.verified:
                raise PlatformError("the audit log does not verify", hint="mlops audit verify")
            narrator.tell(f"audit: {result.events} events verified")
        return deployment


def _experiment(platform: Platform) -> Experiment:
    try:
        return platform.create_experiment(MODEL, "Who leaves, and when")
    except ConflictError:
        return platform.get_experiment(MODEL)


def _mark(status: StageStatus) -> str:
    return "✓" if status is StageStatus.PASSED else status.value


def _parity(evidence: dict[str, Any]) -> str:
    parity = evidence.get("parity") or {}
    if not isinstance(parity, dict) or "max_abs_difference" not in parity:
        return str(evidence.get("not_converted_because") or "")
    return (
        f"largest difference to the original {parity['max_abs_difference']:.1e} on {parity.get('rows')} rows"
    )


def _compared(evidence: dict[str, Any]) -> str:
    return str(evidence.get("summary") or "")
