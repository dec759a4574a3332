"""What policies are told about a model: its risk as answered, and what its card, its data and its origin say."""

from collections.abc import Mapping
from typing import Any

from ml_platform.contracts.personaldata import PersonalDataGroup

_GRAVE = frozenset({PersonalDataGroup.DIRECT, PersonalDataGroup.SPECIAL})
PERMITTED_BY = "permitted_by"
"""Where evidence keeps the policies that permitted what follows."""


def policy_facts(
    model: str,
    version: int | None,
    *,
    risk: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    registered_by: str | None = None,
    personal_data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Attributes of the policies' `Resource`; what is not known is left out.

    `risk` is as in `risk_facts`, which is also how the evidence of a rollout keeps it; `personal_data` as in
    `evidence_of`.
    """
    facts: dict[str, Any] = {"model": model, "version": version, "registered_by": registered_by}
    if risk:
        facts |= {"risk": risk["level"], "risk_score": risk["score"]}
        facts |= {name: answer["score"] for name, answer in risk["assessments"].items()}
    declared = (card or {}).get("personal_data")
    if isinstance(declared, bool):
        facts["personal_data"] = declared
    if any(c["counts"] and c["group"] in _GRAVE for c in (personal_data or {}).get("columns", ())):
        facts["personal_data"] = True
    return {name: value for name, value in facts.items() if value is not None}
