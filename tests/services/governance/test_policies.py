"""The rules of approval, exhaustively and without a database."""

from itertools import combinations

import pytest

from ml_platform.contracts.governance import RiskLevel, Verdict
from ml_platform.contracts.identity import Role
from ml_platform.services.governance.policies import (
    ASSESSMENTS,
    RULES,
    Ballot,
    level_of,
    may_vote,
    score_of,
    subject_digest,
    tally,
    why_void,
)

LOW, MEDIUM, HIGH = (RULES[level] for level in RiskLevel)
BOARD = [
    Role.BOARD_CHAIR,
    Role.ML_ARCHITECT,
    Role.SENIOR_DATA_SCIENTIST,
    Role.PRODUCT_OWNER,
    Role.LEGAL,
    Role.SECURITY,
]


def yes(voter: str, *roles: Role) -> Ballot:
    return Ballot(voter, Verdict.APPROVE, frozenset(roles))


def board(*roles: Role) -> list[Ballot]:
    return [yes(f"person-{role}", role) for role in roles]


class TestRisk:
    @pytest.mark.parametrize(
        ("score", "level"),
        [
            (0, RiskLevel.LOW),
            (14, RiskLevel.LOW),
            (15, RiskLevel.MEDIUM),
            (29, RiskLevel.MEDIUM),
            (30, RiskLevel.HIGH),
            (50, RiskLevel.HIGH),
        ],
    )
    def test_the_limits_are_fifteen_and_thirty(self, score: int, level: RiskLevel) -> None:
        assert level_of(score) is level

    def test_it_is_the_sum_of_all_five(self) -> None:
        assert score_of(dict.fromkeys(ASSESSMENTS, 10)) == 50
        with pytest.raises(KeyError):
            score_of(dict.fromkeys(ASSESSMENTS[1:], 10))


class TestMediumRisk:
    def test_a_manager_and_a_senior_data_scientist_are_enough(self) -> None:
        ballots = [yes("max", Role.MANAGER), yes("sara", Role.SENIOR_DATA_SCIENTIST)]
        assert tally(MEDIUM, ballots).approved

    @pytest.mark.parametrize("role", [Role.MANAGER, Role.SENIOR_DATA_SCIENTIST])
    def test_one_of_them_is_not(self, role: Role) -> None:
        standing = tally(MEDIUM, [yes("max", role)])
        assert not standing.approved
        assert len(standing.missing) == 1
        assert role.value not in standing.missing

    def test_two_managers_are_not(self) -> None:
        standing = tally(MEDIUM, [yes("max", Role.MANAGER), yes("mia", Role.MANAGER)])
        assert standing.missing == ("senior_data_scientist",)

    def test_one_person_with_both_roles_counts_once(self) -> None:
        both = yes("max", Role.MANAGER, Role.SENIOR_DATA_SCIENTIST)
        assert not tally(MEDIUM, [both]).approved
        assert tally(MEDIUM, [both, yes("mia", Role.MANAGER)]).approved

    @pytest.mark.parametrize("order", [0, 1])
    def test_seats_are_given_out_so_that_everybody_fits(self, order: int) -> None:
        ballots = [yes("both", Role.MANAGER, Role.SENIOR_DATA_SCIENTIST), yes("max", Role.MANAGER)]
        standing = tally(MEDIUM, ballots if order else ballots[::-1])
        assert standing.filled == {"manager": "max", "senior_data_scientist": "both"}

    def test_abstaining_fills_no_seat(self) -> None:
        ballots = [
            yes("max", Role.MANAGER),
            Ballot("sara", Verdict.ABSTAIN, frozenset({Role.SENIOR_DATA_SCIENTIST})),
        ]
        standing = tally(MEDIUM, ballots)
        assert (standing.approved, standing.rejected_by) == (False, None)

    def test_one_rejection_ends_it_whoever_agreed(self) -> None:
        ballots = [
            yes("max", Role.MANAGER),
            yes("sara", Role.SENIOR_DATA_SCIENTIST),
            Ballot("mia", Verdict.REJECT, frozenset({Role.MANAGER})),
        ]
        standing = tally(MEDIUM, ballots)
        assert (standing.approved, standing.rejected_by) == (False, "mia")

    def test_a_rejection_without_a_seat_counts_as_nothing(self) -> None:
        ballots = [
            yes("max", Role.MANAGER),
            yes("sara", Role.SENIOR_DATA_SCIENTIST),
            Ballot("vic", Verdict.REJECT, frozenset({Role.VIEWER})),
        ]
        assert tally(MEDIUM, ballots).approved


class TestHighRisk:
    @pytest.mark.parametrize("size", range(len(BOARD) + 1))
    def test_exactly_the_boards_of_four_with_the_chair_approve(self, size: int) -> None:
        for members in combinations(BOARD, size):
            expected = size >= 4 and Role.BOARD_CHAIR in members
            assert tally(HIGH, board(*members)).approved is expected, members

    def test_five_without_the_chair_miss_the_chair_alone(self) -> None:
        assert tally(HIGH, board(*BOARD[1:])).missing == ("board_chair",)

    def test_four_people_of_one_role_fill_one_seat(self) -> None:
        ballots = [yes("chair", Role.BOARD_CHAIR), *(yes(f"l{i}", Role.LEGAL) for i in range(3))]
        standing = tally(HIGH, ballots)
        assert not standing.approved
        assert set(standing.filled) == {"board_chair", "legal"}

    def test_a_chair_with_another_role_is_moved_to_the_chair(self) -> None:
        ballots = [
            yes("chair", Role.BOARD_CHAIR, Role.LEGAL),
            yes("law", Role.LEGAL),
            *board(Role.SECURITY, Role.PRODUCT_OWNER),
        ]
        assert tally(HIGH, ballots).filled["board_chair"] == "chair"
        assert tally(HIGH, ballots).approved

    def test_three_people_with_every_role_are_three(self) -> None:
        assert not tally(HIGH, [yes(f"p{i}", *BOARD) for i in range(3)]).approved
        assert tally(HIGH, [yes(f"p{i}", *BOARD) for i in range(4)]).approved


