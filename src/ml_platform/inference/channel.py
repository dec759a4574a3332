"""The pipe between the parent process and each of its workers: one JSON message a line.

The parent says that there is a new snapshot and answers questions that concern all workers; a worker
reports its state and its counts. Either side takes the end of the pipe as the other one's death.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from ml_platform.contracts.serving import WorkerStatus

MAX_LINE = 256 * 1024 * 1024
FLUSH_SECONDS = 60.0
"""The longest that a flush of the prediction log takes, all its parts included."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of the messages."""


class TrafficDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What a revision did since the last report; see `traffic.Tally`."""

    team: str
    environment: str
    endpoint: str
    revision_id: str
    model_name: str
    model_version: str
    requests: int
    predictions: int
    errors: int
    client_errors: int
    microseconds: int
    latencies: dict[int, int]
    compared: int = 0
    different: int = 0
    distance: float = 0.0
    skipped: int = 0
    fallbacks: dict[str, int] = {}


class HttpDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What the HTTP routes did since the last report; see `traffic.HttpTally`."""

    counts: list[tuple[str, str, int, int]]
    latencies: dict[str, dict[int, int]]
    microseconds: dict[str, int]


class Report(_Message, frozen=True, kw_only=True, tag="report"):
    """Worker to parent: its state, and its counts since the last report."""

    status: WorkerStatus
    traffic: list[TrafficDelta] = []
    http: HttpDelta | None = None


class Spans(_Message, frozen=True, kw_only=True, tag="spans"):
    """Worker to parent: traced requests, as JSON (a list of `traces.tracer.Traced`), and how many were dropped."""

    requests: msgspec.Raw = msgspec.Raw(b"[]")
    count: int = 0
    dropped: int = 0


class Ask(_Message, frozen=True, kw_only=True, tag="ask"):
    """Worker to parent: something that only the parent knows or can do.

    `what`: status, metrics, prometheus, flush.
    """

    number: int
    what: str
    window: float = 60.0


class Answer(_Message, frozen=True, kw_only=True, tag="answer"):
    """Parent to worker: the text that was asked for; with an `error`, why it could not be done."""

    number: int
    text: str = ""
    error: str | None = None


class Flush(_Message, frozen=True, kw_only=True, tag="flush"):
    """Parent to worker: write the prediction log so far, and let go of its segments."""

    number: int


class Flushed(_Message, frozen=True, kw_only=True, tag="flushed"):
    """Worker to parent: that is done, unless the disk took nothing and records still wait in memory."""

    number: int
    written: bool = True


class NewSnapshot(_Message, frozen=True, kw_only=True, tag="snapshot"):
    """Parent to worker: the snapshot on disk has changed."""

    version: int


Message = Report | Spans | Ask | Answer | NewSnapshot | Flush | Flushed

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


def write_message(writer: asyncio.StreamWriter, message: Message) -> None:
    """Queues a message; does nothing when the other side is gone, since the reader will see the end."""
    if not writer.is_closing():
        writer.write(_encode(message) + b"\n")


async def read_messages(reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    """Messages until the other side is gone."""
    while True:
        try:
            line = await reader.readline()
        except (ConnectionError, OSError):
            return
        if not line.endswith(b"\n"):
            return
        yield _decode(line)
