"""What a set of an organisation's policies is worth, before it takes effect."""

# mypy: untyped-calls-exclude="cedarpy"

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from ml_platform.contracts.cedar.bounds import shape_problem
from ml_platform.contracts.cedar.evaluating import Question, Rules
from ml_platform.contracts.cedar.texts import GOVERNED, PLATFORM, SCHEMA, WIDENABLE
from ml_platform.contracts.identity import Role
from ml_platform.contracts.plainyaml import load_plain
from ml_platform.contracts.policies import (
    MOST_CHARACTERS_IN_ALL,
    MOST_POLICIES,
    MOST_TESTS,
    Effect,
    PolicyCheck,
    PolicyOrigin,
    PolicyProblem,
    PolicySummary,
    PolicyTest,
    PolicyTestResult,
    PolicyTests,
)

LONGEST_EVALUATION = 0.05
"""Seconds of processor time that one question may take; it takes a fraction of a millisecond."""
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
_MOST_PROBLEMS = 50


def check(files: Mapping[str, str], tests: Mapping[str, str]) -> PolicyCheck:
    """Reads, validates and tests a set; it may be put into force when the answer is `valid`.

    Raises:
        ImportError: the package `cedarpy` is not there.
    """
    policies: list[PolicySummary] = []
    problems = list(_too_large(files, tests))
    if not problems:
        for name, text in sorted(files.items()):
            found, wrong = _read(name, text)
            policies += found
            problems += wrong
        problems += _taken(policies)
    if len(policies) > MOST_POLICIES:
        problems.append(PolicyProblem(file="", message=f"more than {MOST_POLICIES} policies"))
    if not problems:
        problems = list(_against_schema(files))
    wanted, wrong = _tests_of(tests) if not problems else ([], [])
    results: list[PolicyTestResult] = []
    untested: list[str] = []
    problems += wrong
    if not problems:
        results, problems, untested = _run(Rules(files), wanted, [policy.policy_id for policy in policies])
    return PolicyCheck(
        valid=not problems and all(result.passed for result in results),
        problems=problems[:_MOST_PROBLEMS],
        policies=policies,
        tests=results,
        untested=untested,
    )


def platform_policies() -> list[PolicySummary]:
    """The platform's own."""
    return [policy for name, text in PLATFORM.items() for policy in _summaries(name, text, platform=True)]


# -- the texts


def _too_large(files: Mapping[str, str], tests: Mapping[str, str]) -> Iterator[PolicyProblem]:
    if sum(len(text) for part in (files, tests) for text in part.values()) > MOST_CHARACTERS_IN_ALL:
        yield PolicyProblem(file="", message=f"more than {MOST_CHARACTERS_IN_ALL:,} characters in all")
    for name, text in sorted(files.items()):
        if problem := shape_problem(text):
            yield PolicyProblem(file=name, message=problem)


def _read(name: str, text: str) -> tuple[list[PolicySummary], list[PolicyProblem]]:
    try:
        policies = list(_summaries(name, text, platform=False))
    except ValueError as error:
        message = " ".join(str(error).split())[:500]
        return [], [PolicyProblem(file=name, message=message)]
    problems = [
        PolicyProblem(file=name, policy_id=policy.policy_id, message=message)
        for policy in policies
        for message in _rules_broken(policy)
    ]
    return policies, problems


def _summaries(name: str, text: str, *, platform: bool) -> Iterator[PolicySummary]:
    import cedarpy

    parsed = json.loads(cedarpy.policies_to_json_str(text))
    if parsed.get("templates"):
        msg = "a policy with ?principal or ?resource is a template, of which none are taken"
        raise ValueError(msg)
    for number, policy in parsed["staticPolicies"].items():
        annotations = policy.get("annotations", {})
        yield PolicySummary(
            policy_id=annotations.get("id") or number,
            origin=PolicyOrigin.PLATFORM if platform else PolicyOrigin.ORGANISATION,
            file=name,
            effect=Effect(policy["effect"]),
            actions=_actions(policy["action"]),
            advice=annotations.get("advice"),
        )


def _actions(scope: dict[str, Any]) -> list[str] | None:
    entities = scope.get("entities") or ([scope["entity"]] if "entity" in scope else None)
    return None if entities is None else [entity["id"] for entity in entities]


def _rules_broken(policy: PolicySummary) -> Iterator[str]:
    """What an organisation's policy may not be, beyond what Cedar itself demands."""
    if not _ID.fullmatch(policy.policy_id) or re.fullmatch(r"policy\d+", policy.policy_id):
        yield 'needs an @id("...") of its own, of lower-case letters, digits, - and _'
    never = sorted(set(policy.actions or ()) - {action.value for action in GOVERNED})
    if never:
        yield f"policies of an organisation have no say in {', '.join(never)}"
    if policy.effect is Effect.FORBID and not (policy.advice or "").strip():
        yield 'a forbid needs an @advice("..."): it is what those who are refused are told'
    if policy.effect is Effect.PERMIT:
        wide = {action.value for action in WIDENABLE}
        if policy.actions is None or not set(policy.actions) <= wide:
            yield f"a permit names its actions, of these: {', '.join(sorted(wide))}"


