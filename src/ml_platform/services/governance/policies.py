"""The rules of approval, as pure functions: who may vote, when it is enough, when it is void.

The figures are those of the governance policy: risk under 15 is low, under 30 medium, else high.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ml_platform.contracts.governance import ApprovalRequirement, RiskLevel, Verdict
from ml_platform.contracts.identity import Role
from ml_platform.kit.strictjson import digest

ASSESSMENTS = (
    "business_impact",
    "customer_exposure",
    "data_sensitivity",
    "regulatory_scope",
    "explainability",
)
MEDIUM_FROM = 15
HIGH_FROM = 30
REMINDERS = (0.5, 0.8)
"""The parts of the time limit after which those who are missing are told again; the last one escalates."""
REVALIDATE_EVERY = {RiskLevel.HIGH: timedelta(days=30)}
"""How often what serves is judged anew on labelled rows, beside its reviews."""
REVIEW_WITHIN = timedelta(hours=24)
"""How soon somebody else has to review what went out behind a broken glass."""


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Seats to be filled by different people, each of whom holds one of the seat's roles."""

    seats: Mapping[str, frozenset[Role]]
    mandatory: tuple[str, ...]
    quorum: int
    within: timedelta
    review_every: timedelta
    automatic: bool = False

    def describe(self) -> ApprovalRequirement:
        return ApprovalRequirement(
            seats={seat: sorted(roles) for seat, roles in self.seats.items()},
            mandatory=list(self.mandatory),
            quorum=self.quorum,
            within_hours=self.within.total_seconds() / 3600,
        )


def _seats(*roles: Role) -> dict[str, frozenset[Role]]:
    return {role.value: frozenset({role}) for role in roles}


RULES = {
    RiskLevel.LOW: ApprovalRule(
        seats=_seats(Role.TEAM_LEAD),
        mandatory=(Role.TEAM_LEAD.value,),
        quorum=1,
        within=timedelta(hours=24),
        review_every=timedelta(days=30),
        automatic=True,
    ),
    RiskLevel.MEDIUM: ApprovalRule(
        seats=_seats(Role.MANAGER, Role.SENIOR_DATA_SCIENTIST),
        mandatory=(Role.MANAGER.value, Role.SENIOR_DATA_SCIENTIST.value),
        quorum=2,
        within=timedelta(hours=48),
        review_every=timedelta(days=14),
    ),
    RiskLevel.HIGH: ApprovalRule(
        seats=_seats(
            Role.BOARD_CHAIR,
            Role.ML_ARCHITECT,
            Role.SENIOR_DATA_SCIENTIST,
            Role.PRODUCT_OWNER,
            Role.LEGAL,
            Role.SECURITY,
        ),
        mandatory=(Role.BOARD_CHAIR.value,),
        quorum=4,
        within=timedelta(days=5),
        review_every=timedelta(days=7),
    ),
}


def score_of(assessments: Mapping[str, int]) -> int:
    """The sum of the five scores; raises KeyError when one is missing."""
    return sum(assessments[name] for name in ASSESSMENTS)


def level_of(score: int) -> RiskLevel:
    if score < MEDIUM_FROM:
        return RiskLevel.LOW
    return RiskLevel.MEDIUM if score < HIGH_FROM else RiskLevel.HIGH


def subject_digest(
    *,
    artifact: str,
    config: Mapping[str, object],
    risk: Mapping[str, object],
    card: Mapping[str, object],
) -> str:
    """What an approval is bound to: the artifact, how it will run, the risk as answered, and the model card."""
    return digest({"artifact": artifact, "config": dict(config), "risk": dict(risk), "card": dict(card)})


@dataclass(frozen=True, slots=True)
class Ballot:
    """One person's vote; `roles` are those that count, so those held when voting and still held."""

    voter_id: str
    verdict: Verdict
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Tally:
    """How a vote stands. `filled` says who sits where; `rejected_by` whose no ended it."""

    approved: bool
    rejected_by: str | None
    filled: Mapping[str, str]
    missing: tuple[str, ...]


