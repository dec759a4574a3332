"""A worker process: one event loop that takes connections from the parent and answers predictions.

Started by the parent (`supervisor`) with four arguments: its number, and the descriptors of its pipe to the
parent, of the pair by which connections come, and of its journal (`handover`). It ends when the parent asks
it to, or is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, cast

import msgspec
import uvicorn
import uvloop

from ml_platform.contracts.serving import SnapshotError, WorkerStatus
from ml_platform.inference.app import InferenceApp
from ml_platform.inference.bundlestore import BundleStore
from ml_platform.inference.channel import (
    FLUSH_SECONDS,
    MAX_LINE,
    Answer,
    Ask,
    Flush,
    Flushed,
    HttpDelta,
    NewSnapshot,
    Report,
    Spans,
    TrafficDelta,
    read_messages,
    write_message,
)
from ml_platform.inference.dataplane import DataPlane
from ml_platform.inference.errors import Unavailable
from ml_platform.inference.features import open_online_features
from ml_platform.inference.handover.connection import AnsweringProtocol, Connections
from ml_platform.inference.limits import Limits
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.predictionlog.writer import PredictionLog
from ml_platform.inference.protocols.grpc.server import GrpcServer
from ml_platform.inference.revisions import RevisionManager
from ml_platform.inference.runtimes.loading import RuntimeLoader
from ml_platform.inference.settings import GRPC_OFF, WORKER_VARIABLE, Settings
from ml_platform.inference.snapshots import read_snapshot
from ml_platform.inference.traces.tracer import Traced, Tracer
from ml_platform.inference.traffic import HttpTally, Tally

_log = logging.getLogger(__name__)
_REPORT_SECONDS = 0.5
_ASK_SECONDS = 5.0
_MOST_TRACES_BYTES = 4 * 1024 * 1024
_DOING_SECONDS = {"flush": FLUSH_SECONDS}


class Worker:
    """Wires the parts of one process and runs them until it is told to stop."""

    def __init__(
        self, settings: Settings, number: int, pipe: socket.socket, end: socket.socket, journal: int
    ) -> None:
        self._settings = settings
        self._number = number
        self._end = end
        self._journal = journal
        self._pipe = pipe
        self._log = PredictionLog(
            settings.spool,
            roll_seconds=settings.log_roll_seconds,
            roll_bytes=settings.log_roll_bytes,
            spool_bytes=settings.log_spool_bytes,
            buffer_bytes=settings.log_buffer_bytes,
            free_bytes=settings.log_free_bytes,
            outgoing=settings.prediction_log if settings.log_bucket else None,
        )
        loader = RuntimeLoader(
            settings, BundleStore(settings.bundle_cache, settings.roots, settings.buckets, settings.s3)
        )
        open_features = partial(open_online_features, redis=settings.online_store())
        self._revisions = RevisionManager(settings, loader, self._log, open_features, self._report_soon)
        limits = Limits(settings.state / "limits.cells", number, settings.worker_count)
        self._tracer = Tracer(settings, self._ship_traces) if settings.traces_endpoint else None
        self._plane = DataPlane(settings, self._revisions, limits, self._tracer)
        self._numbers = count(1)
        self._questions: dict[int, asyncio.Future[str]] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        reader, self._writer = await asyncio.open_connection(sock=self._pipe, limit=MAX_LINE)
        self._log.start()
        self._apply_stored()
        listening = asyncio.create_task(self._listen(reader))
        reporting = asyncio.create_task(self._report_always())
        loading = asyncio.create_task(self._revisions.settled(self._settings.load_wait))
        await asyncio.wait({loading, listening}, return_when=asyncio.FIRST_COMPLETED)
        grpc = self._grpc()
        _freeze_garbage()
        server = _Server(self._uvicorn_config())
        connections = Connections(self._end, self._journal, server.protocol, grpc)
        server.begun = connections.start
        serving = asyncio.create_task(server.serve(sockets=[]))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({serving, listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        connections.stop()
        server.should_exit = True  # asked to by the parent, or it is gone
        if grpc is not None:
            await grpc.stop(self._settings.drain_seconds)
        await serving
        for task in (reporting, stopping):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._plane.close()
        await self._revisions.close()
        self._log.close()
        self._report()
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def ask(self, what: str, window: float = 60.0) -> str:
        """Asks the parent; raises Unavailable when it does not answer, or could not do it."""
        number = next(self._numbers)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._questions[number] = future
        try:
            self._report()  # what is asked for then includes what this worker has just done
            write_message(self._writer, Ask(number=number, what=what, window=window))
            return await asyncio.wait_for(future, _DOING_SECONDS.get(what, _ASK_SECONDS))
        except TimeoutError:
            raise Unavailable("the parent process does not answer") from None
        finally:
            del self._questions[number]

    def _grpc(self) -> GrpcServer | None:
        """The messages' library is imported only where gRPC is served: it costs memory."""
        if self._settings.grpc_port == GRPC_OFF:
            return None
        from ml_platform.inference.protocols.v2.grpc_service import OpenInference

        return GrpcServer(self._settings, OpenInference(self._plane).methods())

    def _uvicorn_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            cast("Any", InferenceApp(self._plane, self)),  # raw ASGI, looser than uvicorn's own types
            loop="uvloop",
            http=AnsweringProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # the one route that asks whence a call comes looks for them itself
            limit_concurrency=self._settings.max_connections,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(self._settings.drain_seconds) or 1,
        )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for message in read_messages(reader):
            if isinstance(message, NewSnapshot):
                self._apply_stored()
            elif isinstance(message, Answer):
                future = self._questions.get(message.number)
                if future is None or future.done():
                    continue
                if message.error is None:
                    future.set_result(message.text)
                else:
                    future.set_exception(Unavailable(message.error, retry_after=2))
            elif isinstance(message, Flush):
                self._flush_log(message.number)

    def _flush_log(self, number: int) -> None:
        loop = asyncio.get_running_loop()

        def done(written: bool) -> None:  # on the log's own thread
            answer = Flushed(number=number, written=written)
            loop.call_soon_threadsafe(write_message, self._writer, answer)

        self._log.flush(done)

    def _apply_stored(self) -> None:
        try:
            snapshot = read_snapshot(self._settings.snapshot_file)
        except (OSError, SnapshotError) as error:
            _log.error("the stored snapshot cannot be used: %s", error)
            return
        if snapshot is not None and snapshot.version != self._revisions.version:
            self._revisions.apply(snapshot)

    def _report_soon(self) -> None:
        self._changed.set()

    async def _report_always(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _REPORT_SECONDS)
            self._changed.clear()
            self._report()

    def _report(self) -> None:
        status = WorkerStatus(
            worker=self._number,
            pid=os.getpid(),
            snapshot_version=self._revisions.version,
            revisions=self._revisions.status(),
            predictions_dropped=self._log.dropped,
            memory_limit_bytes=self._revisions.residency.budget,
        )
        traffic = [_delta(live) for live in self._revisions.live if live.tally.requests or live.tally.skipped]
        write_message(self._writer, Report(status=status, traffic=traffic, http=self._http_delta()))
        if self._tracer is not None:
            self._tracer.ship()

    def _ship_traces(self, requests: list[Traced]) -> None:
        if self._writer.transport.get_write_buffer_size() > _MOST_TRACES_BYTES:
            write_message(self._writer, Spans(dropped=len(requests)))
            return
        encoded = msgspec.Raw(msgspec.json.encode(requests))
        write_message(self._writer, Spans(requests=encoded, count=len(requests)))

    def _http_delta(self) -> HttpDelta | None:
        tally, self._plane.http = self._plane.http, HttpTally()
        if not tally.counts:
            return None
        return HttpDelta(
            counts=[(*key, number) for key, number in tally.counts.items()],
            latencies=tally.latencies,
            microseconds=tally.microseconds,
        )


