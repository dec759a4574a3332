"""Policies as they are read, checked and asked, without a platform."""

import subprocess
import sys
from datetime import UTC, datetime
from itertools import product

import pytest

from ml_platform.contracts.cedar import GOVERNED, PLATFORM, WIDENABLE, Question, Rules, check, shape_problem
from ml_platform.contracts.identity import Permission, Role
from ml_platform.contracts.policies import MOST_CHARACTERS

NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
EVERYTHING = {"all.cedar": '@id("nothing-at-all") @advice("closed") forbid (principal, action, resource);'}
WIDE = {
    "wide.cedar": "".join(
        f'@id("wide-{action.value}") permit (principal, action == Action::"{action.value}", resource);\n'
        for action in sorted(WIDENABLE)
    )
}


def question(action: Permission, **changes: object) -> Question:
    facts = {
        "actor_id": "usr_1",
        "name": "ana",
        "kind": "team",
        "resource_id": "t",
        "team_id": "t",
        "now": NOON,
    }
    return Question(action=action, **{**facts, **changes})  # type: ignore[arg-type]


def problems(text: str) -> str:
    found = check({"own.cedar": text}, {})
    assert not found.valid
    return " | ".join(problem.message for problem in found.problems)


def forbidding(condition: str) -> str:
    return f'@id("own") @advice("no") forbid (principal, action, resource) when {{ {condition} }};'


class TestThePlatformsOwn:
    def test_fit_the_schema_and_can_be_evaluated_for_everybody(self) -> None:
        import cedarpy

        from ml_platform.contracts.cedar import SCHEMA

        for name, text in PLATFORM.items():
            assert cedarpy.validate_policies(text, SCHEMA).validation_passed, name
        for action, role in product(Permission, Role):
            ruling = Rules().decide(question(action, roles=frozenset({role})))
            assert not any("could not be evaluated" in said for said in ruling.advice)

    def test_say_why_they_forbid(self) -> None:
        ruling = Rules().decide(question(Permission.READ_AUDIT, roles=frozenset({Role.VIEWER})))
        assert not ruling.allowed
        assert ruling.policies == ("the-audit-log-is-for-auditors",)
        assert ruling.advice

    def test_let_nobody_decide_on_their_own_request_not_even_an_administrator(self) -> None:
        own = question(Permission.APPROVE, admin=True, kind="approval", attributes=(("requested_by", "ana"),))
        assert Rules().decide(own).policies == ("nobody-decides-on-their-own",)
        others = question(
            Permission.APPROVE, admin=True, kind="approval", attributes=(("requested_by", "bo"),)
        )
        assert Rules().decide(others).allowed


class TestForbidding:
    def test_wins_over_every_permit_and_over_administrators(self) -> None:
        rules = Rules(EVERYTHING)
        for action in GOVERNED:
            ruling = rules.decide(question(action, admin=True, roles=frozenset(Role)))
            assert not ruling.allowed
            assert "nothing-at-all" in ruling.policies
            assert ruling.advice == ("closed",)

    def test_leaves_what_organisations_have_no_say_in(self) -> None:
        rules, own = Rules(EVERYTHING), Rules()
        for action, role in product(set(Permission) - GOVERNED, Role):
            asked = question(action, roles=frozenset({role}))
            assert rules.decide(asked) == own.decide(asked)

    def test_leaves_the_way_back_and_the_platform_itself(self) -> None:
        rules = Rules(EVERYTHING)
        engineer = frozenset({Role.ML_ENGINEER})
        for operation in ("rollback", "cancel", "pause"):
            asked = question(Permission.DEPLOY_PRODUCTION, roles=engineer, operation=operation)
            assert rules.decide(asked).allowed, operation
        assert not rules.decide(
            question(Permission.DEPLOY_PRODUCTION, roles=engineer, operation="promote")
        ).allowed
        assert rules.decide(question(Permission.DEPLOY_PRODUCTION, admin=True, trusted=True)).allowed

    def test_that_cannot_be_evaluated_is_a_denial_and_says_so(self) -> None:
        overflowing = {"o.cedar": forbidding("9223372036854775807 + context.hour > 0")}
        ruling = Rules(overflowing).decide(question(Permission.READ_DATA, admin=True))
        assert not ruling.allowed
        assert ruling.policies == ("own",)
        assert "could not be evaluated" in ruling.advice[0]

    def test_is_asked_for_the_time_anew(self) -> None:
        rules = Rules({"o.cedar": forbidding("context.hour >= 12")})
        asked = {
            hour: question(Permission.READ_DATA, admin=True, now=NOON.replace(hour=hour)) for hour in (11, 12)
        }
        assert rules.decide(asked[11]).allowed
        assert not rules.decide(asked[12]).allowed


class TestPermitting:
    def test_gives_members_more_and_nobody_else(self) -> None:
        rules = Rules(WIDE)
        for action in WIDENABLE:
            assert rules.decide(question(action, roles=frozenset({Role.VIEWER}))).allowed
            assert not rules.decide(question(action)).allowed, "no role in the team"

    def test_gives_a_training_job_no_deployments(self) -> None:
        job = question(Permission.DEPLOY_PRODUCTION, roles=frozenset({Role.TRAINING_JOB}), actor_kind="job")
        assert Rules(WIDE).decide(job).policies == ("jobs-only-train",)

    @pytest.mark.parametrize("action", sorted(set(Permission) - WIDENABLE))
    def test_of_anything_else_is_refused(self, action: Permission) -> None:
        text = f'@id("own") permit (principal, action == Action::"{action.value}", resource);'
        assert problems(text)

    def test_of_every_action_is_refused(self) -> None:
        assert "names its actions" in problems('@id("own") permit (principal, action, resource);')

    def test_opens_nothing_that_a_guardrail_closes_even_unchecked(self) -> None:
        everything = {"o.cedar": '@id("own") permit (principal, action, resource);'}
        closed = (
            Permission.READ_AUDIT,
            Permission.BREAK_GLASS,
            Permission.APPROVE,
            Permission.MANAGE_PLATFORM,
        )
        for action in closed:
            assert not Rules(everything).decide(question(action, roles=frozenset({Role.VIEWER}))).allowed, (
                action
            )
        for action in Permission:
            assert not Rules(everything).decide(question(action)).allowed, action


