"""What every command shares: the output form, and the platform it talks to."""

from typing import TYPE_CHECKING, Annotated

import typer

from ml_platform.cli.output import Format, show

if TYPE_CHECKING:
    from ml_platform.sdk import Platform

Output = Annotated[
    Format,
    typer.Option("--output", "-o", envvar="MLOPS_OUTPUT", help="Form of the result", show_default=True),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting or ending something")]


class Group(typer.Typer):
    """A group of commands that shows its help when called alone."""

    def __init__(self, help: str) -> None:  # noqa: A002 - Typer's own name
        super().__init__(help=help, no_args_is_help=True, rich_markup_mode=None)


def platform() -> "Platform":
    """The platform of the environment or the profile."""
    from ml_platform.sdk import Platform

    return Platform()


def confirm(question: str, *, yes: bool) -> None:
    """Asks before something that cannot be undone; without a terminal, `--yes` is needed."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("this cannot be undone: say --yes to go on without being asked")
    typer.confirm(question, abort=True, err=True)


__all__ = ["Format", "Group", "Output", "Yes", "confirm", "platform", "show"]
