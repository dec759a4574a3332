"""Deployments as a file: compared with what is live, and applied."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ml_platform.contracts.declared import (
    DeclaredComparison,
    DeclaredDeployment,
    DeclaredDifference,
    DeclaredOutcome,
    DeclaredState,
)
from ml_platform.contracts.deployments import Deployment as DeploymentData
from ml_platform.contracts.deployments import DeploymentPlan, RolloutStatus
from ml_platform.contracts.plainyaml import load_plain
from ml_platform.sdk.deployments import Deployment, Deployments
from ml_platform.sdk.errors import InvalidInputError

_MOST_BYTES = 1024 * 1024
_NOT_COMPARED = frozenset({"name", "environment", "model", "justification"})
"""What says which endpoint it is, the version, which is compared once its alias is looked up, and what is told
the approvers of a change."""
_OWN = ("replicas", "auto_scale", "max_replicas")
_UNDER_WAY = frozenset({RolloutStatus.RUNNING, RolloutStatus.PENDING_APPROVAL, RolloutStatus.CANARY})


def read_state(source: str | Path | Mapping[str, Any]) -> DeclaredState:
    """A file of deployments, YAML or JSON, or what stands in one.

    Raises:
        InvalidInputError: it cannot be read, or is not of the form; the field is named.
    """
    if isinstance(source, Mapping):
        given: Any = dict(source)
    else:
        path = Path(source)
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise InvalidInputError(f"{path} is larger than {_MOST_BYTES} bytes")
            given = load_plain(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path} cannot be read: {error}") from None
    try:
        return DeclaredState.model_validate(given)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}"
            for item in error.errors()[:5]
        )
        raise InvalidInputError(f"this is no file of deployments: {told}") from None


def compare(deployments: Deployments, state: DeclaredState) -> list[DeclaredComparison]:
    """Each endpoint of the file beside what is live; changes nothing.

    Raises:
        NotFoundError: the file names a model or an alias that there is not.
    """
    return [_compared(deployments, item) for item in state.deployments]


def plan(
    deployments: Deployments, state: DeclaredState
) -> list[tuple[DeclaredComparison, DeploymentPlan | None]]:
    """What applying the file would meet, without doing it; None for what is as the file says already."""
    found = compare(deployments, state)
    return [
        (
            comparison,
            None
            if comparison.outcome is DeclaredOutcome.SAME
            else deployments.plan(comparison.model_id, environment=item.environment.value, **_options(item)),
        )
        for item, comparison in zip(state.deployments, found, strict=True)
    ]


def apply(
    deployments: Deployments, state: DeclaredState
) -> list[tuple[DeclaredComparison, Deployment | None]]:
    """Starts a rollout of each endpoint that is not as the file says; None for those that are.

    What is under way already with the same version is left alone, so that a file may be applied again at any
    time. Nothing is started when the file names a model that there is not.
    """
    found = compare(deployments, state)
    started: list[tuple[DeclaredComparison, Deployment | None]] = []
    for item, comparison in zip(state.deployments, found, strict=True):
        if comparison.outcome in (DeclaredOutcome.SAME, DeclaredOutcome.UNDER_WAY):
            started.append((comparison, None))
            continue
        rollout = deployments.deploy(
            comparison.model_id, environment=item.environment.value, **_options(item)
        )
        started.append((comparison, rollout))
    return started


def _options(item: DeclaredDeployment) -> dict[str, Any]:
    """What the file says, a null inside of it included: that is a value, and not the default."""
    return item.model_dump(exclude={"model", "environment"}, exclude_unset=True, mode="json")


def _compared(deployments: Deployments, item: DeclaredDeployment) -> DeclaredComparison:
    plan = deployments.plan(item.model, environment=item.environment.value, name=item.name)
    wanted = f"{plan.model_name}/{plan.model_version}"
    live = deployments.find(item.name, item.environment.value)
    comparison = DeclaredComparison(
        deployment=f"{item.environment.value}/{item.name}",
        outcome=DeclaredOutcome.SAME,
        model_id=wanted,
        differences=[],
    )
    if live is None or (live.data.serving_model_id is None and live.data.active_rollout_id is None):
        missing = DeclaredDifference(field="model", live=None, file=wanted)
        return comparison.model_copy(update={"outcome": DeclaredOutcome.NEW, "differences": [missing]})
    data = live.data
    if data.rollout_model_id == wanted and data.rollout_status in _UNDER_WAY:
        return comparison.model_copy(update={"outcome": DeclaredOutcome.UNDER_WAY})
    differences = _differences(item, wanted, data)
    if not differences:
        return comparison
    return comparison.model_copy(update={"outcome": DeclaredOutcome.DIFFERENT, "differences": differences})


def _differences(item: DeclaredDeployment, wanted: str, data: DeploymentData) -> list[DeclaredDifference]:
    found = []
    if data.serving_model_id != wanted:
        found.append(DeclaredDifference(field="model", live=data.serving_model_id, file=wanted))
    live = data.config | {name: getattr(data, name) for name in _OWN}
    for name in type(item).model_fields:
        declared = getattr(item, name)
        if name not in _NOT_COMPARED and declared is not None:
            found.extend(_differing(name, declared, live.get(name)))
    return found


def _differing(field: str, declared: Any, live: Any) -> Iterator[DeclaredDifference]:
    """What stands in the file and is not so; what is left out of a section is not compared."""
    if isinstance(declared, BaseModel):
        section = live if isinstance(live, Mapping) else {}
        for name in type(declared).model_fields:
            if name in declared.model_fields_set:
                yield from _differing(f"{field}.{name}", getattr(declared, name), section.get(name))
    elif _text(declared) != _text(live):
        yield DeclaredDifference(
            field=field, live=None if live is None else _text(live), file=_text(declared)
        )


def _text(value: Any) -> str:
    """As it stands in JSON, where true is not 1; a text as it is."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
