"""What every command shares: the output form, the platform it talks to, and how its arguments are read."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml_platform.cli.output import Format, show

if TYPE_CHECKING:
    from ml_platform.sdk import Platform

Output = Annotated[
    Format,
    typer.Option("--output", "-o", envvar="MLOPS_OUTPUT", help="Form of the result", show_default=True),
]
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]
"""How a moment is given, also as `--output` shows one; without a zone it is local."""
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting or ending something")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Most items to show")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, help="Longest wait in seconds [no limit]", metavar="SECONDS"),
]


class Group(typer.Typer):
    """A group of commands that shows its help when called alone."""

    def __init__(self, help: str) -> None:  # noqa: A002 - Typer's own name
        super().__init__(help=help, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


_opened: list["Platform"] = []


def platform() -> "Platform":
    """The platform of the environment or the profile; its connections are given back by `close`."""
    from ml_platform.sdk import Platform

    found = Platform()
    _opened.append(found)
    return found


def close() -> None:
    """Ends what a command has opened."""
    while _opened:
        _opened.pop().close()


def confirm(question: str, *, yes: bool) -> None:
    """Asks before something that cannot be undone; without a terminal, `--yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("this cannot be undone: say --yes to go on without being asked")
    typer.confirm(question, abort=True, err=True)


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE`, several times."""
    found: dict[str, str] = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{item!r} is not NAME=VALUE", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = value
    return found


def literal(text: str) -> Any:
    """A value as JSON where it is JSON (`3`, `true`, `[1, 2]`), else the text itself."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def document(path: Path, option: str) -> dict[str, Any]:
    """A YAML or JSON file that holds one object; `-` is standard input."""
    import yaml

    try:
        text = sys.stdin.read() if str(path) == "-" else path.expanduser().read_text(encoding="utf-8")
        value = yaml.safe_load(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint=option) from None
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{path} is neither YAML nor JSON: {error}", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{path} must hold one object", param_hint=option)
    return value


__all__ = [
    "Format",
    "Group",
    "Limit",
    "Output",
    "Timeout",
    "Yes",
    "close",
    "confirm",
    "document",
    "literal",
    "pairs",
    "platform",
    "show",
]
