"""`mlops approvals`."""

from typing import Annotated

import typer

from ml_platform.cli.context import Group, Limit, Output, Yes, confirm, platform, show
from ml_platform.cli.output import Format, show_parts

approvals = Group("Deployments that people must decide on")

ApprovalId = Annotated[str, typer.Argument(metavar="APPROVAL", help="Id of a request for approval")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Kept in the audit log")]
_COLUMNS = [
    "approval_id", "status", "model_name", "model_version", "environment", "risk_level", "missing", "requested_by",
    "expires_at",
]  # fmt: skip
_VOTES = {"votes": ["voter", "verdict", "roles", "reason", "created_at"]}


@approvals.command("list")
def list_approvals(
    status: Annotated[
        str | None, typer.Option(help="pending, approved, rejected, lapsed, void, cancelled")
    ] = None,
    limit: Limit = 50,
    output: Output = Format.TABLE,
) -> None:
    """List requests for approval, newest first."""
    show(platform().approvals.list(status=status, limit=limit), output, _COLUMNS)


@approvals.command("show")
def show_approval(approval: ApprovalId, output: Output = Format.TABLE) -> None:
    """Show a request with everything that an approver reads; --output json holds all of the evidence."""
    found = platform().approvals.get(approval)
    if output is not Format.TABLE:
        show(found, output)
        return
    from ml_platform.cli.evidence import PARTS, page

    columns = [*_COLUMNS, "justification", "needs", "serving_now", "subject_id", "digest", "reason"]
    show_parts(page(found), output, columns, {**PARTS, **_VOTES})


@approvals.command("approve")
def approve(approval: ApprovalId, reason: Reason, output: Output = Format.TABLE) -> None:
    """Agree; never to one's own request."""
    show_parts(platform().approvals.approve(approval, reason), output, _COLUMNS, _VOTES)


@approvals.command("reject")
def reject(approval: ApprovalId, reason: Reason, output: Output = Format.TABLE) -> None:
    """Refuse; from a mandatory seat this ends the request, else once no quorum is left."""
    show_parts(platform().approvals.reject(approval, reason), output, _COLUMNS, _VOTES)


@approvals.command("abstain")
def abstain(approval: ApprovalId, reason: Reason, output: Output = Format.TABLE) -> None:
    """Say that one does not decide; fills no seat and cannot be changed."""
    show_parts(platform().approvals.abstain(approval, reason), output, _COLUMNS, _VOTES)


@approvals.command("break-glass")
def break_glass(
    approval: ApprovalId, reason: Reason, yes: Yes = False, output: Output = Format.TABLE
) -> None:
    """Let an emergency through without the votes; everybody is told, and somebody else reviews it."""
    confirm(f"Deploy {approval} without the approval it needs? Everybody is told", yes=yes)
    show_parts(
        platform().approvals.break_glass(approval, reason), output, [*_COLUMNS, "glass_broken"], _VOTES
    )


@approvals.command("review")
def review(
    approval: ApprovalId,
    verdict: Annotated[str, typer.Option(help="justified or unjustified")],
    reason: Reason,
    output: Output = Format.TABLE,
) -> None:
    """Review a deployment for which somebody broke the glass; not by them, nor by who asked for it."""
    show_parts(
        platform().approvals.review(approval, verdict, reason), output, [*_COLUMNS, "glass_broken"], _VOTES
    )