class TestChecking:
    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("forbid (principal, action, resource);", "needs an @id"),
            ('@id("Bad id") @advice("a") forbid (principal, action, resource);', "needs an @id"),
            ('@id("own") forbid (principal, action, resource);', "needs an @advice"),
            ('@id("viewers-read") @advice("a") forbid (principal, action, resource);', "is taken"),
            (forbidding("true") * 2, "is taken"),
            (forbidding('resource.risk == "high"'), "optional attribute"),
            (forbidding('resource.colour == "red"'), "colour"),
            (forbidding("context.hour > true"), "unexpected type"),
            (
                '@id("own") @advice("a") forbid (principal, action == Action::"sing", resource);',
                "no say in sing",
            ),
            (
                '@id("own") @advice("a") forbid (principal, action == Action::"read", resource);',
                "no say in read",
            ),
            ('@id("own") @advice("a") forbid (principal == ?principal, action, resource);', "template"),
            ('@id("own") @advice("a") forbid (principal, action, resource', "unexpected end"),
            ('@id("own) @advice("a") forbid (principal, action, resource);', "does not end"),
            (forbidding("(" * 21 + "true" + ")" * 21), "nested deeper"),
            (forbidding("true" + " && true" * 301), "operators"),
            (forbidding("if true then " * 21 + "true" + " else false" * 21), "if"),
        ],
    )
    def test_says_what_is_wrong(self, text: str, why: str) -> None:
        assert why in problems(text)

    def test_names_the_file_and_the_policy(self) -> None:
        found = check({"b.cedar": forbidding("resource.version > 1"), "a.cedar": "nonsense"}, {})
        assert {problem.file for problem in found.problems} >= {"a.cedar"}
        found = check({"b.cedar": forbidding("resource.version > 1")}, {})
        assert [(problem.file, problem.policy_id) for problem in found.problems] == [("b.cedar", "own")]

    def test_bounds_the_whole(self) -> None:
        files = {f"f{number}.cedar": "//" + "x" * (MOST_CHARACTERS - 2) for number in range(5)}
        assert "characters in all" in check(files, {}).problems[0].message

    def test_of_a_failing_test_says_what_was_found_and_who_decided(self) -> None:
        tests = "tests:\n  - {name: wrong, principal: {admin: true}, action: read_data, expect: allow}\n"
        found = check(EVERYTHING, {"t.yaml": tests})
        assert not found.valid
        [result] = found.tests
        assert (result.passed, result.found, result.policies) == (False, "deny", ["nothing-at-all"])

    def test_of_a_test_that_names_another_policy_fails(self) -> None:
        tests = "tests:\n  - {name: by, action: read_data, expect: deny, by: [another]}\n"
        found = check(EVERYTHING, {"t.yaml": tests})
        assert found.tests[0].message == "decided without another"

    @pytest.mark.parametrize(
        "text",
        ["tests: []", "tests:\n  - {name: a}", "x: 1", "tests: &a [*a]", "[", "tests:\n - {name: a, no: 1}"],
    )
    def test_of_tests_that_are_none_says_so(self, text: str) -> None:
        found = check({}, {"t.yaml": text})
        assert not found.valid
        assert found.problems[0].file == "t.yaml"

    def test_names_policies_that_decide_in_no_test(self) -> None:
        assert check(EVERYTHING, {}).untested == ["nothing-at-all"]


class TestTheShape:
    @pytest.mark.parametrize("nesting", ["parentheses", "chain", "ifs", "lists", "records", "dots"])
    def test_that_passes_is_read_on_a_small_stack(self, nesting: str) -> None:
        """Deeper text ends the process, so this is tried in one of its own, on an eighth of a usual stack."""
        conditions = {
            "parentheses": "(" * 18 + "true && " * 140 + "true" + " || true" * 140 + ")" * 18,
            "chain": "true && " * 300 + "true",
            "ifs": "if true then " * 20 + "true" + " else false" * 20,
            "lists": "[" * 18 + "1" + "]" * 18 + " == []",
            "records": "{a: " * 18 + "1" + "}" * 18 + " == {}",
            "dots": "resource" + ".team" * 290 + " == 1",
        }
        text = forbidding(conditions[nesting])
        assert shape_problem(text) is None
        program = (
            "import sys, threading\n"
            "from ml_platform.contracts.cedar import check\n"
            "threading.stack_size(1024 * 1024)\n"
            "thread = threading.Thread(target=lambda: check({'a.cedar': sys.argv[1]}, {}))\n"
            "thread.start(); thread.join()\n"
        )
        ran = subprocess.run([sys.executable, "-c", program, text], capture_output=True, timeout=120)
        assert ran.returncode == 0, ran.stderr[-500:]

    def test_counts_each_policy_by_itself_and_no_text_or_comment(self) -> None:
        many = "".join(forbidding("true" + " && true" * 200) for _ in range(5))
        assert shape_problem(many) is None
        assert shape_problem("// " + "((((" * 100 + "\n" + forbidding('principal.name like "((((*"')) is None
        assert shape_problem("// a comment ends at \r" + "(" * 30) is not None
