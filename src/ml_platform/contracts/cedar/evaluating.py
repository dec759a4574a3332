"""Asks Cedar: one question, the policies that decide it, and what they have to say."""

# mypy: untyped-calls-exclude="cedarpy"

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ml_platform.contracts.cedar.texts import GOVERNED, PLATFORM, UNGOVERNED
from ml_platform.contracts.identity import Permission, Role

_REMEMBERED = 10_000
_NUMBERED = re.compile(r"policy\d+")
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
REQUEST = "request"
"""The operation of a question that names none."""

Attribute = str | bool | int


@dataclass(frozen=True, slots=True)
class Question:
    """May this one do this to that, now? Hashable, so that the same question is evaluated once.

    `roles` are those held in the team of what is asked for; `attributes` are those of the schema's `Resource`
    beside `kind` and `team`. `trusted` is the platform itself going on with what was decided before.
    """

    actor_id: str
    name: str
    action: Permission
    kind: str
    resource_id: str
    team_id: str
    now: datetime
    roles: frozenset[Role] = frozenset()
    actor_kind: str = "user"
    admin: bool = False
    narrowed: bool = False
    trusted: bool = False
    team_name: str | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()
    operation: str = REQUEST

    @property
    def governed(self) -> bool:
        """Whether policies of an organisation have a say in it."""
        return self.action in GOVERNED and not self.trusted and self.operation not in UNGOVERNED


@dataclass(frozen=True, slots=True)
class Ruling:
    """`policies` made it, in order; none when nothing permits. `advice` is what they say to a refusal."""

    allowed: bool
    policies: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


class Rules:
    """The platform's policies and those of an organisation beside them.

    Raises:
        ValueError: a text does not parse, or a policy lacks its id or has one that is taken.
        ImportError: the package `cedarpy` is not there.
    """

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self._own = _PolicySet(PLATFORM.values())
        self._all = _PolicySet([*PLATFORM.values(), *files.values()]) if files else None

    def decide(self, question: Question) -> Ruling:
        """Deny unless a policy permits; a forbid wins; one that cannot be evaluated is a denial."""
        if self._all is not None and question.governed:
            return self._all.ask(replace(question, now=question.now.astimezone(UTC).replace(microsecond=0)))
        # No policy of ours asks for the time, so it need not make the question a new one.
        return self._own.ask(replace(question, now=_ANY_TIME))


class _PolicySet:
    def __init__(self, texts: Any) -> None:
        import cedarpy

        text = "\n".join(texts)
        self._cedar = cedarpy
        self._policies = cedarpy.PolicySet.from_str(text)
        self._names, self._advice = _annotations(cedarpy.policies_to_json_str(text))
        self.ask = lru_cache(maxsize=_REMEMBERED)(self._ask)

    def _ask(self, question: Question) -> Ruling:
        request = {
            "principal": _uid("User", question.actor_id),
            "action": _uid("Action", question.action.value),
            "resource": _uid("Resource", question.resource_id),
            "context": _context(question),
        }
        result = self._cedar.is_authorized(request, self._policies, _entities(question))
        if result.diagnostics.errors:
            return self._failed(list(result.diagnostics.errors))
        names = tuple(sorted(self._names[number] for number in result.diagnostics.reasons))
        advice = () if result.allowed else tuple(self._advice[name] for name in names if name in self._advice)
        return Ruling(bool(result.allowed), names, advice)

    def _failed(self, errors: list[str]) -> Ruling:
        numbers = {number for error in errors for number in _NUMBERED.findall(error)}
        names = tuple(sorted(self._names[number] for number in numbers if number in self._names))
        return Ruling(False, names, tuple(f"could not be evaluated: {error[:300]}" for error in errors[:3]))


def _annotations(policies: str) -> tuple[dict[str, str], dict[str, str]]:
    """Cedar numbers policies `policy0`, `policy1`, ... in the order of the text; `@id` names them."""
    names: dict[str, str] = {}
    advice: dict[str, str] = {}
    for number, policy in json.loads(policies)["staticPolicies"].items():
        annotations = policy.get("annotations", {})
        name = annotations.get("id")
        if not name:
            msg = f"{number} has no @id"
            raise ValueError(msg)
        if name in names.values():
            msg = f"two policies have the @id {name!r}"
            raise ValueError(msg)
        names[number] = name
        if annotations.get("advice"):
            advice[name] = annotations["advice"]
    return names, advice


def _context(question: Question) -> dict[str, Any]:
    now = question.now
    return {
        "operation": question.operation,
        "now": {"__extn": {"fn": "datetime", "arg": f"{now:%Y-%m-%dT%H:%M:%S}Z"}},
        "hour": now.hour,
        "weekday": _WEEKDAYS[now.weekday()],
    }


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _entities(question: Question) -> list[dict[str, Any]]:
    team = _uid("Team", question.team_id)
    groups = [role.value for role in Role] + ["member"]
    held = [*(role.value for role in question.roles), *(["member"] if question.roles else [])]
    names = {"name": question.team_name} if question.team_name else {}
    return [
        {
            "uid": _uid("User", question.actor_id),
            "attrs": {
                "name": question.name,
                "kind": question.actor_kind,
                "admin": question.admin,
                "narrowed": question.narrowed,
            },
            "parents": [_role(question.team_id, name) for name in held],
        },
        {
            "uid": team,
            "attrs": {name: {"__entity": _role(question.team_id, name)} for name in groups} | names,
            "parents": [],
        },
        {
            "uid": _uid("Resource", question.resource_id),
            "attrs": {**dict(question.attributes), "kind": question.kind, "team": {"__entity": team}},
            "parents": [],
        },
    ]


def _uid(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, "id": name}


def _role(team_id: str, name: str) -> dict[str, Any]:
    return _uid("Role", f"{team_id}/{name}")
