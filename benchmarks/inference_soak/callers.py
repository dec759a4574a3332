"""Callers of a soak: each asks at its own pace, never tries again, and looks at every answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from tests.inference.support.control import CALLER

from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb

TIMEOUT = 30
MODEL = "churn"


@dataclass
class Outcome:
    """What the callers of one kind saw."""

    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)


class Caller(Protocol):
    """One caller with its connection."""

    async def ask(self, number: float) -> str | None:
        """Asks for twice or thrice a number; says what was wrong with the answer, if anything was."""

    async def close(self) -> None: ...


class HttpCaller:
    """HTTP/1.1 by hand over one connection, or over a new one for each request."""

    def __init__(self, port: int, *, keep: bool, v2: bool = False) -> None:
        self._port = port
        self._keep = keep
        self._v2 = v2
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, number: float) -> str | None:
        try:
            if self._connection is None:
                self._connection = await asyncio.open_connection("127.0.0.1", self._port)
            status, body = await self._exchange(*self._connection, number)
        except (OSError, EOFError, asyncio.CancelledError):  # a time-out cancels
            await self.close()
            raise
        if not self._keep:
            await self.close()
        if status != "200":
            return f"status {status}: {body[:100]!r}"
        answer = json.loads(body)
        (prediction,) = answer["outputs"][0]["data"] if self._v2 else answer["predictions"]
        return _judged(prediction, number)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: float
    ) -> tuple[str, bytes]:
        if self._v2:
            path = f"/v2/models/{MODEL}/infer"
            tensor = {"name": "x0", "shape": [1], "datatype": "FP64", "data": [number]}
            body = json.dumps({"inputs": [tensor]}).encode()
        else:
            path, body = f"/v1/models/{MODEL}:predict", json.dumps({"instances": [[number]]}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {CALLER}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return answer.split(b" ", 2)[1].decode(), await reader.readexactly(length)


class GrpcCaller:
    """The stock client over a connection of its own; no retry policy, so it repeats what no worker began and nothing else."""

    def __init__(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._infer: Callable[..., Awaitable[Any]] = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

    async def ask(self, number: float) -> str | None:
        request = pb.ModelInferRequest(model_name=MODEL)
        request.inputs.add(name="x0", datatype="FP64", shape=[1]).contents.fp64_contents.append(number)
        metadata = (("authorization", f"Bearer {CALLER}"),)
        try:
            answer = await self._infer(request, metadata=metadata, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return f"{error.code()}: {error.details()}"
        contents = answer.outputs[0].contents
        (prediction,) = contents.fp64_contents or contents.fp32_contents
        return _judged(prediction, number)

    async def close(self) -> None:
        await self._channel.close()


def _judged(prediction: float, number: float) -> str | None:
    return None if prediction in (2 * number, 3 * number) else f"another's answer: {prediction!r}"


KINDS: dict[str, tuple[int, Callable[[int, int], Caller]]] = {
    "V1, connection kept": (6, lambda port, _: HttpCaller(port, keep=True)),
    "V1, connection made anew": (2, lambda port, _: HttpCaller(port, keep=False)),
    "V2 JSON, connection kept": (4, lambda port, _: HttpCaller(port, keep=True, v2=True)),
    "gRPC": (4, lambda _, port: GrpcCaller(port)),
}
"""How many callers there are of each kind, and how one is made from the ports of HTTP and of gRPC."""


async def load(ports: tuple[int, int], seconds: float, rate: float) -> dict[str, Outcome]:
    """`rate` requests a second from all callers together; 0: as many as are answered."""
    seen = {name: Outcome() for name in KINDS}
    pause = sum(count for count, _ in KINDS.values()) / rate if rate else 0.0
    until = time.perf_counter() + seconds
    await asyncio.gather(
        *(
            _ask_on(make(*ports), seen[name], until, pause)
            for name, (count, make) in KINDS.items()
            for _ in range(count)
        )
    )
    return seen


async def _ask_on(caller: Caller, outcome: Outcome, until: float, pause: float) -> None:
    due = time.perf_counter() + random.random() * pause
    while time.perf_counter() < until:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        due = max(due + pause, time.perf_counter() - 1)  # behind by a second at most: no storm after a gap
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT):
                wrong = await caller.ask(float(random.randrange(1_000_000)))
        except (OSError, EOFError) as error:  # a timeout is an OSError
            wrong = f"{type(error).__name__}: {error}"
        if wrong is None:
            outcome.answered += 1
            outcome.milliseconds.append((time.perf_counter() - begin) * 1e3)
        else:
            outcome.failures[wrong] += 1
    await caller.close()
