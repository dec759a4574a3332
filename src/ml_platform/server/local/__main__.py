"""`python -m ml_platform.server.local COMMAND`: result as JSON on stdout, progress on stderr.

The CLI calls this in a process of its own, so that the CLI itself never imports the server.
"""

import argparse
import json
import sys

from pydantic import ValidationError

from ml_platform.server.local import commands
from ml_platform.server.settings import Settings

_COMMANDS = {
    "up": commands.up,
    "down": commands.down,
    "status": commands.status,
    "doctor": commands.doctor,
    "reset": commands.reset,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="mlops")
    parser.add_argument("command", choices=[*_COMMANDS, "logs"])
    parser.add_argument("--process", default="api", choices=["api", "inference", "supervisor"])
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--follow", action="store_true")
    arguments = parser.parse_args()
    try:
        settings = Settings()
        if arguments.command == "logs":
            for line in commands.logs(
                settings, arguments.process, lines=arguments.lines, follow=arguments.follow
            ):
                sys.stdout.write(line + "\n")
            return 0
        result = _COMMANDS[arguments.command](settings, _say)
        sys.stdout.write(json.dumps(result) + "\n")
    except commands.CommandError as error:
        _say(f"error: {error.detail}")
        if error.hint:
            _say(f"hint: {error.hint}")
        return 1
    except ValidationError as error:
        for item in error.errors():
            _say(f"error: setting MLOPS_{'__'.join(str(p) for p in item['loc']).upper()}: {item['msg']}")
        return 2
    except (BrokenPipeError, KeyboardInterrupt):
        return 130
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
