"""No back door: what an MLflow client writes to the registry passes the same policies as our own API.

MLflow keeps its registry in a database of its own, so one transaction cannot hold its row and our audit
event. The event is written first, with the outcome `begun`; the change follows; then comes the outcome `done`
or `failed`, in one transaction with our own row where an alias is mirrored. An event that stays `begun` says
that the process ended in between.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.base import SLUG_PATTERN
from ml_platform.contracts.identity import Permission
from ml_platform.integrations.mlflow import Outcome, RegistryWrite, RegistryWriteRefusedError
from ml_platform.services.access import Actor, Decision, Resource, Work, WorkFactory
from ml_platform.services.governance import GovernanceRepository, policy_facts, risk_facts
from ml_platform.services.registry import RegistryService
from ml_platform.services.registry.tables import ModelVersionRow, RegisteredModelRow

OPERATIONS = {  # what policies are told is done, and to what
    "create_registered_model": ("model.create", "model"),
    "update_registered_model": ("model.update", "model"),
    "rename_registered_model": ("model.rename", "model"),
    "delete_registered_model": ("model.delete", "model"),
    "set_registered_model_tag": ("tag.set", "model_tag"),
    "delete_registered_model_tag": ("tag.delete", "model_tag"),
    "set_alias": ("alias.set", "model_alias"),
    "delete_alias": ("alias.delete", "model_alias"),
    "create_model_version": ("version.create", "model_version"),
    "update_model_version": ("version.update", "model_version"),
    "delete_model_version": ("version.delete", "model_version"),
    "transition_stage": ("stage.transition", "model_version"),
    "set_model_version_tag": ("tag.set", "model_tag"),
    "delete_model_version_tag": ("tag.delete", "model_tag"),
}
_FILES = frozenset({"write_artifact", "delete_logged_model"})
_OF_THE_MODEL = frozenset({"rename_registered_model", "delete_registered_model", "transition_stage"})
_LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")
_SLUG = re.compile(SLUG_PATTERN)
_VERSION_LIKE = re.compile(r"[0-9]+|.+_v[1-9][0-9]*")
_LONGEST = 500
_LARGEST = 2**31


@dataclass(frozen=True, slots=True)
class MlflowCaller:
    """Who asks, and the teams behind the workspaces that are open to them: id and name."""

    actor: Actor
    teams: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the platform knows of the model that is written to."""

    registered: bool = False
    version: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class RegistryGovernance:
    """Implements MLflow's `RegistryPolicy`."""

    def __init__(self, factory: WorkFactory) -> None:
        self._factory = factory

    def check(self, write: RegistryWrite) -> Outcome | None:
        """Raises RegistryWriteRefusedError, naming the policy."""
        if write.internal:
            return None
        actor = _acting(write)
        if write.action in _FILES:
            self._keep_files(actor, write)
            return None
        with self._factory.database.read() as session:
            known = _known(session, actor.team_id, write)
        _keep_registered(write, known)
        operation, kind = OPERATIONS[write.action]
        name = _name_of(write, kind)
        with self._factory.begin(actor) as work:
            resource = Resource(kind, name, actor.team_id, known.facts)
            decision = work.decide(Permission.TRAIN_MODEL, resource, operation)
            if not decision.allowed:
                raise _refused(f"{actor.name} may not do {operation} to {name}: {decision.reason}")
            _record(work, write, decision, "begun")

        def ended(done: bool) -> None:
            with self._factory.begin(actor) as work:
                if done:
                    _mirror(RegistryService(work), write, known)
                _record(work, write, decision, "done" if done else "failed")

        return ended

    def _keep_files(self, actor: Actor, write: RegistryWrite) -> None:
        """What a registered version was made from stays what it was."""
        logged = set(_LOGGED_MODEL.findall(write.model.lower()))
        if not logged:
            return
        query = select(ModelVersionRow.model_id).where(
            ModelVersionRow.team_id == actor.team_id,
            ModelVersionRow.mlflow_source.in_([*logged, *(f"models:/{one}" for one in logged)]),
        )
        with self._factory.database.read() as session:
            version = session.scalars(query.limit(1)).first()
        if version is not None:
            raise _refused(
                f"{version} was registered from these files, so they stay as they are;"
                " log another model (policy registered-files-stay)"
            )


