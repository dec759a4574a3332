"""Commands that are imported when they are used, so that `mlops --help` stays quick."""

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup


class Entry(NamedTuple):
    """Where a command or a group of them is, and its line in the help of `mlops`."""

    module: str
    attribute: str
    help: str


class LazyGroup(TyperGroup):
    """The commands of `entries`; one is loaded when it is called, and none for the list of them."""

    entries: ClassVar[dict[str, Entry]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Only so that a typing error gets a suggestion: `get_command` is what answers.
        self.commands = dict.fromkeys(self.entries)  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is Typer's
        if cmd_name not in self.entries:
            return None
        if self.commands[cmd_name] is None:
            self.commands[cmd_name] = load(cmd_name, self.entries[cmd_name])
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is Typer's
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])


def load(name: str, entry: Entry) -> Any:
    """A command or a group, ready to be called."""
    found = getattr(import_module(entry.module), entry.attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        alone.command(name)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command