class TestABoardThatDisagrees:
    def no(self, *roles: Role, voter: str = "no") -> Ballot:
        return Ballot(voter, Verdict.REJECT, frozenset(roles))

    def test_the_chairs_no_ends_it(self) -> None:
        standing = tally(HIGH, [*board(*BOARD[1:]), self.no(Role.BOARD_CHAIR)])
        assert (standing.approved, standing.rejected_by) == (False, "no")

    @pytest.mark.parametrize("against", [1, 2])
    def test_members_object_without_stopping_the_four_others(self, against: int) -> None:
        noes = [self.no(role, voter=f"no-{role}") for role in BOARD[-against:]]
        standing = tally(HIGH, [*noes, *board(*BOARD[: 6 - against])])
        assert (standing.approved, standing.rejected_by) == (True, None)

    def test_three_noes_leave_no_quorum(self) -> None:
        noes = [self.no(role, voter=f"no-{role}") for role in BOARD[-3:]]
        standing = tally(HIGH, [*board(*BOARD[:3]), *noes])
        assert (standing.approved, standing.rejected_by) == (False, "no-security")

    def test_a_seat_that_said_no_is_not_filled_by_another_of_its_role(self) -> None:
        ballots = [self.no(Role.LEGAL), yes("second", Role.LEGAL), *board(*BOARD[:3])]
        standing = tally(HIGH, ballots)
        assert (standing.approved, standing.rejected_by) == (False, None)
        assert set(standing.missing) == {"product_owner", "security"}

    def test_one_person_loses_one_seat_whatever_roles_they_hold(self) -> None:
        ballots = [self.no(*BOARD[1:]), *board(*BOARD)]
        assert tally(HIGH, ballots).approved


class TestVoting:
    def vote(self, **changes: object) -> str | None:
        given = {
            "requested_by": "ana",
            "voter_id": "max",
            "roles": frozenset({Role.MANAGER}),
            "voted": [],
        } | changes
        return may_vote(MEDIUM, **given)  # type: ignore[arg-type]

    def test_somebody_with_a_seat_may(self) -> None:
        assert self.vote() is None

    def test_nobody_votes_on_their_own_request(self) -> None:
        assert self.vote(voter_id="ana") == "self_approval"

    def test_nobody_votes_without_a_seat(self) -> None:
        for role in set(Role) - {Role.MANAGER, Role.SENIOR_DATA_SCIENTIST}:
            assert self.vote(roles=frozenset({role})) == "no_seat", role
        assert self.vote(roles=frozenset()) == "no_seat"

    def test_nobody_votes_twice(self) -> None:
        assert self.vote(voted=["mia", "max"]) == "voted"


class TestUsing:
    BALLOTS = (yes("max", Role.MANAGER), yes("sara", Role.SENIOR_DATA_SCIENTIST))

    def test_it_holds_while_nothing_changed(self) -> None:
        assert why_void(MEDIUM, bound_to="a", now_is="a", alone=False, ballots=self.BALLOTS) is None

    def test_another_digest_voids_it(self) -> None:
        void = why_void(MEDIUM, bound_to="a", now_is="b", alone=False, ballots=self.BALLOTS)
        assert "not what was approved" in str(void)

    def test_a_lost_role_voids_it_and_is_named(self) -> None:
        ballots = [self.BALLOTS[0], yes("sara", Role.VIEWER)]
        void = why_void(MEDIUM, bound_to="a", now_is="a", alone=False, ballots=ballots)
        assert "senior_data_scientist" in str(void)

    def test_an_automatic_one_needs_no_people_but_the_same_digest(self) -> None:
        assert why_void(LOW, bound_to="a", now_is="a", alone=True, ballots=[]) is None
        assert why_void(LOW, bound_to="a", now_is="b", alone=True, ballots=[]) is not None


class TestTheDigest:
    def test_it_changes_with_artifact_configuration_card_and_every_answer(self) -> None:
        risk = {"score": 5, "level": "low", "assessments": {"x": {"score": 5, "reason": "why"}}}
        config = {"replicas": 1}
        other_risk = risk | {"assessments": {"x": {"score": 5, "reason": "other"}}}
        digests = {
            subject_digest(artifact="a", config=config, risk=risk, card={}),
            subject_digest(artifact="b", config=config, risk=risk, card={}),
            subject_digest(artifact="a", config={"replicas": 2}, risk=risk, card={}),
            subject_digest(artifact="a", config=config, risk=other_risk, card={}),
            subject_digest(artifact="a", config=config, risk=risk, card={"limitations": "none"}),
        }
        assert len(digests) == 5
