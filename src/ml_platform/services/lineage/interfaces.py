"""What lineage needs of a receiver of its events."""

from collections.abc import Mapping
from typing import Any, Protocol


class EventRejectedError(Exception):
    """The receiver answers and does not want this event: others may go on, this one's run may not."""


class EventReceiver(Protocol):
    """Takes OpenLineage's events. Any error but a rejection means that it is away, for all of them."""

    name: str
    """What waits for it is kept under this name, over restarts."""

    def send(self, event: Mapping[str, Any]) -> None:
        """Returns when the event has arrived. The same one may come again.

        Raises:
            EventRejectedError: it arrived and was refused.
        """
        ...
