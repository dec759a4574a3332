"""Shadow revisions: they answer what others are asked, after the caller has the answer, and are compared.

Nobody waits for a shadow and nobody sees what it says: its answers go to the prediction log under the
request's own id, its differences into its counts. A shadow that does not keep up misses requests, which are
counted too.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any, Final

from ml_platform.inference.decoding import UNSET, Decoded, Row
from ml_platform.inference.errors import ServingError
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.params import translate as translate_params
from ml_platform.inference.predictionlog.spool import Record
from ml_platform.inference.runtimes.base import Manner

_MAX_PENDING: Final = 256
_TOLERANCE: Final = 1e-5

Keys = Sequence[dict[str, Any] | None] | None


class Shadows:
    """Asks shadows beside the traffic; at most so many requests at once, whatever there is to ask."""

    def __init__(self, max_pending: int = _MAX_PENDING) -> None:
        self._max_pending = max_pending
        self._pending: set[asyncio.Task[None]] = set()

    def ask(
        self,
        shadow: LiveRevision,
        primary: LiveRevision,
        request_id: str,
        rows: Sequence[Row],
        keys: Keys,
        params: str | None,
        answered: Sequence[Any],
    ) -> None:
        """Has a shadow answer what the primary has answered."""
        if len(self._pending) >= self._max_pending:
            shadow.tally.skipped += 1
            return
        task = asyncio.get_running_loop().create_task(
            self._compare(shadow, primary, request_id, rows, keys, params, answered)
        )
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _compare(
        self,
        shadow: LiveRevision,
        primary: LiveRevision,
        request_id: str,
        rows: Sequence[Row],
        keys: Keys,
        params: str | None,
        answered: Sequence[Any],
    ) -> None:
        decoded = translate(shadow, primary, rows, keys, params)
        if decoded is None:
            shadow.tally.skipped += 1
            return
        started = time.perf_counter_ns()
        status, predictions, problem, fallback = 200, None, None, None
        taken = decoded.rows
        shadow.in_flight += 1
        shadow.used = started
        try:
            batcher = shadow.batcher or await shadow.residence.ready()
            if shadow.lookups is not None:
                filled = await shadow.lookups.fill(decoded)
                taken, fallback = filled.rows, filled.fallback
            predictions = await batcher.submit(taken, None, Manner(decoded.params))
        except ServingError as error:
            status, problem = error.status, str(error)
        finally:
            shadow.leave()
        microseconds = (time.perf_counter_ns() - started) // 1000
        shadow.tally.add(status, len(taken), microseconds)
        if predictions is None:
            taken = [tuple(None if value is UNSET else value for value in row) for row in taken]
        else:
            for mine, theirs in zip(predictions, answered, strict=True):
                shadow.tally.compare(*difference(mine, theirs))
        shadow.log.append(
            Record(
                request_id,
                time.time_ns() // 1000,
                microseconds,
                status,
                decoded.keys,
                taken,
                predictions,
                problem,
                decoded.params,
                fallback=fallback,
            )
        )


def translate(
    shadow: LiveRevision, primary: LiveRevision, rows: Sequence[Row], keys: Keys, params: str | None = None
) -> Decoded | None:
    """The primary's rows as the shadow takes them: by name and type; None when it needs what they lack.

    The same with params: the shadow must know all of the primary's.

    A column that only the shadow has is looked up, if it is a feature and the request gave the keys.
    """
    try:
        params = translate_params(shadow.decoder.params, params)
    except ServingError:
        return None
    if shadow.decoder.columns == primary.decoder.columns:
        return Decoded(rows, keys, params)
    given = {(column.name, column.type): index for index, column in enumerate(primary.decoder.columns)}
    positions = [given.get((column.name, column.type)) for column in shadow.decoder.columns]
    features = shadow.manifest.features
    own = {column.name for column, at in zip(shadow.decoder.columns, positions, strict=True) if at is None}
    if own and (features is None or not own <= set(features.columns) or keys is None or None in keys):
        return None
    taken = [tuple(UNSET if at is None else row[at] for at in positions) for row in rows]
    return Decoded(taken, keys, params)


def difference(mine: Any, theirs: Any) -> tuple[bool, float]:
    """Whether two predictions differ, and by how much: the distance of numbers, else 0 or 1."""
    if isinstance(mine, int | float) and isinstance(theirs, int | float):
        distance = abs(float(mine) - float(theirs))
        return not math.isclose(mine, theirs, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE), distance
    return mine != theirs, float(mine != theirs)