class _Server(uvicorn.Server):
    """uvicorn's server without its handling of signals, after which nothing could be closed in order."""

    begun: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.begun is not None:
            self.begun()

    def protocol(self) -> AnsweringProtocol:
        """For a new connection, once the server has started."""
        return AnsweringProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def _log_started_message(self, listeners: object) -> None:
        """Nothing: the parent has said where the server listens."""


def _delta(live: LiveRevision) -> TrafficDelta:
    tally, live.tally = live.tally, Tally()
    return TrafficDelta(
        team=live.endpoint.team,
        environment=live.endpoint.environment,
        endpoint=live.endpoint.name,
        revision_id=live.spec.revision_id,
        model_name=live.spec.model_name,
        model_version=live.spec.model_version,
        requests=tally.requests,
        predictions=tally.predictions,
        errors=tally.errors,
        client_errors=tally.client_errors,
        microseconds=tally.microseconds,
        latencies=tally.latencies,
        compared=tally.compared,
        different=tally.different,
        distance=tally.distance,
        skipped=tally.skipped,
        fallbacks=live.lookups.take_fallbacks() if live.lookups is not None else {},
    )


def _freeze_garbage() -> None:
    """Modules and models live for ever: collections that visit them would only lengthen the tail."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def main() -> None:
    number, pipe, end, journal = (int(argument) for argument in sys.argv[1:5])
    settings = Settings.from_json(os.environ.pop(WORKER_VARIABLE))
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format=f"%(asctime)s worker {number} %(levelname)s %(message)s"
    )
    for descriptor in (pipe, end, journal):  # no process of a model's, or of an explanation, may have them
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent sends SIGTERM
    uvloop.run(_run(settings, number, socket.socket(fileno=pipe), socket.socket(fileno=end), journal))


async def _run(
    settings: Settings, number: int, pipe: socket.socket, end: socket.socket, journal: int
) -> None:
    await Worker(settings, number, pipe, end, journal).run()


if __name__ == "__main__":
    main()
