"""What is to be emitted: the segments of the spool, and those that are Parquet and were handed on.

They are read where the writers have got to, and remembered by name and place, wherever they are moved meanwhile.
A place is written down once everything before it has arrived: after a crash at any point the rest is sent again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ml_platform.inference.predictionlog.cloudevents import Event, events_of
from ml_platform.inference.predictionlog.spool import SUFFIX, read_segment

STATE_NAME = "state.json"

_log = logging.getLogger(__name__)


class SinkState(msgspec.Struct, kw_only=True):
    """What the sink has done, over all its starts.

    `places` has for each segment the byte at which the frame under way begins, and how many of its records
    have arrived.
    """

    sent: int = 0
    rejected: int = 0
    failures: int = 0
    error: str | None = None
    places: dict[str, tuple[int, int]] = {}


def read_state(events: Path) -> SinkState:
    """The state that was written last; a new one when there is none or it is damaged."""
    try:
        return msgspec.json.decode((events / STATE_NAME).read_bytes(), type=SinkState)
    except FileNotFoundError:
        return SinkState()
    except msgspec.DecodeError as error:
        _log.error("the state of the event sink is damaged, everything that waits is sent again: %s", error)
        return SinkState()


class Outbox:
    """Reads on from the places of `state`. One process at a time."""

    def __init__(self, spool: Path, events: Path) -> None:
        self._spool = spool
        self._events = events
        self.state = read_state(events)

    def waiting(self, most: int) -> Iterator[tuple[list[Event], str, tuple[int, int]]]:
        """Events that have not arrived, some at a time, oldest segment first, with the place behind them."""
        found = {
            path.name: path for folder in (self._spool, self._events) for path in folder.glob("*" + SUFFIX)
        }
        for name in set(self.state.places) - set(found):
            del self.state.places[name]
        for name in sorted(found):
            yield from self._of_segment(found[name], name, most)

    def save(self) -> None:
        draft = self._events / (STATE_NAME + ".new")
        draft.write_bytes(msgspec.json.encode(self.state))
        draft.replace(self._events / STATE_NAME)

    def _of_segment(
        self, path: Path, name: str, most: int
    ) -> Iterator[tuple[list[Event], str, tuple[int, int]]]:
        start, done = self.state.places.get(name, (0, 0))
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return  # it was just rolled: the next look finds it among the events
        with file:
            if path.parent == self._spool and os.fstat(file.fileno()).st_size <= start:
                return
            try:
                for batch in read_segment(file, start):
                    for first in range(done, len(batch.records), most):
                        part = batch.records[first : first + most]
                        events = [event for record in part for event in events_of(batch.header, record)]
                        yield events, name, (start, first + len(part))
                    start, done = batch.end, 0
            except msgspec.DecodeError as error:
                _log.error("%s cannot be read on and is not emitted: %s", name, error)
        self.state.places[name] = (start, done)
        if path.parent == self._events:  # nobody writes it any more
            with suppress(FileNotFoundError):
                path.unlink()
            del self.state.places[name]
