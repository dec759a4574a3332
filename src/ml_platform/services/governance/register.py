"""The register of a team's models, and the periodic reviews of those that serve in production."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ml_platform.contracts.governance import RiskLevel
from ml_platform.contracts.modelregister import (
    GovernedModel,
    ModelReview,
    ModelReviewCreate,
    ModelReviewVerdict,
    Revalidation,
)
from ml_platform.contracts.monitoring import AlertSeverity
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.clock import rfc3339
from ml_platform.kit.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.alerts import AlertService, NewAlert
from ml_platform.services.governance.interfaces import (
    KnownModel,
    ModelDirectory,
    ProductionUse,
    RoleDirectory,
    ServesInProduction,
)
from ml_platform.services.governance.personal_data import PersonalDataCheck, gravest_risk
from ml_platform.services.governance.policies import REVALIDATE_EVERY, RULES, may_vote
from ml_platform.services.governance.repository import GovernanceRepository
from ml_platform.services.governance.tables import ModelOwnerRow, ModelReviewRow, ModelRiskRow


@dataclass(frozen=True, slots=True)
class Due:
    """When a model that serves in production has to be looked at; None is never."""

    review: datetime | None = None
    revalidation: datetime | None = None

    def overdue(self, now: datetime) -> bool:
        return any(moment is not None and moment < now for moment in (self.review, self.revalidation))


def due_of(
    risk: ModelRiskRow | None,
    use: ServesInProduction | None,
    last: datetime | None,
    last_revalidation: datetime | None,
) -> Due:
    """Counted from the last review, or from when it went into production; answering the risk anew moves nothing."""
    if risk is None or use is None:
        return Due()
    level = RiskLevel(risk.level)
    revalidation = REVALIDATE_EVERY.get(level)
    return Due(
        (last or use.since) + RULES[level].review_every,
        (last_revalidation or use.since) + revalidation if revalidation is not None else None,
    )


class ModelRegister:
    """Models of the team of `work`.

    A model is of the risk that its versions are deployed by: raised, whatever was answered, to what those that
    serve in production were trained on; to what the newest was where nothing of it does.
    """

    def __init__(
        self,
        work: Work,
        models: ModelDirectory,
        roles: RoleDirectory,
        production: ProductionUse,
        check: PersonalDataCheck | None = None,
    ) -> None:
        self._work = work
        self._models = models
        self._roles = roles
        self._production = production
        self._check = check
        self._repository = GovernanceRepository(work.session, work.team_id)

    def list_models(self, after: str | None, limit: int) -> list[GovernedModel]:
        """By name."""
        return self._lines(self._models.list_models(self._work, after, limit))

    def get(self, name: str) -> GovernedModel:
        [line] = self._lines([self._models.get_model(self._work, name)])
        return line

    def list_reviews(self, name: str, before: str | None, limit: int) -> list[ModelReview]:
        """Newest first."""
        self._models.require_model(self._work, name)
        return [_review(row) for row in self._repository.reviews(name, before=before, limit=limit)]

    def set_owner(self, name: str, user: str) -> GovernedModel:
        """Makes a member of the team answer for a model."""
        self._models.require_model(self._work, name)
        member = self._roles.member(self._work, user)
        if member is None:
            raise BadInputError.of("user", f"{user!r} is no active member of the team")
        row = self._repository.owners([name]).get(name)
        before = {"owner": row.owner_name} if row is not None else None
        if row is None:
            row = ModelOwnerRow(team_id=self._work.team_id, model_name=name)
            self._work.session.add(row)
        row.owner_id, row.owner_name, row.since = member.user_id, member.name, self._work.clock()
        self._work.session.flush()
        self._work.record("model.owner.set", "model", name, before=before, after={"owner": member.name})
        return self.get(name)

    def may_review(self, name: str) -> ServesInProduction:
        """What serves of a model and so is reviewed; raises for who may not, and where nothing is to review."""
        self._models.require_model(self._work, name)
        risk = self._repository.risk(name)
        use = self._production.serving(self._work, [name]).get(name)
        risk = self._raised(risk, use)
        if risk is None or use is None:
            raise ConflictError(
                f"nothing of {name!r} serves in production, so there is nothing to review",
                hint="the risk is answered with: mlops models risk assess",
            )
        owner = self._repository.owners([name]).get(name)
        actor = self._work.actor
        refusal = may_vote(
            RULES[RiskLevel(risk.level)],
            requested_by=owner.owner_id if owner is not None else use.requested_by,
            voter_id=actor.actor_id,
            roles=actor.roles,
            voted=[],
        )
        if refusal == "self_approval":
            raise ForbiddenError(
                "nobody reviews their own model", code=ErrorCode.SELF_APPROVAL, hint="ask somebody else"
            )
        if refusal is not None:
            seats = ", ".join(
                sorted({role for roles in RULES[RiskLevel(risk.level)].seats.values() for role in roles})
            )
            raise ForbiddenError(
                f"a {risk.level}-risk model is reviewed by: {seats}", hint="a team lead gives roles"
            )
        return use

    def review(
        self, name: str, body: ModelReviewCreate, use: ServesInProduction, revalidation: Revalidation | None
    ) -> ModelReview:
        """Keeps a review by somebody whom `may_review` let through.

        The verdict `retire` stops further deployments and raises an alert; it takes nothing out of production.
        """
        answered = self._repository.risk(name, lock=True)
        risk = self._raised(answered, use)
        if answered is None or risk is None:
            raise NotFoundError.of("risk", name)
        actor, now = self._work.actor, self._work.clock()
        row = ModelReviewRow(
            id=new_id("mrv"),
            team_id=self._work.team_id,
            model_name=name,
            verdict=body.verdict.value,
            findings=body.findings,
            serving=list(use.versions),
            risk_level=risk.level,
            risk_score=risk.score,
            revalidation=revalidation.model_dump(mode="json") if revalidation is not None else None,
            revalidated=revalidation is not None and revalidation.passed is not False,
            reviewed_by=actor.actor_id,
            reviewed_by_name=actor.name,
            reviewed_at=now,
        )
        self._work.session.add(row)
        answered.review_due_at = now + RULES[RiskLevel(answered.level)].review_every
        self._work.session.flush()
        self._work.record(
            "model.review",
            "model",
            name,
            after={
                "review_id": row.id,
                "verdict": row.verdict,
                "findings": row.findings,
                "serving": row.serving,
                "revalidation": row.revalidation,
            },
        )
        self._tell(row, use)
        return _review(row)

    def _tell(self, row: ModelReviewRow, use: ServesInProduction) -> None:
        alerts = AlertService(self._work)
        last, revalidated = self._repository.last_reviews([row.model_name])[row.model_name]
        risk = self._raised(self._repository.risk(row.model_name), use)
        due = due_of(risk, use, last.reviewed_at if last else None, revalidated)
        if not due.overdue(self._work.clock()):
            alerts.clear(overdue_key(row.model_name), f"reviewed by {row.reviewed_by_name}: {row.verdict}")
        if row.verdict == ModelReviewVerdict.RETIRE:
            alerts.raise_alert(
                NewAlert(
                    key=_retire_key(row.model_name),
                    severity=AlertSeverity.WARNING,
                    title=f"{row.model_name} is to be retired",
                    detail=f"{row.reviewed_by_name}: {row.findings}\nIt still serves: {', '.join(row.serving)}",
                    resource_kind="model",
                    resource_id=row.model_name,
                )
            )
        else:
            alerts.clear(_retire_key(row.model_name), f"{row.reviewed_by_name}: {row.verdict}")

    def _lines(self, models: Sequence[KnownModel]) -> list[GovernedModel]:
        names = [model.name for model in models]
        uses = self._production.serving(self._work, names)
        risks, owners = self._repository.risks(names), self._repository.owners(names)
        reviews = self._repository.last_reviews(names)
        found = []
        for model in models:
            use = uses.get(model.name)
            risk = self._raised(risks.get(model.name), use, model.latest_version)
            last, revalidated = reviews[model.name]
            found.append(
                _line(model, risk, owners.get(model.name), use, last, revalidated, self._work.clock())
            )
        return found

    def _raised(
        self, row: ModelRiskRow | None, use: ServesInProduction | None, newest: int = 0
    ) -> ModelRiskRow | None:
        versions = use.numbers if use is not None else (newest,)
        return gravest_risk(self._check, self._work.session, row, versions)


def overdue_key(model_name: str) -> str:
    """Names the alert of an overdue review."""
    return f"review-overdue:{model_name}"


def overdue_alert(model_name: str, level: str, due: Due, now: datetime) -> NewAlert:
    """Critical once it is late by more than a week."""
    moments = [moment for moment in (due.review, due.revalidation) if moment is not None and moment < now]
    late = now - min(moments)
    what = "review" if due.review is not None and due.review < now else "revalidation"
    return NewAlert(
        key=overdue_key(model_name),
        severity=AlertSeverity.CRITICAL if late > timedelta(days=7) else AlertSeverity.WARNING,
        title=f"The {what} of {model_name} is overdue",
        detail=f"It is of {level} risk, serves in production, and was due at {rfc3339(min(moments))}."
        f" Somebody with a seat gives it: mlops models review {model_name}",
        resource_kind="model",
        resource_id=model_name,
    )


def _retire_key(model_name: str) -> str:
    return f"model-retire:{model_name}"


def _line(
    model: KnownModel,
    risk: ModelRiskRow | None,
    owner: ModelOwnerRow | None,
    use: ServesInProduction | None,
    last: ModelReviewRow | None,
    revalidated: datetime | None,
    now: datetime,
) -> GovernedModel:
    due = due_of(risk, use, last.reviewed_at if last is not None else None, revalidated)
    return GovernedModel(
        model_name=model.name,
        owner=owner.owner_name if owner is not None else model.created_by,
        risk_level=RiskLevel(risk.level) if risk is not None else None,
        risk_score=risk.score if risk is not None else None,
        latest_version=model.latest_version,
        serving=list(use.versions) if use is not None else [],
        last_review=_review(last) if last is not None else None,
        review_due_at=due.review,
        revalidation_due_at=due.revalidation,
        overdue=due.overdue(now),
        retired=last is not None and last.verdict == ModelReviewVerdict.RETIRE,
    )


def _review(row: ModelReviewRow) -> ModelReview:
    fields: dict[str, Any] = {
        name: getattr(row, name)
        for name in (
            "model_name",
            "verdict",
            "findings",
            "serving",
            "risk_level",
            "risk_score",
            "revalidation",
        )
    }
    return ModelReview(
        review_id=row.id, reviewed_by=row.reviewed_by_name, reviewed_at=row.reviewed_at, **fields
    )