def tally(rule: ApprovalRule, ballots: Sequence[Ballot]) -> Tally:
    """Counts. Abstaining fills no seat.

    A no from a mandatory seat ends it. Any other no loses its seat, and the request ends once the seats that
    are left are fewer than the quorum: one member of a board objects without stopping the rest.

    A person fills one seat, whatever roles they hold. Seats are given out so that as many as possible
    are filled, the mandatory ones first (augmenting paths of a bipartite matching).
    """
    seated = [ballot for ballot in ballots if _has_seat(rule, ballot.roles)]
    order = [*rule.mandatory, *(seat for seat in rule.seats if seat not in rule.mandatory)]
    no = [ballot for ballot in seated if ballot.verdict is Verdict.REJECT]
    lost = _seat(rule, order[len(rule.mandatory) :], no)
    left = [seat for seat in order if seat not in lost]
    filled = _seat(rule, left, [ballot for ballot in seated if ballot.verdict is Verdict.APPROVE])
    missing = [seat for seat in rule.mandatory if seat not in filled]
    if len(filled) < rule.quorum:
        missing += [seat for seat in left if seat not in filled and seat not in missing]
    rejected = next((b.voter_id for b in no if _sits_in(rule, rule.mandatory, b)), None)
    if rejected is None and no and len(left) < rule.quorum:
        rejected = no[-1].voter_id
    return Tally(
        approved=rejected is None and not missing,
        rejected_by=rejected,
        filled={seat: ballot.voter_id for seat, ballot in filled.items()},
        missing=tuple(missing),
    )


def may_vote(
    rule: ApprovalRule, *, requested_by: str, voter_id: str, roles: frozenset[Role], voted: Iterable[str]
) -> str | None:
    """None, or the code of the refusal: `self_approval`, `no_seat`, `voted`."""
    if voter_id == requested_by:
        return "self_approval"
    if not _has_seat(rule, roles):
        return "no_seat"
    return "voted" if voter_id in set(voted) else None


def why_void(
    rule: ApprovalRule, *, bound_to: str, now_is: str, alone: bool, ballots: Sequence[Ballot]
) -> str | None:
    """Why an approval that was given no longer holds, or None.

    `alone` says that it stands without votes: given by the rule itself, or behind a broken glass.
    """
    if bound_to != now_is:
        return "the artifact, the configuration or the risk is not what was approved"
    if alone:
        return None
    standing = tally(rule, ballots)
    if standing.approved:
        return None
    return f"an approver no longer holds the role that counted: {', '.join(standing.missing)}"


def _has_seat(rule: ApprovalRule, roles: frozenset[Role]) -> bool:
    return any(roles & accepted for accepted in rule.seats.values())


def _sits_in(rule: ApprovalRule, seats: Iterable[str], ballot: Ballot) -> bool:
    return any(ballot.roles & rule.seats[seat] for seat in seats)


def _seat(rule: ApprovalRule, seats: Sequence[str], voters: Sequence[Ballot]) -> dict[str, Ballot]:
    """As many of these seats as can be filled, the first ones first."""
    filled: dict[str, Ballot] = {}
    for seat in seats:
        _fill(rule, seat, voters, filled, set())
    return filled


def _fill(
    rule: ApprovalRule, seat: str, voters: Sequence[Ballot], filled: dict[str, Ballot], tried: set[str]
) -> bool:
    """Finds somebody for a seat, moving others to other seats where that makes room."""
    for ballot in voters:
        if ballot.voter_id in tried or not ballot.roles & rule.seats[seat]:
            continue
        tried.add(ballot.voter_id)
        sits = next((s for s, other in filled.items() if other.voter_id == ballot.voter_id), None)
        if sits is None or _fill(rule, sits, voters, filled, tried):
            filled[seat] = ballot
            return True
    return False
