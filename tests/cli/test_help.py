"""Every command says what it is for, and the list of them is quick to get."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from ml_platform.cli.commands import COMMANDS
from ml_platform.cli.lazy import load
from ml_platform.cli.main import app
from tests.cli.running import Mlops

_NOUNS = [
    "experiments", "jobs", "models", "deployments", "datasets", "features", "approvals", "audit", "drift",
    "alerts", "teams", "users", "keys", "policies",
]  # fmt: skip


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below one, with the words by which it is called."""
    yield path, command
    if hasattr(command, "list_commands"):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))


ALL = dict(walk(typer.main.get_command(app)))


class TestHelp:
    @pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "mlops")
    def test_every_command_has_one(self, mlops: Mlops, path: tuple[str, ...]) -> None:
        ran = mlops(*path, "--help")
        assert (ran.code, ran.stderr) == (0, "")
        assert f"Usage: mlops {' '.join(path)}".strip() in ran.stdout
        assert ALL[path].help

    def test_the_short_help_of_a_group_is_its_own(self) -> None:
        for name, entry in COMMANDS.items():
            own = load(name, entry).help or ""
            assert own.replace("\n", " ").startswith(entry.help.partition(",")[0].rstrip(".")), name

    def test_every_resource_has_a_group(self) -> None:
        for noun in _NOUNS:
            assert hasattr(ALL[(noun,)], "list_commands"), noun

    def test_commands_that_end_something_can_be_told_not_to_ask(self) -> None:
        ending = [("reset",), ("jobs", "cancel"), ("deployments", "retire"), ("deployments", "cancel")]
        ending += [("features", "delete"), ("keys", "revoke"), ("users", "deactivate")]
        for path in ending:
            assert "--yes" in {text for option in ALL[path].params for text in option.opts}, path

    def test_commands_that_answer_with_data_let_their_form_be_chosen(self) -> None:
        without = {
            ("logs",),
            ("inference", "serve"),
            ("login",),
            ("jobs", "logs"),
            ("datasets", "download"),
            ("audit", "export"),
            ("models", "card", "export"),
            ("demo",),
        }
        for path, command in ALL.items():
            if path not in without and not hasattr(command, "list_commands"):
                assert "--output" in {text for option in command.params for text in option.opts}, path

    def test_a_wrong_word_is_met_with_the_right_one(self, mlops: Mlops) -> None:
        ran = mlops("deploymets", "list")
        assert ran.code == 2
        assert "Did you mean" in ran.stderr
        assert "'deployments'" in ran.stderr

    def test_the_version_is_printed(self, mlops: Mlops) -> None:
        ran = mlops("--version")
        assert (ran.code, ran.stdout.count("."), ran.stderr) == (0, 2, "")


class TestStartUp:
    def test_help_loads_neither_the_sdk_nor_what_draws_tables(self) -> None:
        program = (
            "import sys\n"
            "sys.argv = ['mlops', '--help']\n"
            "from ml_platform.cli.main import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "heavy = {'httpx', 'pydantic', 'rich', 'yaml', 'ml_platform.sdk'} & set(sys.modules)\n"
            "sys.stderr.write(','.join(sorted(heavy)))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert done.stderr == ""
        assert "deployments" in done.stdout

    def test_a_command_loads_its_own_group_alone(self) -> None:
        program = (
            "import sys\n"
            "sys.argv = ['mlops', 'jobs', '--help']\n"
            "from ml_platform.cli.main import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "others = {'datasets', 'models', 'demo'}\n"
            "sys.stderr.write(','.join(o for o in others if f'ml_platform.cli.{o}' in sys.modules))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
