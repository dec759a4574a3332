"""What an isolated model prints: a little of it goes to the log, a flood of it nowhere, at no cost of ours."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time

_log = logging.getLogger(__name__)
_PIPE_BYTES = 1024 * 1024
_PAUSE = 0.05
_BURST = 32 * 1024
_BYTES_PER_SECOND = 2 * 1024


class Output:
    """Reads the pipe that a model's stdout and stderr are.

    At most a pipe of it twenty times a second: who prints more waits for us, not we for him. Of what was
    read, as much is logged as leaves the log readable; what is left out is counted.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._end, self.theirs = os.pipe()
        os.set_blocking(self._end, False)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # more than the user may have: less, then
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._allowed = float(_BURST)
        self._at = time.monotonic()
        self._left_out = 0
        self._loop.add_reader(self._end, self._read)

    def started(self) -> None:
        """The model's processes have their own descriptor."""
        os.close(self.theirs)
        self.theirs = -1

    def close(self) -> None:
        """Takes what is there yet; called once nobody prints any more."""
        if self._end < 0:
            return
        if self._later is not None:
            self._later.cancel()
        if self.theirs >= 0:
            self.started()
        with contextlib.suppress(OSError):
            self._take(os.read(self._end, _PIPE_BYTES))
        self._loop.remove_reader(self._end)
        os.close(self._end)
        self._end = -1
        if self._left_out:
            _log.info("%s printed %d bytes that are not logged", self._name, self._left_out)

    def _read(self) -> None:
        self._loop.remove_reader(self._end)
        try:
            data = os.read(self._end, _PIPE_BYTES)
        except BlockingIOError:
            data = None
        if data != b"":  # else everybody who could print is gone
            self._take(data or b"")
            self._later = self._loop.call_later(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._later = None
        self._loop.add_reader(self._end, self._read)

    def _take(self, data: bytes) -> None:
        now = time.monotonic()
        self._allowed = min(self._allowed + (now - self._at) * _BYTES_PER_SECOND, _BURST)
        self._at = now
        kept = data[: int(self._allowed)]
        self._allowed -= len(kept)
        self._left_out += len(data) - len(kept)
        for line in kept.decode(errors="replace").splitlines():
            text = "".join(letter if letter.isprintable() else " " for letter in line)
            if text.strip():
                _log.info("%s: %s", self._name, text)
