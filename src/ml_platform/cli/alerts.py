"""`mlops alerts`."""

from typing import Annotated

import typer

from ml_platform.cli.context import Group, Limit, Output, platform, show
from ml_platform.cli.output import Format

alerts = Group("What a person should know")

AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="Id of an alert")]
Note = Annotated[str | None, typer.Option(help="Kept with the alert and in the audit log")]


@alerts.command("list")
def list_alerts(
    status: Annotated[str | None, typer.Option(help="open, acknowledged or resolved")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or critical")] = None,
    resource: Annotated[str | None, typer.Option(help="Id of what it is about, e.g. of a deployment")] = None,
    limit: Limit = 50,
    output: Output = Format.TABLE,
) -> None:
    """List alerts, newest first."""
    found = platform().alerts.list(status=status, severity=severity, resource=resource, limit=limit)
    columns = ["alert_id", "severity", "status", "title", "resource_id", "occurrences", "last_seen_at"]
    show(found, output, columns)


@alerts.command("show")
def show_alert(alert: AlertId, output: Output = Format.TABLE) -> None:
    """Show an alert."""
    show(platform().alerts.get(alert), output)


@alerts.command("acknowledge")
def acknowledge(alert: AlertId, note: Note = None, output: Output = Format.TABLE) -> None:
    """Say that somebody looks after it."""
    show(platform().alerts.acknowledge(alert, note), output)


@alerts.command("resolve")
def resolve(alert: AlertId, note: Note = None, output: Output = Format.TABLE) -> None:
    """End it; the same trouble found again is a new alert."""
    show(platform().alerts.resolve(alert, note), output)
