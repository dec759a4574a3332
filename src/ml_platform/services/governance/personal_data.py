"""What personal data mean for a model version: for its risk, whatever was answered, and for what it may take in."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy.orm import Session

from ml_platform.contracts.governance import RiskLevel
from ml_platform.contracts.personaldata import PersonalDataFinding, PersonalDataGroup, PersonalDataStatus
from ml_platform.services.governance.interfaces import TrainingColumn, TrainingData, TrainingFacts
from ml_platform.services.governance.policies import RULES, level_of, score_of
from ml_platform.services.governance.tables import ModelRiskRow

DECLARED = "personal_inputs"
"""Where a model card says why the model takes personal data in: `{"<column>": "<why>"}`."""
_ASSESSMENT = "data_sensitivity"
_MOST = 100
_MOST_REASONS = 20
_ORDER = tuple(PersonalDataGroup)
_G = PersonalDataGroup


class InputRule(StrEnum):
    """What personal data among a model's inputs mean in production, unless its card says why they are there."""

    ALLOW = "allow"
    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class PersonalDataRules:
    """By group of kinds: what inputs mean, and the least data sensitivity of what was trained on them."""

    inputs: Mapping[PersonalDataGroup, InputRule] = field(
        default_factory=lambda: MappingProxyType(
            {
                _G.DIRECT: InputRule.STOP,
                _G.SPECIAL: InputRule.WARN,
                _G.PSEUDONYM: InputRule.WARN,
                _G.QUASI: InputRule.WARN,
            }
        )
    )
    floors: Mapping[PersonalDataGroup, int] = field(
        default_factory=lambda: MappingProxyType({_G.DIRECT: 7, _G.SPECIAL: 9, _G.PSEUDONYM: 3, _G.QUASI: 4})
    )


@dataclass(frozen=True, slots=True)
class PersonalInput:
    """A column that the model takes in, what it holds, and what that means."""

    column: str
    finding: PersonalDataFinding
    rule: InputRule
    declared: str | None

    @property
    def stops(self) -> bool:
        return self.rule is InputRule.STOP and self.declared is None


class PersonalDataCheck:
    """Looks at what a version was trained on, and judges by the rules of the installation."""

    def __init__(self, training: TrainingData, rules: PersonalDataRules) -> None:
        self._training = training
        self.rules = rules

    def training(self, session: Session, team_id: str, model: str, version: int) -> TrainingFacts:
        return self._training.of(session, team_id, model, version)

    def risk(self, session: Session, row: ModelRiskRow, version: int) -> ModelRiskRow:
        """The risk of a version: as answered, or a copy with its data sensitivity raised to what was found."""
        return self.raised(row, self.training(session, row.team_id, row.model_name, version))

    def raised(self, row: ModelRiskRow, facts: TrainingFacts) -> ModelRiskRow:
        """See `risk`; the copy is in no session."""
        counting = [column for column in facts.columns if column.finding.counts]
        floor = max((self.rules.floors[column.finding.group] for column in counting), default=0)
        answered = row.assessments[_ASSESSMENT]
        if floor <= answered["score"]:
            return row
        grave = [c for c in counting if self.rules.floors[c.finding.group] > answered["score"]]
        assessments = row.assessments | {
            _ASSESSMENT: {
                **answered,
                "score": floor,
                "answered": answered["score"],
                "because": [_said(column) for column in grave[:_MOST_REASONS]],
            }
        }
        score = score_of({name: answer["score"] for name, answer in assessments.items()})
        level = level_of(score)
        sooner = RULES[RiskLevel(row.level)].review_every - RULES[level].review_every
        return ModelRiskRow(
            id=row.id,
            team_id=row.team_id,
            model_name=row.model_name,
            assessments=assessments,
            score=score,
            level=level.value,
            answered_by=row.answered_by,
            answered_by_name=row.answered_by_name,
            answered_at=row.answered_at,
            review_due_at=row.review_due_at - sooner,
        )

    def inputs(
        self, facts: TrainingFacts, columns: Sequence[str], card: Mapping[str, Any]
    ) -> list[PersonalInput]:
        """The inputs that hold personal data: by what was found in training, else by their names alone.

        A column of which a person said that a finding is wrong is not judged by its name once more.
        """
        declared = card.get(DECLARED)
        reasons: Mapping[str, Any] = declared if isinstance(declared, Mapping) else {}
        found = []
        for column in columns:
            known = [item.finding for item in facts.columns if item.column == column]
            for finding in known or self._training.named(column):
                if finding.counts:
                    rule = self.rules.inputs[finding.group]
                    found.append(PersonalInput(column, finding, rule, _reason(reasons.get(column))))
        return list({(item.column, item.finding.kind): item for item in found}.values())


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """What one version was trained on, looked up once for all that goes by it, and the rules that judge it."""

    check: PersonalDataCheck
    facts: TrainingFacts

    def risk(self, row: ModelRiskRow | None) -> ModelRiskRow | None:
        """See `PersonalDataCheck.raised`; None when nobody answered."""
        return self.check.raised(row, self.facts) if row is not None else None

    def inputs(self, columns: Sequence[str], card: Mapping[str, Any]) -> list[PersonalInput]:
        """See `PersonalDataCheck.inputs`."""
        return self.check.inputs(self.facts, columns, card)


def trained_on(
    check: PersonalDataCheck | None, session: Session, team_id: str, model: str, version: int
) -> TrainedOn | None:
    """Follows the lineage of a version; None where nobody looks."""
    return TrainedOn(check, check.training(session, team_id, model, version)) if check is not None else None


def risk_of_version(
    check: PersonalDataCheck | None, session: Session, row: ModelRiskRow | None, version: int
) -> ModelRiskRow | None:
    """See `PersonalDataCheck.risk`; as answered where nobody looks, None when nobody answered."""
    if check is None or row is None:
        return row
    return check.risk(session, row, version)


def gravest_risk(
    check: PersonalDataCheck | None, session: Session, row: ModelRiskRow | None, versions: Iterable[int]
) -> ModelRiskRow | None:
    """The risk of several versions of a model, of which the highest counts; None when nobody answered."""
    if check is None or row is None:
        return row
    found = [check.risk(session, row, version) for version in versions]
    return max(found, key=lambda each: each.score, default=row)


def evidence_of(facts: TrainingFacts, inputs: Collection[PersonalInput]) -> dict[str, Any]:
    """What an approver reads: which columns of which versions, what people said, and what the model takes in."""
    gravest = sorted(facts.columns, key=lambda c: (not c.finding.counts, _ORDER.index(c.finding.group)))
    return {
        "trained_on": list(facts.datasets),
        "known": facts.known,
        "columns": [_told(column) for column in gravest if _stands(column)][:_MOST],
        "said_to_be_wrong": [_told(column) for column in gravest if not _stands(column)][:_MOST],
        "inputs": [
            {
                "column": item.column,
                "kind": item.finding.kind.value,
                "group": item.finding.group.value,
                "rule": item.rule.value,
                "declared": item.declared,
            }
            for item in inputs
        ][:_MOST],
    }


def _stands(column: TrainingColumn) -> bool:
    return column.finding.status is not PersonalDataStatus.WRONG


def _told(column: TrainingColumn) -> dict[str, Any]:
    finding = column.finding.model_dump(mode="json", exclude_none=True)
    return {"dataset": column.dataset, **finding}


def _said(column: TrainingColumn) -> str:
    return f"{column.dataset}: {column.column} holds {column.finding.kind.value}"


def _reason(value: Any) -> str | None:
    return value.strip()[:1000] or None if isinstance(value, str) else None
