"""What alerts need of others: somebody who tells people."""

from typing import Protocol


class Notifier(Protocol):
    def send(self, title: str, body: str, *, severity: str = "info") -> int:
        """Tells whoever is configured; answers how many were told. Raises UnavailableError."""
        ...
