"""`mlops up | down | status | logs | doctor | reset`: the installation on this machine.

The server's own code does the work in a process of its own, so that the CLI stays light and works
where only the SDK is installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ml_platform.cli.context import Output, Yes, confirm, show
from ml_platform.cli.output import Format, say

Home = Annotated[
    Path | None, typer.Option("--home", envvar="MLOPS_HOME", help="Directory of all state [~/.mlops]")
]


class Process(StrEnum):
    """The processes that write a log."""

    API = "api"
    INFERENCE = "inference"
    SUPERVISOR = "supervisor"


def up(
    home: Home = None,
    port: Annotated[int | None, typer.Option(help="Port of the API and MLflow's screens [8080]")] = None,
    inference_port: Annotated[int | None, typer.Option(help="Port of predictions [8081]")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Start the platform in the background."""
    changes = {"MLOPS_API__PORT": port, "MLOPS_INFERENCE__PORT": inference_port}
    show(_call("up", home, {k: str(v) for k, v in changes.items() if v is not None}), output)


def start(home: Path | None) -> dict[str, Any]:
    """Starts the platform for a command that goes on with it; the answer also holds the profile's key."""
    result = _call("up", home)
    profile: dict[str, Any] = json.loads(Path(result["profile"]).read_text())
    return {**result, "key": profile["key"]}


def down(home: Home = None, output: Output = Format.TABLE) -> None:
    """Stop the platform; its data stay."""
    show(_call("down", home), output)


def status(home: Home = None, output: Output = Format.TABLE) -> None:
    """Say what runs and whether it answers; exit code 1 when something does not."""
    result = _call("status", home)
    if output is Format.TABLE:
        columns = ["name", "running", "ready", "pid", "memory_bytes", "uptime_seconds", "url"]
        again = [process for process in result["processes"] if process.get("restarts")]
        show(result["processes"], output, [*columns, *(["restarts"] if again else [])])
        for process in again:
            say(f"{process['name']} was last started again at {process['last_restart']}")
    else:
        show(result, output)
    if result["status"] != "running":
        say(f"the platform is {result['status']}")
        raise typer.Exit(1)


def doctor(home: Home = None, output: Output = Format.TABLE) -> None:
    """Look for what usually goes wrong; exit code 1 when something is."""
    result = _call("doctor", home)
    show(result["checks"] if output is Format.TABLE else result, output)
    if result["status"] != "healthy":
        raise typer.Exit(1)


def logs(
    process: Annotated[Process, typer.Argument(help="Whose log")] = Process.API,
    home: Home = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000)] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is written")] = False,
) -> None:
    """Show the log of one of the platform's processes."""
    arguments = ["--process", process.value, "--lines", str(lines), *(["--follow"] if follow else [])]
    raise typer.Exit(_run("logs", home, {}, arguments).returncode)


def reset(home: Home = None, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """Stop the platform and delete everything that it has stored."""
    confirm("Delete the platform's data, models and logs on this machine?", yes=yes)
    show(_call("reset", home), output)


def running_at(api_url: str) -> dict[str, Any] | None:
    """The state of this machine's installation, if it is the one at this address."""
    if importlib.util.find_spec("fastapi") is None:
        return None
    done = _run("status", None, {}, [], capture=True)
    state: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"processes": []}
    urls = {process["name"]: process.get("url") for process in state["processes"]}
    return state if urls.get("api") == api_url else None


def _call(command: str, home: Path | None, changes: dict[str, str] | None = None) -> dict[str, Any]:
    done = _run(command, home, changes or {}, [], capture=True)
    if done.returncode != 0:
        raise typer.Exit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _run(
    command: str, home: Path | None, changes: dict[str, str], arguments: list[str], *, capture: bool = False
) -> "subprocess.CompletedProcess[str]":
    if importlib.util.find_spec("fastapi") is None:
        say("error: only the SDK is installed here")
        say("hint: pip install 'ml-platform[server]'")
        raise typer.Exit(7)
    environment = {**os.environ, **changes}
    if home is not None:
        environment["MLOPS_HOME"] = str(home.expanduser().absolute())
    return subprocess.run(
        [sys.executable, "-m", "ml_platform.server.local", command, *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        check=False,
    )