def _acting(write: RegistryWrite) -> Actor:
    caller = write.caller
    if not isinstance(caller, MlflowCaller) or write.workspace not in caller.teams:
        raise _refused("It is not known who asks (policy nobody-unknown)")
    team_id, team_name = caller.teams[write.workspace]
    return replace(caller.actor, team_id=team_id, team_name=team_name)


def _known(session: Session, team_id: str, write: RegistryWrite) -> _Known:
    facts: dict[str, Any] = {"model": write.model}
    number = int(write.version) if write.version is not None else None
    if number is not None and 0 < number < _LARGEST:
        facts["version"] = number
    if write.action.endswith("alias"):
        facts["alias"] = write.key
    elif write.action.endswith("tag"):
        facts["tag"] = write.key
    model = select(RegisteredModelRow.id).where(
        RegisteredModelRow.team_id == team_id, RegisteredModelRow.name == write.model
    )
    if session.scalars(model).first() is None:
        return _Known(facts=facts)
    version = None
    if "version" in facts:
        query = select(ModelVersionRow).where(
            ModelVersionRow.team_id == team_id,
            ModelVersionRow.model_name == write.model,
            ModelVersionRow.version == number,
        )
        version = session.scalars(query).first()
    risk = GovernanceRepository(session, team_id).risk(write.model)
    facts |= policy_facts(
        write.model,
        facts.get("version"),
        risk=risk_facts(risk) if risk is not None else None,
        card=version.model_card if version is not None else None,
        registered_by=version.created_by if version is not None else None,
    )
    number = version.version if version is not None else None
    return _Known(registered=True, version=number, facts=facts)


def _keep_registered(write: RegistryWrite, known: _Known) -> None:
    """What no policy of an organisation could permit either."""
    if not known.registered:
        return
    if write.action in _OF_THE_MODEL or (
        write.action == "delete_model_version" and known.version is not None
    ):
        raise _refused(
            f"Model '{write.model}' is registered with the platform, which keeps its name and its versions, and"
            " knows aliases instead of stages (policy registered-versions-stay)"
        )
    if write.action == "set_alias" and known.version is None:
        raise _refused(
            f"{write.model}/{write.version} is not registered with the platform, so no alias of the model leads"
            f" to it: POST /api/v1/models/{write.model}/versions (policy aliases-name-registered-versions)"
        )


def _mirror(registry: RegistryService, write: RegistryWrite, known: _Known) -> None:
    """Our own alias follows; deployments resolve that one."""
    alias = write.key or ""
    if not known.registered or not _SLUG.fullmatch(alias) or _VERSION_LIKE.fullmatch(alias):
        return
    if write.action == "set_alias" and known.version is not None:
        registry.mirror_alias(write.model, alias, known.version)
    elif write.action == "delete_alias":
        registry.mirror_alias(write.model, alias, None)


def _record(work: Work, write: RegistryWrite, decision: Decision, outcome: str) -> None:
    operation, kind = OPERATIONS[write.action]
    work.record(
        f"mlflow.{operation}",
        kind,
        _name_of(write, kind),
        after=_after(write),
        outcome=outcome,
        client="mlflow",
        policies=list(decision.policies),
    )


def _name_of(write: RegistryWrite, kind: str) -> str:
    name = write.model if write.version is None else f"{write.model}/{write.version}"
    if kind == "model_alias":
        name = f"{write.model}@{write.key}"
    elif kind == "model_tag":
        name = f"{name}#{write.key}"
    return name[:_LONGEST]


def _after(write: RegistryWrite) -> dict[str, Any]:
    values = {"version": write.version, "key": write.key, "value": write.value}
    return {name: value[:_LONGEST] for name, value in values.items() if value is not None}


def _refused(text: str) -> RegistryWriteRefusedError:
    return RegistryWriteRefusedError(text)
