"""Bad payloads over V1, V2 and gRPC: a 4xx or the right answer, never a 5xx, and the worker does not mind.

`make fuzz-inference` sends many more of them and writes a report.
"""

import http.client
import itertools
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import grpc
import psutil
import pytest

from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb
from tests.inference.support.control import CALLER
from tests.inference.support.grpc_caller import GrpcCaller, values_of
from tests.inference.support.payloads import PROTOCOLS, Payload, Payloads

PAYLOADS = int(os.environ.get("FUZZ_PAYLOADS", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
REPORT = os.environ.get("FUZZ_REPORT")
REFUSALS = {400, 401, 403, 404, 413, 415, 422}
CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
GROWTH = 0.05
STILL_WARMING = 50_000
"""Fewer payloads than so many do not fill the allocator's pools; growth is then bounded by bytes."""


class Sender:
    """Sends payloads over one kept-alive connection of each kind, and judges the answers."""

    def __init__(self, port: int, grpc_port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._grpc = GrpcCaller(grpc_port)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.wrong: list[str] = []

    def close(self) -> None:
        self._http.close()
        self._grpc.close()

    def send(self, payload: Payload) -> None:
        answer, problem = self._over_grpc(payload) if payload.protocol == "gRPC" else self._over_http(payload)
        self.counts[payload.protocol, payload.kind, answer] += 1
        if problem:
            self.wrong.append(f"{problem}: {answer} to {payload!r}"[:3000])

    def _over_http(self, payload: Payload) -> tuple[str, str]:
        headers = {"authorization": f"Bearer {CALLER}", "content-type": "application/json"} | payload.headers
        path = payload.path.replace(" ", "%20")
        self._http.request("POST", path, payload.body, {k: v.encode() for k, v in headers.items()})
        response = self._http.getresponse()
        data = response.read()
        if response.status not in REFUSALS | {200}:
            return str(response.status), "an unplanned status"
        length = response.headers.get("inference-header-content-length")
        try:
            found = json.loads(data[: int(length)] if length else data, parse_constant=_refuse)
        except ValueError as error:
            return str(response.status), f"no strict JSON ({error})"
        if response.status != 200:
            good = set(found) == {"error"} and bool(found["error"])
            return str(response.status), "" if good else "an error of another form"
        if payload.amounts is None or "types" not in path or length:
            return "200", ""
        values = found["predictions"] if "predictions" in found else found["outputs"][0]["data"]
        return "200", "" if values == payload.amounts else "a wrong answer"

    def _over_grpc(self, payload: Payload) -> tuple[str, str]:
        try:
            answer, _ = self._grpc.send(payload.path, payload.body)
        except grpc.RpcError as error:
            return error.code().name, "" if error.code() in CODES else f"unplanned ({error.details()})"
        if payload.path == "ModelInfer":
            for output in pb.ModelInferResponse.FromString(answer).outputs:
                values_of(output)
        return "OK", ""


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _sent(payloads: Iterator[Payload], count: int, senders: list[Sender]) -> None:
    """Sends so many payloads, a chunk at a time by each sender at once."""
    with ThreadPoolExecutor(len(senders)) as pool:
        while count > 0:
            chunks = [list(itertools.islice(payloads, min(250, count))) for _ in senders]
            count -= sum(map(len, chunks))
            list(pool.map(lambda sender, chunk: [sender.send(p) for p in chunk], senders, chunks))


class TestBadPayloads:
    @pytest.mark.timeout(0 if REPORT else 180)
    def test_are_refused_or_answered_rightly_and_leave_the_worker_as_it_was(self, v2_server):
        (pid,) = v2_server.worker_pids()
        process = psutil.Process(pid)
        payloads = iter(Payloads(SEED))
        senders = [Sender(v2_server.port, v2_server.grpc_port) for _ in range(2)]
        started = time.monotonic()
        try:
            _sent(payloads, PAYLOADS // 5, senders)
            warm = process.memory_info().rss
            _sent(payloads, PAYLOADS - PAYLOADS // 5, senders)
        finally:
            for sender in senders:
                sender.close()
        seconds = time.monotonic() - started
        rss = process.memory_info().rss
        counts = sum((sender.counts for sender in senders), Counter())
        wrong = [line for sender in senders for line in sender.wrong]
        assert not wrong, f"{len(wrong)}, such as\n" + "\n".join(wrong[:5])
        assert counts.total() >= PAYLOADS
        assert {protocol for protocol, _, _ in counts} == set(PROTOCOLS)
        assert v2_server.worker_pids() == [pid]
        assert process.is_running()
        assert "Traceback" not in v2_server.log.read_text()
        assert not [revision for revision in v2_server.metrics(600).revisions if revision.errors]
        allowed = warm * GROWTH if PAYLOADS >= STILL_WARMING else 16e6
        assert rss - warm <= allowed, f"from {warm} to {rss} bytes"
        if REPORT:
            _write(Path(REPORT), counts, seconds, warm, rss)


def _write(path: Path, counts: Counter, seconds: float, warm: int, rss: int) -> None:
    total = counts.total()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "msgspec", "uvicorn"))
    growth = f"{warm / 1e6:.1f} MB after the first fifth, {rss / 1e6:.1f} MB at the end"
    lines = [
        "# Bad payloads to the inference server",
        "",
        f"Written by `make fuzz-inference` on {datetime.now(UTC):%Y-%m-%d}: {total:,} generated payloads, seed {SEED}.",
        "",
        "- Every answer is a planned refusal or a 200; none that can be checked is wrong; all JSON is strict.",
        "- The server's log has no traceback, and its one worker is the same process afterwards.",
        f"- The worker's resident memory: {growth} ({(rss / warm - 1) * 100:+.1f} %).",
        f"- {seconds:.0f} s, {total / seconds:,.0f} payloads/s by two callers; {machine}, {versions}.",
        "",
        "| protocol | spoiled | payloads | answers |",
        "| --- | --- | --- | --- |",
    ]
    for protocol in PROTOCOLS:
        for kind in sorted({k for p, k, _ in counts if p == protocol}):
            answers = {a: n for (p, k, a), n in counts.items() if (p, k) == (protocol, kind)}
            shown = ", ".join(f"{a}: {n:,}" for a, n in sorted(answers.items()))
            lines.append(f"| {protocol} | {kind} | {sum(answers.values()):,} | {shown} |")
    path.write_text("\n".join(lines) + "\n")
