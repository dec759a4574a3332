"""A plan as a table: the gates, and what it would cost."""

from typing import TYPE_CHECKING, Any

from ml_platform.cli.output import Format, plain, show, show_parts

if TYPE_CHECKING:
    from ml_platform.contracts.deployments import DeploymentPlan, PlannedCost

_FIELDS = [
    "model_name", "model_version", "environment", "allowed", "stopped_by", "risk_level", "risk_score", "approval",
    "canary", "cost",
]  # fmt: skip
_AMOUNTS = {
    "what would run": "",
    "at most, under load": "at_most_",
    "what it replaces": "replaces_",
    "difference": "difference_",
    "predictions, as in the last hour": "predictions_",
}


def show_plan(plan: "DeploymentPlan", output: Format) -> None:
    if output is not Format.TABLE:
        show(plan, output)
        return
    data = plain(plan)
    data["costs"] = _amounts(plan.cost)
    data["cost"] = plan.cost.detail
    parts = {"gates": ["stage", "outcome", "detail"], "costs": ["of", "hourly", "monthly", "currency"]}
    show_parts(data, output, _FIELDS, parts)


def difference(cost: "PlannedCost") -> str | None:
    """What changes in a month, in a few words; None without prices."""
    if cost.difference_monthly is None:
        return None
    return f"{cost.difference_monthly:+,.2f} {cost.currency} a month"


def _amounts(cost: "PlannedCost") -> list[dict[str, Any]]:
    lines = []
    for name, prefix in _AMOUNTS.items():
        hourly, monthly = getattr(cost, f"{prefix}hourly"), getattr(cost, f"{prefix}monthly")
        if hourly is not None:
            shown = {"hourly": f"{hourly:,.4f}", "monthly": f"{monthly:,.2f}"}
            lines.append({"of": name, **shown, "currency": cost.currency})
    return lines
