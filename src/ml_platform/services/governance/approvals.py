"""Requests for approval: asked by a rollout, decided by people, checked again when they are used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_platform.contracts.governance import (
    Approval,
    ApprovalDetail,
    ApprovalStatus,
    ReviewVerdict,
    RiskLevel,
    Verdict,
)
from ml_platform.contracts.identity import Permission
from ml_platform.contracts.monitoring import AlertSeverity
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.clock import rfc3339
from ml_platform.kit.errors import ConflictError, ForbiddenError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Resource, Work
from ml_platform.services.alerts import AlertService, NewAlert
from ml_platform.services.governance.facts import policy_facts
from ml_platform.services.governance.interfaces import RoleDirectory
from ml_platform.services.governance.policies import (
    REMINDERS,
    REVIEW_WITHIN,
    RULES,
    Ballot,
    may_vote,
    why_void,
)
from ml_platform.services.governance.repository import GovernanceRepository
from ml_platform.services.governance.tables import ApprovalRow, ApprovalVoteRow
from ml_platform.services.governance.views import approval, approval_detail, roles_of, standing

DECIDED = "approval.decided"
"""The topic on which the waiting workflow (its id is the subject's) is told."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be approved, and for whom."""

    subject_id: str
    model_name: str
    model_version: int
    environment: str
    digest: str
    risk_level: RiskLevel
    risk_score: int
    requested_by: str
    requested_by_name: str
    justification: str | None
    evidence: dict[str, Any]
    checks_passed: bool


@dataclass(frozen=True, slots=True)
class Reminder:
    """Whom a request still waits for; the `last` one goes to those who can help, too."""

    missing: tuple[str, ...]
    expires_at: datetime
    last: bool


class ApprovalService:
    """Approvals of the team of `work`; every decision is one guarded change of one row."""

    def __init__(self, work: Work, roles: RoleDirectory) -> None:
        self._work = work
        self._roles = roles
        self._repository = GovernanceRepository(work.session, work.team_id)

    # -- for people

    def list_approvals(
        self, *, status: ApprovalStatus | None, before: str | None, limit: int
    ) -> list[Approval]:
        rows = self._repository.approvals(status=status.value if status else None, before=before, limit=limit)
        votes, now = self._repository.votes([row.id for row in rows]), self._work.clock()
        return [approval(row, votes[row.id], now) for row in rows]

    def get(self, approval_id: str) -> ApprovalDetail:
        return self._detail(self._approval(approval_id))

    def vote(self, approval_id: str, verdict: Verdict, reason: str) -> ApprovalDetail:
        """One vote a person, by somebody with a seat who did not ask for it.

        The vote that completes the requirement decides, and tells the rollout, in one transaction.
        """
        row = self._approval(approval_id, lock=True)
        self._refuse_unless_open(row)
        actor, rule = self._work.actor, RULES[RiskLevel(row.risk_level)]
        votes = self._repository.votes([row.id])[row.id]
        refusal = may_vote(
            rule,
            requested_by=row.requested_by,
            voter_id=actor.actor_id,
            roles=actor.roles,
            voted=[vote.voter_id for vote in votes],
        )
        if refusal is not None:
            raise self._refusal(refusal, row)
        self._permit(Permission.APPROVE, row, verdict.value)
        vote = ApprovalVoteRow(
            id=new_id("vot"),
            approval_id=row.id,
            voter_id=actor.actor_id,
            voter_name=actor.name,
            verdict=verdict.value,
            reason=reason,
            roles=sorted(role.value for role in actor.roles),
            created_at=self._work.clock(),
        )
        self._work.session.add(vote)
        self._work.session.flush()
        self._work.record(
            f"approval.{verdict.value}",
            "approval",
            row.id,
            after={"reason": reason, "roles": vote.roles, "digest": row.digest},
            subject=row.subject_id,
        )
        self._decide(row, [*votes, vote])
        return self._detail(row)

    def break_glass(self, approval_id: str, reason: str) -> ApprovalDetail:
        """Lets a deployment through without the votes it needs; somebody else has to review it.

        The checks before the approval have passed, and those behind it still stop it.
        """
        row = self._approval(approval_id, lock=True)
        self._refuse_unless_open(row)
        self._permit(Permission.BREAK_GLASS, row, "break_glass")
        actor, now = self._work.actor, self._work.clock()
        row.glass_broken_by, row.glass_broken_by_name = actor.actor_id, actor.name
        row.review_due_at = now + REVIEW_WITHIN
        self._work.record(
            "approval.break_glass",
            "approval",
            row.id,
            after={
                "reason": reason,
                "roles": sorted(role.value for role in actor.roles),
                "digest": row.digest,
                "review_due_at": rfc3339(row.review_due_at),
            },
            subject=row.subject_id,
        )
        self._close(row, ApprovalStatus.APPROVED, f"{actor.name} broke the glass: {reason}")
        AlertService(self._work).raise_alert(
            NewAlert(
                key=_glass_alert(row),
                severity=AlertSeverity.CRITICAL,
                title=f"{actor.name} broke the glass for {row.model_name}/{row.model_version}",
                detail=f"{reason}\nIt goes to {row.environment} without the approval it needs. Review it until"
                f" {rfc3339(row.review_due_at)}: mlops approvals review {row.id}",
                resource_kind="approval",
                resource_id=row.id,
            )
        )
        return self._detail(row)

    def review(self, approval_id: str, verdict: ReviewVerdict, reason: str) -> ApprovalDetail:
        """Closes the review of a broken glass: once, by somebody with a seat who had no part in it."""
        row = self._approval(approval_id, lock=True)
        if row.glass_broken_by is None:
            raise ConflictError(
                "nobody broke the glass here, so there is nothing to review",
                hint="models are reviewed with: mlops models review",
            )
        if row.reviewed_at is not None:
            raise ConflictError(
                f"{row.reviewed_by_name} reviewed it already: {row.review_verdict}",
                hint=f"what was found: mlops approvals show {row.id}",
            )
        actor = self._work.actor
        refusal = may_vote(
            RULES[RiskLevel(row.risk_level)],
            requested_by=row.requested_by,
            voter_id=actor.actor_id,
            roles=actor.roles,
            voted=[],
        )
        if refusal == "self_approval" or actor.actor_id == row.glass_broken_by:
            raise ForbiddenError(
                "neither who asked for it nor who broke the glass reviews it",
                code=ErrorCode.SELF_APPROVAL,
                hint="ask somebody else with one of the roles: " + ", ".join(_roles_wanted(row)),
            )
        if refusal is not None:
            raise self._refusal(refusal, row)
        self._permit(Permission.APPROVE, row, "review")
        row.reviewed_at, row.reviewed_by_name = self._work.clock(), actor.name
        row.review_verdict, row.review_reason = verdict.value, reason
        self._work.record(
            "approval.review",
            "approval",
            row.id,
            after={"verdict": verdict.value, "reason": reason, "broken_by": row.glass_broken_by_name},
            subject=row.subject_id,
        )
        AlertService(self._work).clear(_glass_alert(row), f"{verdict.value}: {reason}")
        return self._detail(row)

    # -- for the rollout

    def request(self, subject: Subject) -> ApprovalRow:
        """The request for a subject; asking again answers the one that there is.

        Low risk with every check passed is granted by the rule itself, and is recorded as such.
        """
        known = self._repository.approval_for(subject.subject_id, lock=True)
        if known is not None:
            return known
        rule, now = RULES[subject.risk_level], self._work.clock()
        automatic = rule.automatic and subject.checks_passed
        row = ApprovalRow(
            id=new_id("apr"),
            team_id=self._work.team_id,
            subject_id=subject.subject_id,
            model_name=subject.model_name,
            model_version=subject.model_version,
            environment=subject.environment,
            digest=subject.digest,
            risk_level=subject.risk_level.value,
            risk_score=subject.risk_score,
            automatic=automatic,
            status=(ApprovalStatus.APPROVED if automatic else ApprovalStatus.PENDING).value,
            requested_by=subject.requested_by,
            requested_by_name=subject.requested_by_name,
            justification=subject.justification,
            evidence=subject.evidence,
            created_at=now,
            expires_at=now + rule.within,
            decided_at=now if automatic else None,
            reason="low risk, and every check passed" if automatic else None,
            reminded=0,
        )
        self._work.session.add(row)
        self._work.record(
            "approval.request",
            "approval",
            row.id,
            after={"digest": row.digest, "risk": row.risk_level, "automatic": automatic},
            subject=row.subject_id,
            requested_by=row.requested_by,
        )
        return row

    def remind(self, subject_id: str, number: int) -> Reminder | None:
        """Counts the reminder of this number, once; what to tell, or None when nobody need be told."""
        row = self._of_subject(subject_id)
        if row.status != ApprovalStatus.PENDING or row.reminded >= number:
            return None
        row.reminded = number
        votes = self._repository.votes([row.id])[row.id]
        reminder = Reminder(
            missing=standing(row, votes).missing,
            expires_at=row.expires_at,
            last=number == len(REMINDERS),
        )
        self._work.record(
            "approval.escalate" if reminder.last else "approval.remind",
            "approval",
            row.id,
            after={"missing": list(reminder.missing), "expires_at": rfc3339(row.expires_at)},
            subject=row.subject_id,
        )
        return reminder

    def settle(self, subject_id: str) -> ApprovalRow:
        """The request as it stands; one that nobody decided within its time has lapsed."""
        row = self._of_subject(subject_id)
        if row.status == ApprovalStatus.PENDING and row.expires_at <= self._work.clock():
            self._close(row, ApprovalStatus.LAPSED, "nobody decided within the time limit")
        return row

    def use(self, subject_id: str, *, digest: str) -> str | None:
        """Checks an approval at the moment in which it is used; why it is void, or None.

        `digest` is that of what is about to be deployed, computed anew.
        """
        row = self._of_subject(subject_id)
        if row.status != ApprovalStatus.APPROVED:
            return f"the approval is {row.status}"
        votes = self._repository.votes([row.id])[row.id]
        now = self._roles.roles_of(self._work, [vote.voter_id for vote in votes])
        ballots = [
            Ballot(
                voter_id=vote.voter_id,
                verdict=Verdict(vote.verdict),
                roles=roles_of(vote.roles) & now.get(vote.voter_id, frozenset()),
            )
            for vote in votes
        ]
        void = why_void(
            RULES[RiskLevel(row.risk_level)],
            bound_to=row.digest,
            now_is=digest,
            alone=row.automatic or row.glass_broken_by is not None,
            ballots=ballots,
        )
        if void is not None:
            self._close(row, ApprovalStatus.VOID, void)
        return void

    def cancel(self, subject_id: str, reason: str) -> None:
        """Ends a request that nobody needs any more; one that is decided stays as it is."""
        row = self._repository.approval_for(subject_id, lock=True)
        if row is not None and row.status == ApprovalStatus.PENDING:
            self._close(row, ApprovalStatus.CANCELLED, reason)

    # -- parts

    def _decide(self, row: ApprovalRow, votes: Sequence[ApprovalVoteRow]) -> None:
        found = standing(row, votes)
        if found.rejected_by is not None:
            no = next(vote for vote in votes if vote.voter_id == found.rejected_by)
            self._close(row, ApprovalStatus.REJECTED, f"{no.voter_name}: {no.reason}")
        elif found.approved:
            names = {vote.voter_id: vote.voter_name for vote in votes}
            by = ", ".join(f"{names[voter]} as {seat}" for seat, voter in sorted(found.filled.items()))
            self._close(row, ApprovalStatus.APPROVED, f"approved by {by}")

    def _close(self, row: ApprovalRow, status: ApprovalStatus, reason: str) -> None:
        before = row.status
        row.status, row.reason, row.decided_at = status.value, reason[:1000], self._work.clock()
        self._work.record(
            f"approval.{status.value}",
            "approval",
            row.id,
            before={"status": before},
            after={"status": status.value, "reason": row.reason, "digest": row.digest},
            subject=row.subject_id,
        )
        if status in (ApprovalStatus.APPROVED, ApprovalStatus.REJECTED):
            self._work.send_to_workflow(row.subject_id, DECIDED, {"status": status.value})

    def _approval(self, approval_id: str, *, lock: bool = False) -> ApprovalRow:
        row = self._repository.approval(approval_id, lock=lock)
        if row is None:
            raise NotFoundError.of("approval", approval_id)
        return row

    def _of_subject(self, subject_id: str) -> ApprovalRow:
        row = self._repository.approval_for(subject_id, lock=True)
        if row is None:
            raise NotFoundError(f"nobody asked for an approval of {subject_id}")
        return row

    def _permit(self, permission: Permission, row: ApprovalRow, operation: str) -> None:
        """Asks the policies, with what the evidence says of the model."""
        found = row.evidence.get("stages", {}).get("validate", {})
        facts = policy_facts(
            row.model_name,
            row.model_version,
            risk=row.evidence.get("risk"),
            card=found.get("model_card"),
            registered_by=found.get("registered_by"),
            personal_data=found.get("personal_data"),
        )
        facts |= {"environment": row.environment, "requested_by": row.requested_by_name}
        self._work.require(permission, Resource("approval", row.id, row.team_id, facts), operation)

    def _refuse_unless_open(self, row: ApprovalRow) -> None:
        if row.status != ApprovalStatus.PENDING:
            raise ConflictError(
                f"the approval is {row.status} already: {row.reason or 'no reason given'}",
                hint="what still waits: mlops approvals list --status pending",
            )
        if row.expires_at <= self._work.clock():
            raise ConflictError(
                "the approval has lapsed: nobody decided within the time limit",
                hint=f"ask {row.requested_by_name} to deploy again; that asks for a new approval",
            )

    def _refusal(self, code: str, row: ApprovalRow) -> ForbiddenError | ConflictError:
        if code == "self_approval":
            return ForbiddenError(
                "nobody approves their own request",
                code=ErrorCode.SELF_APPROVAL,
                hint="ask somebody else with one of the roles: " + ", ".join(_roles_wanted(row)),
            )
        if code == "no_seat":
            return ForbiddenError(
                f"a {row.risk_level}-risk deployment is decided by: {', '.join(_roles_wanted(row))}",
                hint="`mlops teams members` shows who has them; a team lead gives roles: mlops teams set-member",
            )
        return ConflictError(
            "you voted already; a vote is not changed",
            hint=f"who is still missing: mlops approvals show {row.id}",
        )

    def _detail(self, row: ApprovalRow) -> ApprovalDetail:
        votes = self._repository.votes([row.id])[row.id]
        return approval_detail(row, votes, self._work.clock())


def _glass_alert(row: ApprovalRow) -> str:
    return f"glass:{row.id}"


def _roles_wanted(row: ApprovalRow) -> list[str]:
    seats = RULES[RiskLevel(row.risk_level)].seats
    return sorted({role.value for roles in seats.values() for role in roles})
