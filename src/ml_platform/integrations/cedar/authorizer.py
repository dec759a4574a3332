"""Cedar decides: readable policies, deny by default, and every decision names its policies."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import cedarpy

from ml_platform.contracts.identity import Permission, Role
from ml_platform.services.access import Actor, Decision, Resource

_REMEMBERED = 10_000
PLATFORM_POLICIES = Path(__file__).parents[2] / "services" / "access" / "policies" / "platform.cedar"


class CedarAuthorizer:
    """Evaluates the platform's policies, and an organisation's own beside them.

    Args:
        policies: Cedar text. Each policy needs an `@id` of its own, by which decisions name it.

    Raises:
        ValueError: the text does not parse, or a policy lacks its id.
    """

    def __init__(self, *policies: str) -> None:
        text = "\n".join(policies or (PLATFORM_POLICIES.read_text(),))
        self._policies = cedarpy.PolicySet.from_str(text)
        self._names = _names_of(text)
        self._decisions = lru_cache(maxsize=_REMEMBERED)(self._decide)

    def decide(self, actor: Actor, permission: Permission, resource: Resource) -> Decision:
        """Asks the policies; an error in evaluating one is a denial.

        A decision follows from what is asked alone, so the same question is evaluated once.
        """
        roles = actor.memberships.get(resource.team_id, frozenset())
        asked = (resource.kind, resource.resource_id, resource.team_id, json.dumps(resource.attributes))
        return self._decisions(actor.actor_id, actor.admin, roles, permission, asked)

    def _decide(
        self,
        actor_id: str,
        admin: bool,
        roles: frozenset[Role],
        permission: Permission,
        asked: tuple[str, str, str, str],
    ) -> Decision:
        kind, resource_id, team_id, attributes = asked
        request = {
            "principal": _uid("User", actor_id),
            "action": _uid("Action", permission.value),
            "resource": _uid("Resource", resource_id),
            "context": {},
        }
        member = {
            "uid": _uid("User", actor_id),
            "attrs": {"admin": admin},
            "parents": _parents(team_id, roles),
        }
        thing = {
            "uid": _uid("Resource", resource_id),
            "attrs": {
                **json.loads(attributes),
                "kind": kind,
                "team": {"__entity": _uid("Team", team_id)},
            },
            "parents": [],
        }
        result = cedarpy.is_authorized(request, self._policies, [member, _team(team_id), thing])
        reasons = tuple(sorted(self._names.get(name, name) for name in result.diagnostics.reasons))
        return Decision(allowed=bool(result.allowed), policies=reasons)


def _uid(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, "id": name}


def _parents(team_id: str, roles: frozenset[Role]) -> list[dict[str, Any]]:
    names = [*(role.value for role in roles), *(["member"] if roles else [])]
    return [_uid("Role", f"{team_id}/{name}") for name in names]


def _team(team_id: str) -> dict[str, Any]:
    groups = {name: _uid("Role", f"{team_id}/{name}") for name in [*(role.value for role in Role), "member"]}
    attributes = {name: {"__entity": group} for name, group in groups.items()}
    return {"uid": _uid("Team", team_id), "attrs": attributes, "parents": []}


def _names_of(text: str) -> dict[str, str]:
    """Cedar numbers policies `policy0`, `policy1`, ... in the order of the text; `@id` names them."""
    parsed = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    names = {}
    for number, policy in parsed.items():
        name = policy.get("annotations", {}).get("id")
        if not name:
            msg = f"{number} has no @id"
            raise ValueError(msg)
        names[number] = name
    if len(set(names.values())) != len(names):
        msg = "two policies have the same @id"
        raise ValueError(msg)
    return names
