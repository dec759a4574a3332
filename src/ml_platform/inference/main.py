"""The inference server: `python -m ml_platform.inference.main`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from ml_platform.inference.settings import Settings, load_settings
from ml_platform.inference.supervisor import StartError, Supervisor


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; 0 after a clean stop, 2 when it cannot start."""
    settings = load_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s inference %(levelname)s %(message)s"
    )
    try:
        asyncio.run(_run(settings))
    except (StartError, ValueError, OSError) as error:
        print(f"mlops-inference: {error}", file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 2
    return 0


async def _run(settings: Settings) -> None:
    await Supervisor(settings).run()


if __name__ == "__main__":
    sys.exit(main())
