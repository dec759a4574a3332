"""Which models are in memory: loaded when they are needed, let go of when others need the room.

A revision that is known can be asked; its model is loaded by the first who asks, once for all who ask
meanwhile. Within the budget, the models that are least recently used make room, never one that is
answering, and those that a rollout watches only when nothing else is left. One that cannot be loaded is
tried again by itself after a pause that doubles; until then its callers are refused at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from ml_platform.contracts.bundles import BundleError
from ml_platform.inference.batching import Batcher
from ml_platform.inference.errors import Unavailable
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.runtimes.base import Runtime
from ml_platform.inference.runtimes.breaker import Health
from ml_platform.inference.runtimes.loading import Prepared, RuntimeLoader, pyfunc_limits
from ml_platform.inference.runtimes.memory import model_budget
from ml_platform.inference.settings import Settings

_log = logging.getLogger(__name__)
FIRST_RETRY = 2.0
LAST_RETRY = 60.0
_LOOK_SECONDS = 0.01
_WEIGH_SECONDS = 2.0
_REFUSED_RETRY = 300
_RENEW_SHARE = 0.8

State = Literal["idle", "loading", "ready", "failed"]


class _NoRoomError(Exception):
    """The budget is taken by models that must not be let go of now."""


class _TooLargeError(BundleError):
    """The model alone is larger than the budget: no time and no eviction will help."""


@dataclass(slots=True, eq=False)
class Residence:
    """The model of one revision, in memory (`live.batcher`) or not.

    `memory` is what it takes or, when it is out, what it took when it was last in, `memory_loaded` what it
    took right after its load. `urgent` is set while a request or a rollout waits for it: only then may
    others be let go of for it.
    """

    keeper: Residency
    live: LiveRevision
    uri: str
    prepared: Prepared
    state: State = "idle"
    reason: str | None = None
    seconds: float | None = None
    memory: int = 0
    memory_loaded: int = 0
    loads: int = 0
    failures: int = 0
    evictions: int = 0
    urgent: bool = False
    watched: bool = False
    closed: bool = False
    pause: float = FIRST_RETRY
    retry_at: float = 0.0
    retry: asyncio.TimerHandle | None = None
    flight: asyncio.Task[None] | None = None
    health: Health = field(default_factory=Health)

    @property
    def grown(self) -> int:
        """The bytes by which an isolated model has grown since it was loaded."""
        loaded = self.prepared.manifest.runtime == "pyfunc" and self.live.batcher is not None
        return self.memory - self.memory_loaded if loaded else 0

    async def ready(self) -> Batcher:
        """The queue of the loaded model; raises Unavailable when it is not there in time."""
        return await self.keeper.ready(self)

    async def close(self) -> None:
        await self.keeper.close(self)


class Residency:
    """Keeps the models of one worker within its budget. Runs on the event loop.

    Args:
        changed: called when a model's state has changed.
    """

    def __init__(self, settings: Settings, loader: RuntimeLoader, changed: Callable[[], None]) -> None:
        self._settings = settings
        self._loader = loader
        self._changed = changed
        self.budget = model_budget(settings.memory_bytes, settings.worker_count)
        self._isolated_limit = pyfunc_limits(settings).memory_bytes
        self._models: list[Residence] = []
        self._reserved = 0
        self._admission = asyncio.Lock()
        self._weighing: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def used(self) -> int:
        """Bytes of the models that are in memory."""
        return sum(model.memory for model in self._models if model.live.batcher is not None)

    def add(self, live: LiveRevision, uri: str, prepared: Prepared) -> Residence:
        """Makes a revision's model one that can be loaded."""
        model = Residence(self, live, uri, prepared)
        live.residence = model
        self._models.append(model)
        if prepared.manifest.runtime == "pyfunc" and self._weighing is None:
            self._weighing = asyncio.get_running_loop().call_later(_WEIGH_SECONDS, self._weigh)
        return model

    async def load(self, model: Residence, *, urgent: bool) -> None:
        """Loads a model ahead of its requests; `model.state` says how it went.

        Unless it is urgent, it takes only room that is free, and stays out when there is none.
        """
        model.urgent = model.urgent or urgent
        if model.live.batcher is None:
            await asyncio.wait({self._fly(model)})

    async def ready(self, model: Residence) -> Batcher:
        """The queue of the loaded model, for a request: loads it, or waits for the load that is under way.

        Raises:
            Unavailable: when it could not be loaded lately, or is not there within `cold_wait` seconds.
        """
        deadline = time.monotonic() + self._settings.cold_wait
        while (batcher := model.live.batcher) is None:
            if model.closed:
                raise Unavailable("the model was just replaced; try again")
            if model.state == "failed":
                raise self._refusal(model)
            model.urgent = True
            done, _ = await asyncio.wait({self._fly(model)}, timeout=max(deadline - time.monotonic(), 0))
            if model.live.batcher is None and (not done or time.monotonic() >= deadline):
                raise Unavailable("the model is being loaded", retry_after=2)
        return batcher

    async def close(self, model: Residence) -> None:
        """Lets go of a model for good; whoever used it has ended."""
        model.closed = True
        if model.retry is not None:
            model.retry.cancel()
        if model.flight is not None:
            model.flight.cancel()
            await asyncio.wait({model.flight})
        await self._release(model)
        self._models.remove(model)

    def stop(self) -> None:
        self._stopped = True
        if self._weighing is not None:
            self._weighing.cancel()

    def _fly(self, model: Residence) -> asyncio.Task[None]:
        """The load that is under way, or a new one."""
        if model.flight is None:
            if model.retry is not None:
                model.retry.cancel()
                model.retry = None
            model.state = "loading"
            model.flight = asyncio.get_running_loop().create_task(self._attempt(model))
            self._changed()
        return model.flight

    async def _attempt(self, model: Residence) -> None:
        try:
            await self._bring_in(model)
        except _NoRoomError:
            model.state = "idle"
        except Exception as error:
            # A bundle is foreign matter: whatever it does to a loader is a reason to report.
            self._failed(model, error)
        except BaseException:
            model.state = "idle"
            raise
        else:
            model.state, model.reason, model.pause = "ready", None, FIRST_RETRY
        finally:
            model.flight = None
            model.urgent = False
            if not model.closed:
                self._changed()

    async def _bring_in(self, model: Residence) -> None:
        need = model.memory or model.prepared.estimate
        if self.budget and min(need, model.prepared.size) > self.budget:
            raise self._too_large(model.prepared.size)
        need = min(need, self.budget) if self.budget else need
        await self._make_room(model, need)
        try:
            runtime, seconds = await self._loader.load(model.uri, model.live.spec.bundle_digest, model.health)
            try:
                model.memory = model.memory_loaded = await self._checked(model, runtime)
            except BaseException:
                await runtime.close()
                raise
            model.loads += 1
            model.seconds = seconds
            if model.urgent:
                model.live.used = time.perf_counter_ns()
            model.live.batcher = Batcher(
                runtime,
                max_queued_rows=self._settings.max_queued_rows,
                max_batch_rows=self._settings.max_batch_rows,
                timeout=self._settings.request_timeout,
            )
        finally:
            self._reserved -= need
        await self._shrink(keep=model)

    async def _checked(self, model: Residence, runtime: Runtime) -> int:
        """What the loaded model takes in memory; raises BundleError when it cannot be used."""
        if runtime.columns != model.live.decoder.columns:
            raise BundleError("the loaded model's inputs are not those of its bundle")
        memory = await asyncio.to_thread(runtime.memory)
        if self.budget and memory > self.budget:
            raise self._too_large(memory)
        return memory

    async def _make_room(self, model: Residence, need: int) -> None:
        """Reserves memory, letting go of others if it must; in the order in which it was asked for."""
        if not self.budget:
            self._reserved += need
            return
        deadline = time.monotonic() + self._settings.cold_wait
        async with self._admission:
            while self.used + self._reserved + need > self.budget:
                victim = self._victim(model) if model.urgent else None
                if victim is not None:
                    await self._evict(victim)
                elif not model.urgent or time.monotonic() > deadline:
                    raise _NoRoomError
                else:
                    await asyncio.sleep(_LOOK_SECONDS)  # all are answering, or still being loaded
            self._reserved += need

    async def _shrink(self, keep: Residence | None = None) -> None:
        """Lets go of models while more memory is taken than there may be: an estimate was too low."""
        while self.budget and self.used > self.budget:
            victim = self._victim(keep)
            if victim is None:
                return  # the next look finds it
            await self._evict(victim)

    def _victim(self, keep: Residence | None) -> Residence | None:
        idle = [
            model
            for model in self._models
            if model is not keep
            and model.live.batcher is not None
            and not model.live.in_flight
            and model.live.batcher.idle
        ]
        return min(idle, key=lambda model: (model.watched, model.live.used), default=None)

    async def _evict(self, model: Residence) -> None:
        _log.info("letting go of %s for others: %d bytes", model.live.spec.revision_id, model.memory)
        model.evictions += 1
        model.state = "idle"
        await self._release(model)
        self._changed()

    async def _release(self, model: Residence) -> None:
        batcher, model.live.batcher = model.live.batcher, None
        if batcher is not None:
            await batcher.close()

    def _failed(self, model: Residence, error: Exception) -> None:
        expected = isinstance(error, BundleError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        name = model.live.spec.revision_id
        level = logging.WARNING if expected else logging.ERROR
        _log.log(level, "revision %s cannot be loaded: %s", name, reason, exc_info=not expected)
        model.failures += 1
        model.state, model.reason = "failed", reason[:2000]
        if isinstance(error, _TooLargeError):
            model.retry_at = time.monotonic() + _REFUSED_RETRY
            return  # until a snapshot brings another one
        model.retry_at = time.monotonic() + model.pause
        model.retry = asyncio.get_running_loop().call_later(model.pause, self._again, model)
        model.pause = min(model.pause * 2, LAST_RETRY)

    def _again(self, model: Residence) -> None:
        model.retry = None
        if not model.closed:
            model.urgent = True
            self._fly(model)

    def _refusal(self, model: Residence) -> Unavailable:
        wait = max(ceil(model.retry_at - time.monotonic()), 1)
        return Unavailable(f"the model could not be loaded: {model.reason}", retry_after=wait)

    def _too_large(self, memory: int) -> _TooLargeError:
        return _TooLargeError(
            f"memory: the model takes {memory} bytes, more than all models of a worker may: {self.budget}"
            " (memory_bytes)"
        )

    def _weigh(self) -> None:
        """Isolated models grow while they run: looks at them now and then."""
        task = asyncio.get_running_loop().create_task(self._weigh_all())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _weigh_all(self) -> None:
        for model in [m for m in self._models if m.prepared.manifest.runtime == "pyfunc"]:
            batcher = model.live.batcher
            if batcher is not None:
                with contextlib.suppress(OSError):
                    memory = await asyncio.to_thread(batcher.memory)
                    if memory and model.live.batcher is batcher:  # neither restarting nor gone meanwhile
                        model.memory = memory
                        if self._isolated_limit and memory > _RENEW_SHARE * self._isolated_limit:
                            batcher.renew()  # in good time: over the limit its callers would notice
        if not self._renew_grown():
            await self._shrink()
        if not self._stopped:
            self._weighing = asyncio.get_running_loop().call_later(_WEIGH_SECONDS, self._weigh)

    def _renew_grown(self) -> bool:
        """When there is too little room because a model has grown, that one is renewed and nobody else goes."""
        excess = self.used - self.budget
        if not self.budget or excess <= 0:
            return False
        model = max(self._models, key=lambda model: model.grown)
        batcher = model.live.batcher
        if batcher is None or model.grown < excess:
            return False
        batcher.renew()
        return True
