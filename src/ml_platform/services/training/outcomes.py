"""What becomes of a job's model: the registry decides, training only hands over."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ml_platform.contracts.models import GateResult, RegisterAs
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.registry import Candidate, Registrar, RegistryService


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """`model_id` of the version, or `reason` and `hint` when there is none; `gate` is the evidence."""

    model_id: str | None
    gate: dict[str, Any] | None
    reason: str | None = None
    hint: str | None = None


class Registration(Protocol):
    def register(
        self,
        team_id: str,
        team_name: str,
        *,
        job_id: str,
        run_id: str,
        created_by: str,
        wanted: RegisterAs,
        holdout: Path | None,
    ) -> RegistrationResult:
        """Registers what the job's run logged; asked again for the same job, the same answer."""
        ...


class GatedRegistration:
    """Registers through the gate; its evidence stands with the version, or with the job that failed it."""

    def __init__(self, factory: WorkFactory, registrar: Registrar, clock: Clock = utc_now) -> None:
        self._factory = factory
        self._registrar = registrar
        self._clock = clock

    def register(
        self,
        team_id: str,
        team_name: str,
        *,
        job_id: str,
        run_id: str,
        created_by: str,
        wanted: RegisterAs,
        holdout: Path | None,
    ) -> RegistrationResult:
        """See `Registration`."""
        actor = Actor.system(f"training for {created_by}", team_id=team_id, team_name=team_name)
        with self._factory.begin(actor, write=False) as work:
            registry = RegistryService(work)
            known = registry.find_registration(wanted.name, job_id)
            champion = registry.champion(wanted.name)
        if known is None:
            logged = self._registrar.find_logged_model(team_name, run_id, None)
            if logged is None:
                return self._nothing_logged()
            candidate = Candidate(
                team_id=team_id,
                team_name=team_name,
                name=wanted.name,
                key=job_id,
                logged=logged,
                created_by=created_by,
                job_id=job_id,
                holdout=holdout,
                label=wanted.label,
                gate=wanted.gate,
                feature_view=wanted.feature_view,
                description=wanted.description,
                model_card=wanted.model_card,
            )
            prepared = self._registrar.prepare(candidate, champion)
            if isinstance(prepared, GateResult):
                return _not_passed(prepared)
            with self._factory.begin(actor) as work:
                known = self._registrar.record(work, prepared)
        self._registrar.mirror_champion(team_name, known)
        gate = known.gate.model_dump(mode="json") if known.gate else None
        return RegistrationResult(known.model_id, gate)

    def _nothing_logged(self) -> RegistrationResult:
        reason = "the script logged no model to its run"
        gate = GateResult(passed=False, reasons=[reason], checked_at=self._clock())
        return RegistrationResult(
            None,
            gate.model_dump(mode="json"),
            f"no version was registered: {reason}",
            "log it with mlflow.<flavour>.log_model(model, name=..., signature=..., input_example=...)",
        )


def _not_passed(gate: GateResult) -> RegistrationResult:
    return RegistrationResult(
        None,
        gate.model_dump(mode="json"),
        f"no version was registered: {'; '.join(gate.reasons)}",
        "improve the model or change the gate, and submit the job again",
    )
