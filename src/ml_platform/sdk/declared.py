"""Deployments as a file: compared with what is live, and applied."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

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
_COMPARED = ("replicas", "auto_scale", "max_replicas")
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
    return item.model_dump(exclude={"model", "environment"}, exclude_none=True, mode="json")


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
    for name in _COMPARED:
        declared, live = getattr(item, name), getattr(data, name)
        if declared is not None and declared != live:
            found.append(
                DeclaredDifference(field=name, live=None if live is None else str(live), file=str(declared))
            )
    return found
