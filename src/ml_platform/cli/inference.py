"""`mlops inference serve`: the inference server alone, without a control plane.

The server takes the place of this process: what starts it (a container, systemd, KServe) then holds the
server itself, with its signals and its exit code.
"""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ml_platform.cli.context import Group
from ml_platform.cli.output import say

app = Group(help="The inference server on its own")


@app.callback()
def group() -> None:
    """The inference server on its own."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    ctx: typer.Context,
    model_dir: Annotated[
        Path, typer.Option("--model-dir", help="A bundle, or a directory of bundles; KServe: /mnt/models")
    ],
    model_name: Annotated[
        str | None, typer.Option(help="Name of the model when the directory is one bundle")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the REST protocols [8081]")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of gRPC [off]")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes [one a core]")] = None,
    keys_file: Annotated[
        Path | None, typer.Option(help="JSON list of the keys that may ask for predictions")
    ] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Answer everybody, without a key")] = False,
    state_dir: Annotated[
        Path | None, typer.Option(help="Bundle cache and prediction log [$MLOPS_HOME/serve/...]")
    ] = None,
) -> None:
    """Serve the models of a directory; no platform is needed.

    Other options are the server's own: `python -m ml_platform.inference.main --help` lists them.
    """
    if importlib.util.find_spec("uvicorn") is None:
        say("error: only the SDK is installed here")
        say("hint: pip install 'ml-platform[server]'")
        raise typer.Exit(7)
    if not keys_file and not anonymous and not _in_environment("KEYS_FILE", "ANONYMOUS"):
        say("error: nothing says who may ask for predictions")
        say("hint: give --keys-file, or --anonymous for everybody")
        raise typer.Exit(2)
    directory = model_dir.expanduser().resolve()
    if not directory.is_dir():
        say(f"error: there is no directory {directory}")
        raise typer.Exit(2)
    arguments = ["--model-dir", str(directory)]
    if state_dir or not _in_environment("STATE_DIR"):
        arguments += ["--state-dir", str(state_dir or _state_of(directory))]
    # What is not given is left to the server's environment and its defaults.
    given = {
        "host": host,
        "port": port,
        "grpc-port": grpc_port,
        "workers": workers,
        "model-name": model_name,
        "keys-file": keys_file,
    }
    for name, value in given.items():
        if value is not None:
            arguments += [f"--{name}", str(value)]
    if anonymous:
        arguments.append("--anonymous=true")
    program = [sys.executable, "-m", "ml_platform.inference.main", *arguments, *ctx.args]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, program)  # noqa: S606 - the server takes the place of this process


def _in_environment(*names: str) -> bool:
    return any(os.environ.get(f"MLOPS_INFERENCE_{name}") for name in names)


def _state_of(directory: Path) -> Path:
    """One for each directory of models, so that several servers stand beside each other and the platform."""
    home = Path(os.environ.get("MLOPS_HOME") or "~/.mlops").expanduser()
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:8]
    return home / "serve" / f"{directory.name or 'models'}-{digest}"
