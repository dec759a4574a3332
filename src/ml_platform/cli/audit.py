"""`mlops audit`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ml_platform.cli.context import TIMES, Group, Output, platform, show
from ml_platform.cli.output import Format, say
from ml_platform.contracts.audit import AuditArchiveState

audit = Group("The audit log")

_WELL = (AuditArchiveState.OK, AuditArchiveState.OFF)

Moment = Annotated[datetime | None, typer.Option(formats=TIMES, metavar="TIME")]


@audit.command("list")
def list_events(
    action: Annotated[str | None, typer.Option(help="e.g. deployment.promote, or deployment.*")] = None,
    resource: Annotated[str | None, typer.Option(help="Id of what was changed")] = None,
    kind: Annotated[str | None, typer.Option(help="Of what was changed, such as deployment")] = None,
    actor: Annotated[str | None, typer.Option(help="Name of who did it")] = None,
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 50,
    output: Output = Format.TABLE,
) -> None:
    """Show who did what, newest first; times without a zone are local."""
    events = platform().audit.events(
        action=action, resource=resource, kind=kind, actor=actor, since=since, until=until, limit=limit
    )
    show(list(events), output, ["sequence", "at", "actor_name", "action", "resource_kind", "resource_id"])


@audit.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it, as JSON Lines")],
    first: Annotated[int, typer.Option(min=1, help="Number of the first event")] = 1,
) -> None:
    """Write the log to a file that can be checked without the platform."""
    written = platform().audit.export(file, first=first)
    say(
        f"written to {written}; check it with: mlops audit verify --file {written} --public-key <mlops audit key>"
    )


@audit.command("key")
def key(
    file: Annotated[Path | None, typer.Option(help="Write the key here")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the public key that checks exports; keep it apart from them."""
    found = platform().audit.key()
    if file is not None:
        file.write_text(f"{found}\n")
        say(f"written to {file}")
        return
    show({"public_key": found}, output)


@audit.command("archive")
def archive(output: Output = Format.TABLE) -> None:
    """Show how far the copy of the log in write-once storage has come; exit code 1 when something is wrong."""
    found = platform().audit.archive()
    show(found, output)
    if found.state not in _WELL:
        say(f"the archive of the audit log: {found.detail}")
        raise typer.Exit(1)


@audit.command("verify")
def verify(
    file: Annotated[
        Path | None, typer.Option(help="An export, checked here without asking the platform")
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|S3",
            help="A copy in write-once storage, a directory or s3://bucket/prefix, checked without the platform",
        ),
    ] = None,
    online: Annotated[bool, typer.Option(help="Compare the copy with the platform's own log, too")] = False,
    until: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, metavar="TIME", help="The copy must speak for the log up to then"),
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(help="Whose the export or copy must be: mlops audit key, as you trust it")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Check that nobody rewrote the log; exit code 1 when somebody did."""
    if file is not None and archive is not None:
        raise typer.BadParameter("give --file or --archive, not both")
    if archive is None and (online or until is not None):
        raise typer.BadParameter("--online and --until belong to --archive")
    if archive is not None:
        moment = until.astimezone() if until is not None else None
        if online:
            result = platform().audit.verify_archive(archive, public_key, until=moment)
        else:
            from ml_platform.sdk.auditarchive import verify_archive

            result = verify_archive(archive, public_key, until=moment)
    elif file is not None:
        from ml_platform.sdk.auditfile import verify_file

        result = verify_file(file, public_key)
    else:
        result = platform().audit.verify()
    show(result, output)
    if not result.verified:
        say(f"the audit log was tampered with: {len(result.findings)} findings")
        raise typer.Exit(1)
