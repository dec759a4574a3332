"""The risk questionnaire of a model."""

from typing import Any

from sqlalchemy.exc import IntegrityError

from ml_platform.contracts.governance import AnsweredAssessment, ModelRisk, RiskAssess, RiskLevel
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.governance.interfaces import ModelDirectory
from ml_platform.services.governance.personal_data import PersonalDataCheck, risk_of_version
from ml_platform.services.governance.policies import ASSESSMENTS, RULES, level_of, score_of
from ml_platform.services.governance.repository import GovernanceRepository
from ml_platform.services.governance.tables import ModelRiskRow


class RiskService:
    """Answers are by a person, with a reason each, and replace the ones before as a whole.

    What is told of them is raised to what the newest version was trained on.
    """

    def __init__(self, work: Work, models: ModelDirectory, check: PersonalDataCheck | None = None) -> None:
        self._work = work
        self._models = models
        self._check = check
        self._repository = GovernanceRepository(work.session, work.team_id)

    def assess(self, model_name: str, body: RiskAssess) -> ModelRisk:
        self._models.require_model(self._work, model_name)
        assessments = body.model_dump()
        score = score_of({name: assessments[name]["score"] for name in ASSESSMENTS})
        level = level_of(score)
        row = self._repository.risk(model_name, lock=True)
        before = risk_facts(row) if row is not None else None
        now = self._work.clock()
        if row is None:
            row = ModelRiskRow(id=new_id("rsk"), team_id=self._work.team_id, model_name=model_name)
            self._work.session.add(row)
        row.assessments, row.score, row.level = assessments, score, level.value
        row.answered_by, row.answered_by_name = self._work.actor.actor_id, self._work.actor.name
        row.answered_at, row.review_due_at = now, now + RULES[level].review_every
        self._flush(model_name)
        self._work.record("model.risk.assess", "model", model_name, before=before, after=risk_facts(row))
        return self._told(row)

    def get(self, model_name: str) -> ModelRisk:
        self._models.require_model(self._work, model_name)
        row = self._repository.risk(model_name)
        if row is None:
            raise NotFoundError(
                f"the risk of model {model_name!r} is not answered yet",
                hint=f"answer the five assessments: mlops models risk assess {model_name}",
            )
        return self._told(row)

    def _told(self, row: ModelRiskRow) -> ModelRisk:
        if self._check is None:
            return _risk(row)
        newest = self._models.get_model(self._work, row.model_name).latest_version
        return _risk(risk_of_version(self._check, self._work.session, row, newest) or row)

    def _flush(self, model_name: str) -> None:
        try:
            self._work.session.flush()
        except IntegrityError:
            raise ConflictError(
                f"somebody else answers the risk of {model_name!r} at this moment", hint="read it again"
            ) from None


def risk_facts(row: ModelRiskRow) -> dict[str, Any]:
    """What an approval is bound to: the answers, and what raised them, without who gave them and when."""
    return {"score": row.score, "level": row.level, "assessments": row.assessments}


def _risk(row: ModelRiskRow) -> ModelRisk:
    level = RiskLevel(row.level)
    return ModelRisk(
        model_name=row.model_name,
        score=row.score,
        level=level,
        assessments={name: AnsweredAssessment(**row.assessments[name]) for name in ASSESSMENTS},
        answered_by=row.answered_by_name,
        answered_at=row.answered_at,
        review_due_at=row.review_due_at,
        approval=RULES[level].describe(),
    )
