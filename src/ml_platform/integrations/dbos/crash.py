"""Crash points: a chosen place in a chosen workflow at which this process kills itself, for tests.

`MLOPS_CRASH_AT=<workflow>:<step>:<before|between|after>[:<n>]` means: at the n-th time (default the
first) that this process reaches that step and really runs it, die by SIGKILL

- `before`   its effect,
- `between`  its effect and its record,
- `after`    its record.

`run` stands for the whole workflow (`before` its first line, `between` its last line and the record of
its result), `sleep` and `receive.<topic>` for waits that are over, with nothing in between.
"""

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

VARIABLE = "MLOPS_CRASH_AT"

Moment = Literal["before", "between", "after"]


@dataclass(slots=True)
class CrashPoint:
    """Where to die; `CrashPoint()` is nowhere."""

    workflow: str = ""
    step: str = ""
    moment: Moment | None = None
    remaining: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "CrashPoint":
        """Reads the variable; raises ValueError when it is malformed, so that no test passes by a typo."""
        text = environment.get(VARIABLE, "")
        if not text:
            return cls()
        parts = text.split(":")
        if len(parts) not in (3, 4) or parts[2] not in get_args(Moment):
            raise ValueError(f"{VARIABLE}={text!r}: expected <workflow>:<step>:<before|between|after>[:<n>]")
        times = int(parts[3]) if len(parts) == 4 else 1
        if times < 1:
            raise ValueError(f"{VARIABLE}={text!r}: <n> counts from 1")
        return cls(parts[0], parts[1], cast("Moment", parts[2]), times)

    def reach(self, workflow: str, step: str, moment: Moment) -> None:
        """Says that the process is there; does not return at the crash point."""
        if moment != self.moment or (workflow, step) != (self.workflow, self.step):
            return
        with self._lock:
            self.remaining -= 1
            if self.remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)
