"""What a version was trained on of personal data, and which of it the model takes in: a part of validate."""

from collections.abc import Collection, Sequence
from typing import Any

from ml_platform.contracts.deployments import Environment
from ml_platform.services.deployments.interfaces import DeployableVersion, Inspection
from ml_platform.services.governance import (
    DECLARED,
    InputRule,
    PersonalInput,
    TrainedOn,
    TrainingFacts,
    evidence_of,
)

PERSONAL_DATA = "personal_data"
_NAMED = 10


def personal_data(
    trained: TrainedOn | None, version: DeployableVersion, inspection: Inspection, environment: str
) -> tuple[dict[str, Any], str | None]:
    """The evidence, and why the version may not go to its environment, or None."""
    if trained is None:
        return {}, None
    facts, inputs = trained.facts, trained.inputs(inspection.columns, version.model_card)
    problem = input_problem(inputs, environment)
    told = {**evidence_of(facts, inputs), "warnings": [] if problem else _warnings(facts, inputs)}
    return {"personal_data": told}, problem


def input_problem(inputs: Collection[PersonalInput], environment: str) -> str | None:
    """Why production is closed to a model with these inputs, or None."""
    stopping = [item for item in inputs if item.stops]
    if not stopping or environment != Environment.PRODUCTION:
        return None
    return (
        f"the model takes in personal data that its card does not explain: {_names(stopping)}. Train it without"
        f' them, or say why in the card: {{"{DECLARED}": {{"{stopping[0].column[:100]}": "why"}}}}; a finding that'
        " is wrong is marked with: mlops datasets mark"
    )


def input_warnings(inputs: Collection[PersonalInput]) -> list[str]:
    """What an approver should know of these inputs, whether they stop anything or not."""
    unexplained = [item for item in inputs if item.rule is not InputRule.ALLOW and item.declared is None]
    if not unexplained:
        return []
    return [f"it takes in personal data that its card does not explain: {_names(unexplained)}"]


def _warnings(facts: TrainingFacts, inputs: Collection[PersonalInput]) -> list[str]:
    told = input_warnings(inputs)
    if not facts.known:
        told.append(
            "no training data are known by its lineage, so only the names of its inputs were looked at"
        )
    return told


def _names(inputs: Sequence[PersonalInput]) -> str:
    named = [f"{item.column[:100]} ({item.finding.kind.value})" for item in inputs[:_NAMED]]
    return ", ".join(named) + (f" and {len(inputs) - _NAMED} more" if len(inputs) > _NAMED else "")
