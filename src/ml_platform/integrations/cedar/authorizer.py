"""Cedar decides: readable policies, deny by default, and every decision names its policies."""

import json
from pathlib import Path
from typing import Any

import cedarpy

from ml_platform.contracts.identity import Permission, Role
from ml_platform.services.access import Actor, Decision, Resource

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

    def decide(self, actor: Actor, permission: Permission, resource: Resource) -> Decision:
        """Asks the policies; an error in evaluating one is a denial."""
        request = {
            "principal": _uid("User", actor.actor_id),
            "action": _uid("Action", permission.value),
            "resource": _uid("Resource", resource.resource_id),
            "context": {},
        }
        result = cedarpy.is_authorized(request, self._policies, _entities(actor, resource))
        reasons = tuple(sorted(self._names.get(name, name) for name in result.diagnostics.reasons))
        return Decision(allowed=bool(result.allowed), policies=reasons)


def _uid(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, "id": name}


def _entities(actor: Actor, resource: Resource) -> list[dict[str, Any]]:
    team = resource.team_id
    roles = actor.memberships.get(team, frozenset())
    parents = [_uid("Role", f"{team}/{role.value}") for role in roles]
    if roles:
        parents.append(_uid("Role", f"{team}/member"))
    groups = {
        role: {"__entity": _uid("Role", f"{team}/{role}")} for role in [*(r.value for r in Role), "member"]
    }
    return [
        {"uid": _uid("User", actor.actor_id), "attrs": {"admin": actor.admin}, "parents": parents},
        {"uid": _uid("Team", team), "attrs": groups, "parents": []},
        {
            "uid": _uid("Resource", resource.resource_id),
            "attrs": {
                **resource.attributes,
                "kind": resource.kind,
                "team": {"__entity": _uid("Team", team)},
            },
            "parents": [],
        },
    ]


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