def _taken(policies: list[PolicySummary]) -> Iterator[PolicyProblem]:
    seen = {policy.policy_id for policy in platform_policies()}
    for policy in policies:
        if policy.policy_id in seen:
            yield PolicyProblem(file=policy.file, policy_id=policy.policy_id, message="this @id is taken")
        seen.add(policy.policy_id)


def _against_schema(files: Mapping[str, str]) -> Iterator[PolicyProblem]:
    import cedarpy

    schema = cedarpy.Schema.from_str(SCHEMA)
    for name, text in sorted(files.items()):
        result = cedarpy.validate_policies(text, schema)
        names = result.id_annotations_by_policy_id
        for error in result.errors:
            message = " ".join(error.error.split())[:500]
            yield PolicyProblem(file=name, policy_id=names.get(error.policy_id), message=message)
        if not result.validation_passed and not result.errors:
            yield PolicyProblem(file=name, message="it does not fit the schema")


# -- the tests


def _tests_of(texts: Mapping[str, str]) -> tuple[list[tuple[str, PolicyTest]], list[PolicyProblem]]:
    wanted: list[tuple[str, PolicyTest]] = []
    problems = []
    for name, text in sorted(texts.items()):
        try:
            wanted += [(name, test) for test in PolicyTests.model_validate(load_plain(text)).tests]
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            problems.append(PolicyProblem(file=name, message=f"{place}: {first['msg']}"[:500]))
        except ValueError as error:
            problems.append(PolicyProblem(file=name, message=str(error)[:500]))
    if len(wanted) > MOST_TESTS:
        problems.append(PolicyProblem(file="", message=f"more than {MOST_TESTS:,} tests"))
    return wanted, problems


def _run(
    rules: Rules, wanted: list[tuple[str, PolicyTest]], names: list[str]
) -> tuple[list[PolicyTestResult], list[PolicyProblem], list[str]]:
    results, problems, decided = [], [], set[str]()
    for file, test in wanted:
        began = time.thread_time()
        ruling = rules.decide(question_of(test))
        if time.thread_time() - began > LONGEST_EVALUATION:
            problems.append(
                PolicyProblem(file=file, message=f"test {test.name!r}: it takes too long to evaluate")
            )
        decided |= set(ruling.policies)
        found = "allow" if ruling.allowed else "deny"
        missing = [name for name in test.by if name not in ruling.policies]
        message = None
        if found != test.expect:
            message = f"expected {test.expect}, found {found}"
        elif missing:
            message = f"decided without {', '.join(missing)}"
        results.append(
            PolicyTestResult(
                file=file,
                name=test.name,
                passed=message is None,
                expected=test.expect,
                found=found,
                policies=list(ruling.policies),
                message=message,
            )
        )
    if names and not problems and _slowest(rules) > LONGEST_EVALUATION:
        problems.append(PolicyProblem(file="", message="a question takes too long to evaluate"))
    return results, problems, [name for name in names if name not in decided]


def question_of(test: PolicyTest) -> Question:
    """A test as the server would ask it."""
    attributes = test.resource.model_dump(exclude={"kind", "team"}, exclude_none=True)
    return Question(
        actor_id=f"user_{test.principal.name}",
        name=test.principal.name,
        action=test.action,
        kind=test.resource.kind,
        resource_id="tested",
        team_id=test.resource.team,
        now=test.context.now or _NOON,
        roles=frozenset(test.principal.roles),
        actor_kind=test.principal.kind,
        admin=test.principal.admin,
        narrowed=test.principal.narrowed,
        team_name=test.resource.team,
        attributes=tuple(sorted(attributes.items())),
        operation=test.context.operation,
    )


def _slowest(rules: Rules) -> float:
    """Processor time of the question that takes longest, everything about the resource being known."""
    long = "a" * 200
    attributes = tuple(
        sorted(
            dict.fromkeys(
                ("environment", "model", "alias", "tag", "registered_by", "requested_by"), long
            ).items()
        )
    )
    slowest = 0.0
    for action in sorted(GOVERNED):
        question = Question(
            actor_id="user_probe",
            name=long,
            action=action,
            kind="deployment",
            resource_id="probe",
            team_id="probe",
            now=_NOON,
            roles=frozenset(Role),
            team_name=long,
            attributes=(*attributes, ("risk", "high"), ("version", 1)),
        )
        began = time.thread_time()
        rules.decide(question)
        slowest = max(slowest, time.thread_time() - began)
    return slowest
