"""`mlops policies`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ml_platform.cli.context import Group, Limit, Output, Yes, confirm, platform, show
from ml_platform.cli.output import Format, plain, say

if TYPE_CHECKING:
    from ml_platform.contracts.policies import PolicyCheck

policies = Group("The organisation's own policies, as Cedar text")

Folder = Annotated[Path, typer.Argument(help="Of the policies (*.cedar) and their tests (*.yaml)")]
_VERSION = ["version", "policies", "applied_by", "applied_at", "note", "digest"]


@policies.command("list")
def list_policies(output: Output = Format.TABLE) -> None:
    """List every policy in force, the platform's own and the organisation's."""
    found = platform().policies.overview()
    columns = ["policy_id", "origin", "effect", "actions", "advice", "file"]
    show(found if output is not Format.TABLE else found.policies, output, columns)
    if found.problem:
        say(f"version {found.in_force} is in force, not {found.version}: {found.problem}")


@policies.command("show")
def show_policies(
    version: Annotated[int | None, typer.Option(min=1, help="Default: the newest")] = None,
    save: Annotated[Path | None, typer.Option(help="A folder to write its files to", metavar="DIR")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Show what policies can be about, as Cedar schema")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show a version of the organisation's policies with its files and tests."""
    if schema:
        text = platform().policies.schema()
        show(text if output is Format.TABLE else {"cedar_schema": text}, output)
        return
    found = platform().policies.get(version)
    if save is not None:
        from ml_platform.sdk.policies import write_folder

        for path in write_folder(save, {**found.files, **found.tests}):
            say(f"written: {path}")
    show(found, output, [*_VERSION, *(["files", "tests"] if save is None else [])])


@policies.command("validate")
def validate(folder: Folder, output: Output = Format.TABLE) -> None:
    """Let the platform read, validate and test a set, without applying it; exit code 1 when it is not valid."""
    _report(platform().policies.validate(folder), output)


@policies.command("test")
def try_out(folder: Folder, output: Output = Format.TABLE) -> None:
    """Test a set here, without the platform; exit code 1 when it is not valid."""
    from ml_platform.sdk.policies import check_folder

    _report(check_folder(folder), output)


@policies.command("apply")
def apply(
    folder: Folder,
    note: Annotated[str | None, typer.Option("--note", "-m", help="Why; kept in the audit log")] = None,
    expected_version: Annotated[
        int | None, typer.Option(min=0, help="Refuse when another version is the newest")
    ] = None,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Replace the organisation's policies by a set whose tests all pass."""
    confirm("Replace the organisation's policies? They are in force a moment later, for everybody", yes=yes)
    found = platform().policies.apply(folder, note=note, expected_version=expected_version)
    show(found, output, _VERSION)


@policies.command("history")
def history(limit: Limit = 50, output: Output = Format.TABLE) -> None:
    """List every version that was applied, newest first."""
    show(platform().policies.history(limit=limit), output, _VERSION)


def _report(check: "PolicyCheck", output: Format) -> None:
    if output is not Format.TABLE:
        show(check, output)
    else:
        if check.tests:
            rows = [
                {**plain(result), "passed": "passed" if result.passed else "FAILED"} for result in check.tests
            ]
            show(rows, output, ["passed", "file", "name", "found", "policies", "message"])
        for problem in check.problems:
            say(": ".join(part for part in (problem.file, problem.policy_id, problem.message) if part))
        failed = sum(not result.passed for result in check.tests)
        say(f"{len(check.policies)} policies, {len(check.tests)} tests, {failed} failed")
        if check.untested:
            say(f"decided by no test: {', '.join(check.untested)}")
    if not check.valid:
        raise typer.Exit(1)
