"""Approvals as they go over the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ml_platform.contracts.governance import (
    Approval,
    ApprovalDetail,
    ApprovalStatus,
    GlassBroken,
    ReviewVerdict,
    RiskLevel,
    Verdict,
    Vote,
)
from ml_platform.contracts.identity import Role
from ml_platform.services.governance.policies import RULES, Ballot, Tally, tally
from ml_platform.services.governance.tables import ApprovalRow, ApprovalVoteRow


def approval(row: ApprovalRow, votes: Sequence[ApprovalVoteRow], now: datetime) -> Approval:
    return Approval(**_fields(row, votes, now))


def approval_detail(row: ApprovalRow, votes: Sequence[ApprovalVoteRow], now: datetime) -> ApprovalDetail:
    return ApprovalDetail(**_fields(row, votes, now), evidence=row.evidence)


def standing(row: ApprovalRow, votes: Sequence[ApprovalVoteRow]) -> Tally:
    """How the votes stand that were given."""
    ballots = [Ballot(vote.voter_id, Verdict(vote.verdict), roles_of(vote.roles)) for vote in votes]
    return tally(RULES[RiskLevel(row.risk_level)], ballots)


def roles_of(names: Sequence[str]) -> frozenset[Role]:
    return frozenset(Role(name) for name in names)


def _fields(row: ApprovalRow, votes: Sequence[ApprovalVoteRow], now: datetime) -> dict[str, Any]:
    status = ApprovalStatus(row.status)
    if status is ApprovalStatus.PENDING and row.expires_at <= now:
        status = ApprovalStatus.LAPSED
    level = RiskLevel(row.risk_level)
    return {
        "approval_id": row.id,
        "status": status,
        "automatic": row.automatic,
        "subject_id": row.subject_id,
        "model_name": row.model_name,
        "model_version": row.model_version,
        "environment": row.environment,
        "digest": row.digest,
        "risk_level": level,
        "risk_score": row.risk_score,
        "requirement": RULES[level].describe(),
        "missing": list(standing(row, votes).missing) if status is ApprovalStatus.PENDING else [],
        "requested_by": row.requested_by_name,
        "justification": row.justification,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "decided_at": row.decided_at,
        "reason": row.reason,
        "reminders": row.reminded,
        "glass_broken": _glass(row),
        "votes": [
            Vote(
                voter=vote.voter_name,
                verdict=Verdict(vote.verdict),
                reason=vote.reason,
                roles=sorted(roles_of(vote.roles)),
                created_at=vote.created_at,
            )
            for vote in votes
        ],
    }


def _glass(row: ApprovalRow) -> GlassBroken | None:
    if row.glass_broken_by_name is None or row.review_due_at is None:
        return None
    return GlassBroken(
        by=row.glass_broken_by_name,
        review_due_at=row.review_due_at,
        reviewed_at=row.reviewed_at,
        reviewed_by=row.reviewed_by_name,
        verdict=ReviewVerdict(row.review_verdict) if row.review_verdict else None,
        reason=row.review_reason,
    )
