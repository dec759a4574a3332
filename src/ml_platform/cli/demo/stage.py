"""How the demo shows itself: each step with what comes of it and how long it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Narrator:
    """Writes the demo's story to stderr; stdout stays for data."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[None]:
        """Announces a step, and its time when it went well."""
        self._console.print(f"\n[bold]{number}. {title}[/bold]")
        started = time.monotonic()
        yield
        self._console.print(f"   [green]done[/green] in {time.monotonic() - started:.1f} s")

    def tell(self, text: str) -> None:
        """An outcome within a step."""
        self._console.print(f"   {text}", markup=False)

    def close(self, lines: list[str]) -> None:
        """The last words."""
        self._console.print(
            f"\n[bold green]All of it took {time.monotonic() - self._started:.0f} s.[/bold green]"
        )
        for line in lines:
            self._console.print(line, markup=False)
        sys.stderr.flush()
