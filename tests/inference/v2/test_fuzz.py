"""Bad payloads over V1, V2, gRPC and MLflow scoring, params among them: a 4xx or the right answer, never a 5xx, and the worker does not mind.

`make fuzz-inference` sends many more of them and writes a report.
"""

import http.client
import itertools
import json
import os
import platform
import sys
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
from tests.inference.support.control import CALLER, ControlPlane, endpoint, revision, snapshot
from tests.inference.support.grpc_caller import GrpcCaller, values_of
from tests.inference.support.params import build_told
from tests.inference.support.payloads import PARAMS_MODEL, PROTOCOLS, Payload, Payloads
from tests.inference.support.server import Server, eventually

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
    """Sends payloads over one kept-alive connection of each kind, and judges the answers.

    Those for the model with params go to a server of their own, in which that is the only one.
    """

    def __init__(self, server: Server, params: Server) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._grpc = GrpcCaller(server.grpc_port)
        self._params_http = http.client.HTTPConnection("127.0.0.1", params.port, timeout=30)
        self._params_grpc = GrpcCaller(params.grpc_port)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.wrong: list[str] = []

    def close(self) -> None:
        for connection in (self._http, self._grpc, self._params_http, self._params_grpc):
            connection.close()

    def send(self, payload: Payload) -> None:
        answer, problem = self._over_grpc(payload) if payload.protocol == "gRPC" else self._over_http(payload)
        self.counts[payload.protocol, payload.kind, answer] += 1
        if problem:
            self.wrong.append(f"{problem}: {answer} to {payload!r}"[:3000])

    def _over_http(self, payload: Payload) -> tuple[str, str]:
        headers = {"authorization": f"Bearer {CALLER}", "content-type": "application/json"} | payload.headers
        path = payload.path.replace(" ", "%20")
        connection = self._params_http if payload.kind == "params" else self._http
        connection.request("POST", path, payload.body, {k: v.encode() for k, v in headers.items()})
        response = connection.getresponse()
        data = response.read()
        if response.status not in REFUSALS | {200}:
            return str(response.status), "an unplanned status"
        length = response.headers.get("inference-header-content-length")
        try:
            found = json.loads(data[: int(length)] if length else data, parse_constant=_refuse)
        except ValueError as error:
            return str(response.status), f"no strict JSON ({error})"
        if response.status != 200:
            fields = {"error_code", "message"} if payload.protocol == "MLflow" else {"error"}
            good = set(found) == fields and all(found.values())
            return str(response.status), "" if good else "an error of another form"
        model = headers.get("mlops-model", path)
        if payload.amounts is None or "types" not in model or length:
            return "200", ""
        values = found["predictions"] if "predictions" in found else found["outputs"][0]["data"]
        return "200", "" if values == payload.amounts else "a wrong answer"

    def _over_grpc(self, payload: Payload) -> tuple[str, str]:
        try:
            caller = self._params_grpc if payload.kind == "params" else self._grpc
            answer, _ = caller.send(payload.path, payload.body)
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


@pytest.fixture(scope="module")
def params_server(tmp_path_factory, storage: Path) -> Iterator[Server]:
    control = ControlPlane()
    control.publish(
        snapshot(1, endpoint(revision(build_told(storage / "fuzzed"), "rev-told"), name=PARAMS_MODEL))
    )
    home = tmp_path_factory.mktemp("fuzzed")
    server = Server(
        home,
        control,
        storage,
        max_body_bytes=200_000,
        max_rows=500,
        grpc_port=0,
        pyfunc_python=sys.executable,
    ).start()
    try:
        eventually(lambda: server.predict([[1.0]], PARAMS_MODEL).status_code == 200, "the model", 120)
        yield server
    finally:
        server.close()
        control.stop()


class TestBadPayloads:
    @pytest.mark.timeout(0 if REPORT else 180)
    def test_are_refused_or_answered_rightly_and_leave_the_worker_as_it_was(self, v2_server, params_server):
        servers = (v2_server, params_server)
        pids = [server.worker_pids() for server in servers]
        ((pid,), _) = pids
        process = psutil.Process(pid)
        payloads = iter(Payloads(SEED))
        senders = [Sender(v2_server, params_server) for _ in range(2)]
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
        assert [server.worker_pids() for server in servers] == pids
        assert process.is_running()
        for server in servers:
            assert "Traceback" not in server.log.read_text()
            assert not [revision for revision in server.metrics(600).revisions if revision.errors]
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
        "- No server's log has a traceback, and each one's worker is the same process afterwards.",
        "- `params` go to a model of MLflow's in a process of its own, which never failed.",
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
