"""What the audit log needs from outside."""

from datetime import datetime
from typing import Protocol


class WriteOnceStore(Protocol):
    """Storage in which a file, once there, stays as it is."""

    @property
    def location(self) -> str:
        """Where it is, for people and for the record of what stands there."""
        ...

    @property
    def mode(self) -> str | None:
        """How the storage itself keeps files from being deleted; None when it does not."""
        ...

    def put(self, name: str, content: bytes, keep_until: datetime) -> bool:
        """Writes a whole file, to stay, to the disk; False when one of that name stands there, whatever it holds.

        Raises:
            UnavailableError: the storage does not take it, or would not keep it.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """A file's content; None when none is there.

        Raises:
            UnavailableError: the storage does not answer.
        """
        ...
