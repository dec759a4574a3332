"""Floor: an ASGI program by hand, with msgspec, ONNX Runtime and micro-batching, and nothing else."""

import asyncio

import msgspec
from graph import Graph

graph = Graph()
_customer = msgspec.defstruct("Customer", list(zip(graph.names, graph.types, strict=True)))
_decode = msgspec.json.Decoder(_customer).decode
_encode = msgspec.json.Encoder().encode
_waiting: list = []


def _run() -> None:
    global _waiting
    batch, _waiting = _waiting, []
    for (_, future), answer in zip(batch, graph.probabilities([row for row, _ in batch]), strict=True):
        future.set_result(answer)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    loop = asyncio.get_running_loop()
    if not _waiting:
        loop.call_soon(_run)
    future = loop.create_future()
    _waiting.append((msgspec.structs.astuple(_decode(body)), future))
    answer = _encode({"churn_probability": await future})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
