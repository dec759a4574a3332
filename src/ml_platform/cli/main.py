"""The entry point of `mlops`.

Exit codes: 0 done; 1 failed; 2 wrong usage or input; 3 not found; 4 not allowed; 5 conflict; 6 waits for an
approval; 7 the platform does not answer or is not configured; 8 a limit; 9 timed out; 10 a job or a
deployment failed; 130 interrupted.
"""

import os
import sys
from typing import Annotated

import typer

from ml_platform.cli.commands import COMMANDS
from ml_platform.cli.context import close
from ml_platform.cli.lazy import LazyGroup
from ml_platform.cli.output import say


class Commands(LazyGroup):
    entries = COMMANDS


app = typer.Typer(
    name="mlops",
    cls=Commands,
    help="From data to a governed, monitored production endpoint.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: " + (__doc__ or "").partition("Exit codes: ")[2].replace("\n", " "),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(version("ml-platform") + "\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """From data to a governed, monitored production endpoint."""


def main() -> None:
    """Runs a command and turns what went wrong into a message, a hint and an exit code."""
    try:
        app(prog_name="mlops", standalone_mode=True)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except Exception as error:  # the SDK is not imported before it is needed, so its errors are known by form
        if os.environ.get("MLOPS_DEBUG"):
            raise
        sys.exit(report(error))
    finally:
        close()


def report(error: Exception) -> int:
    """Says what went wrong on stderr; the answer is the exit code."""
    code = getattr(error, "exit_code", None)
    if code is None:
        text = str(error) or type(error).__name__
        say(f"error: {text}" if isinstance(error, OSError) else f"error: {type(error).__name__}: {text}")
        say("hint: MLOPS_DEBUG=1 shows where it came from")
        return 1
    fields = [f"{field.field}: {field.message}" for field in getattr(error, "fields", [])]
    detail = str(getattr(error, "detail", error))
    if fields and detail == "; ".join(fields[:5]):
        detail = "the input cannot be taken"  # the lines below say why, once is enough
    say(f"error: {detail}")
    for field in fields:
        say(f"  {field}")
    if hint := getattr(error, "hint", None):
        say(f"hint: {hint}")
    if code == 1 and (request_id := getattr(error, "request_id", None)):
        say(f"request: {request_id}")
    return int(code)


if __name__ == "__main__":
    main()
