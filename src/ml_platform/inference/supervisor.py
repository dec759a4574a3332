"""The parent process: accepts connections, keeps the workers alive, follows the desired state, adds up.

It answers no request itself. It deals connections out to the workers and takes them back from one that is
lost (`handover`). Only one parent may use a state directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import msgspec

from ml_platform.contracts.serving import InferenceStatus, Snapshot, WorkerStatus, encode_snapshot
from ml_platform.inference.aggregate import TrafficAggregate
from ml_platform.inference.bundlestore import BundleStore
from ml_platform.inference.channel import (
    MAX_LINE,
    Answer,
    Ask,
    Flushed,
    Message,
    NewSnapshot,
    Report,
    Spans,
    read_messages,
    write_message,
)
from ml_platform.inference.handover.keeper import Keeper
from ml_platform.inference.modeldir import ModelDirectory
from ml_platform.inference.predictionlog.keeper import FlushError, LogKeeper
from ml_platform.inference.prometheus import render
from ml_platform.inference.puller import SnapshotPuller
from ml_platform.inference.settings import GRPC_OFF, WORKER_VARIABLE, Settings
from ml_platform.inference.snapshots import read_snapshot, write_atomically
from ml_platform.inference.traces.keeper import TraceKeeper

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 0.05
_LAST_PAUSE = 2.0
_HEALTHY_SECONDS = 3.0
_BIND_SECONDS = 5.0
_LAST_WORDS_SECONDS = 2.0


class StartError(Exception):
    """The server cannot start; the message says what to change."""


@dataclass(slots=True)
class _Member:
    """A worker process as the parent sees it."""

    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    status: WorkerStatus | None = None
    heard: float = 0.0


class Supervisor:
    """Runs the whole server until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._traffic = TrafficAggregate()
        self._members: dict[int, _Member] = {}
        self._stopping = asyncio.Event()
        self._started = datetime.now(UTC)
        self._received = -1
        self._contact_error: str | None = "not contacted yet"
        self._bundles = BundleStore(settings.bundle_cache, settings.roots, settings.buckets, settings.s3)
        self._log = LogKeeper(settings)
        self._traces = TraceKeeper(settings)
        self._flushes: set[asyncio.Task[None]] = set()
        self._directory: ModelDirectory | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stopping.set)
        self._settings.spool.mkdir(parents=True, exist_ok=True)
        with _exclusive(self._settings):
            puller = self._desired_state(loop)
            host, grpc = self._settings.host, None
            listener = await _bind(host, self._settings.port, "listen", "--port")
            if self._settings.grpc_port != GRPC_OFF:
                grpc = await _bind(host, self._settings.grpc_port, "serve gRPC", "--grpc-port")
                self._settings = replace(self._settings, grpc_port=grpc.getsockname()[1])  # what was free
            self._announce(listener)
            keeper = Keeper(listener, grpc)
            tasks = [asyncio.create_task(self._keep(n, keeper)) for n in range(self._settings.worker_count)]
            keeper.start()
            housekeeping = asyncio.create_task(self._keep_house())
            emitting = asyncio.create_task(self._log.emit())
            delivering = asyncio.create_task(self._log.deliver())
            tracing = asyncio.create_task(self._traces.run())
            watching = asyncio.create_task(self._watch_directory())
            if puller is not None:
                puller.start()
            await self._stopping.wait()
            if puller is not None:
                puller.stop()
            keeper.stop_accepting()
            await asyncio.gather(*tasks)
            keeper.close()
            for task in (housekeeping, emitting, delivering, tracing, watching):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            with contextlib.suppress(FlushError):  # the roller said why; the spool stays for the next start
                await self._log.close()

    def _desired_state(self, loop: asyncio.AbstractEventLoop) -> SnapshotPuller | None:
        settings = self._settings
        if settings.model_dir:
            self._directory = ModelDirectory(settings, self._bundles)
            snapshot = self._directory.first()
            write_atomically(settings.snapshot_file, encode_snapshot(snapshot))
            self._received, self._contact_error = snapshot.version, None
            return None
        if not settings.control_url:
            raise StartError("say what to serve: --control-url, or --model-dir to serve without one")
        try:
            stored = read_snapshot(settings.snapshot_file)
        except ValueError as error:
            _log.error("the stored snapshot is damaged and will be replaced: %s", error)
            stored = None
        self._received = stored.version if stored else -1

        def received(snapshot: Snapshot, data: bytes) -> None:
            write_atomically(settings.snapshot_file, data)
            loop.call_soon_threadsafe(self._spread, snapshot)

        def contact(error: str | None) -> None:
            self._contact_error = error

        return SnapshotPuller(
            settings.control_url, settings.token_file, settings.poll_wait, self._received, received, contact
        )

    def _spread(self, snapshot: Snapshot) -> None:
        self._received = snapshot.version
        for member in self._members.values():
            write_message(member.writer, NewSnapshot(version=snapshot.version))
        self._traffic.forget(
            {(e.team, e.environment, e.name, r.revision_id) for e in snapshot.endpoints for r in e.revisions}
        )

    def _announce(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        address = {"host": host, "port": port, "pid": os.getpid(), "grpc_port": self._settings.grpc_port}
        write_atomically(self._settings.state / "address.json", msgspec.json.encode(address))
        _log.info("listening on http://%s:%d with %d workers", host, port, self._settings.worker_count)

    async def _keep(self, number: int, keeper: Keeper) -> None:
        """Keeps one worker alive; one that dies young is started again with growing pauses."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                code = await self._run_worker(number, keeper)
            except OSError as error:  # no memory, no descriptors: that may pass
                _log.error("worker %d cannot be started: %s", number, error)
                code = -1
            except Exception:  # whatever it was, without its worker the server is less or nothing
                _log.exception("worker %d cannot be looked after", number)
                code = -1
            if self._stopping.is_set():
                return
            lived = time.monotonic() - started
            pause = _FIRST_PAUSE if lived > _HEALTHY_SECONDS else min(pause * 2, _LAST_PAUSE)
            _log.error("worker %d ended with %d after %.1f s; starting it again", number, code, lived)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_worker(self, number: int, keeper: Keeper) -> int:
        ours, theirs = socket.socketpair()
        seat = keeper.seat()
        descriptors = (theirs.fileno(), *seat.descriptors())
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ml_platform.inference.worker",
                *map(str, (number, *descriptors)),
                pass_fds=descriptors,
                env=os.environ | {WORKER_VARIABLE: self._settings.to_json()},
            )
        except BaseException:
            ours.close()
            keeper.vacate(seat, save=False)
            raise
        finally:
            theirs.close()
            keeper.started(seat)
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
        member = self._members[number] = _Member(process, writer)
        hearing = asyncio.create_task(self._hear(member, reader))
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not (ended.done() or stopping.done()):
                await asyncio.wait({ended, stopping}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                self._watch(number, member)
            if not ended.done():
                keeper.retire(seat)
                await self._stop(process, ended)
        finally:
            keeper.vacate(seat, save=not self._stopping.is_set())
            stopping.cancel()
            await asyncio.wait({hearing}, timeout=_LAST_WORDS_SECONDS)
            hearing.cancel()
            writer.close()
            del self._members[number]
        return ended.result()

    def _watch(self, number: int, member: _Member) -> None:
        """Kills a worker that reports no more: it hangs, and others can answer what it holds."""
        silent = time.monotonic() - member.heard
        if member.heard and silent > self._settings.worker_silence:
            _log.error("worker %d has not been heard of for %.0f s; it is killed", number, silent)
            member.heard = 0.0
            with contextlib.suppress(ProcessLookupError):
                member.process.kill()

    async def _stop(self, process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait({ended}, timeout=self._settings.drain_seconds + 5)
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await ended

    async def _hear(self, member: _Member, reader: asyncio.StreamReader) -> None:
        try:
            async for message in read_messages(reader):
                self._heard(member, message)
        except (msgspec.MsgspecError, ValueError) as error:
            _log.error(
                "worker process %d said what is no message; it is killed: %s", member.process.pid, error
            )
            with contextlib.suppress(ProcessLookupError):
                member.process.kill()

    def _heard(self, member: _Member, message: Message) -> None:
        if isinstance(message, Report):
            member.status, member.heard = message.status, time.monotonic()
            self._log.dropped(message.status.pid, message.status.predictions_dropped)
            self._traffic.add(message.traffic, message.http)
            self._traffic.note(message.status)
        elif isinstance(message, Spans):
            self._traces.take(message)
        elif isinstance(message, Flushed):
            self._log.flushed(message)
        elif isinstance(message, Ask) and message.what == "flush":
            task = asyncio.create_task(self._flush(member, message))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)
        elif isinstance(message, Ask):
            write_message(member.writer, Answer(number=message.number, text=self._text(message)))

    async def _flush(self, member: _Member, question: Ask) -> None:
        try:
            await self._log.flush([other.writer for other in self._members.values()])
        except (FlushError, OSError) as error:
            answer = Answer(number=question.number, error=str(error))
        else:
            answer = Answer(number=question.number, text='{"flushed":true}')
        write_message(member.writer, answer)

    def _text(self, question: Ask) -> str:
        if question.what == "prometheus":
            return render(self._traffic, self._status(), self._log.metrics(), self._traces.counts)
        if question.what == "metrics":
            return msgspec.json.encode(self._traffic.metrics(question.window)).decode()
        return msgspec.json.encode(self._status()).decode()

    def _status(self) -> InferenceStatus:
        known = tuple(m.status for m in self._members.values() if m.status is not None)
        expected = self._settings.worker_count
        # A worker that is just starting has applied nothing yet.
        versions = [status.snapshot_version for status in known] + [-1] * (expected - len(known))
        return InferenceStatus(
            snapshot_version=min(versions),
            received_version=self._received,
            control_plane_connected=self._contact_error is None,
            control_plane_error=self._contact_error,
            started_at=self._started,
            workers_expected=expected,
            workers=known,
            problems=self._directory.problems if self._directory is not None else (),
        )

    async def _watch_directory(self) -> None:
        """Takes up what is added to, replaced in or removed from `model_dir`."""
        while self._directory is not None and self._settings.model_dir_poll > 0:
            await asyncio.sleep(self._settings.model_dir_poll)
            try:
                snapshot = await asyncio.to_thread(self._directory.look, self._status())
                if snapshot is not None:
                    write_atomically(self._settings.snapshot_file, encode_snapshot(snapshot))
                    self._spread(snapshot)
            except (OSError, ValueError) as error:
                _log.error("model_dir: %s", error)

    async def _keep_house(self) -> None:
        """Rolls and prunes the prediction log and clears the bundle cache, now and then."""
        pause = min(max(self._settings.log_roll_seconds / 4, 0.25), 5.0)
        while True:
            for duty in (self._log.keep, partial(asyncio.to_thread, self._sweep_bundles)):
                try:
                    await duty()
                except (OSError, ValueError, FlushError) as error:
                    _log.error("housekeeping: %s", error)
            await asyncio.sleep(pause)

    def _sweep_bundles(self) -> None:
        snapshot = read_snapshot(self._settings.snapshot_file)
        if snapshot is not None:
            self._bundles.sweep({r.bundle_digest for e in snapshot.endpoints for r in e.revisions})


@contextlib.contextmanager
def _exclusive(settings: Settings) -> Iterator[None]:
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"another inference server uses {settings.state}") from None
        yield


async def _bind(host: str, port: int, what: str, option: str) -> socket.socket:
    """A listening socket; workers that outlived another parent get a moment to let go of the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones have it from here
            listener.listen(2048)
        except (OSError, OverflowError) as error:
            listener.close()
            if time.monotonic() > deadline or isinstance(error, OverflowError):
                reason = error.strerror if isinstance(error, OSError) else "there is no such port"
                raise StartError(
                    f"cannot {what} on {host}:{port}: {reason}; choose another {option}"
                ) from error
            await asyncio.sleep(0.1)
        else:
            listener.setblocking(False)
            return listener
