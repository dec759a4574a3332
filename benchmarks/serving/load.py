"""Closed-loop load from a generator far cheaper than the servers: wrk where it is installed, else ours.

gRPC needs h2load (Debian: nghttp2-client), wrk is Debian's package of that name.
"""

import json
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
WRK = shutil.which("wrk")
H2LOAD = shutil.which("h2load")


def generator_name(own: bool = False) -> str:
    if own or WRK is None:
        return "generator.py (uvloop, httptools)"
    shown = subprocess.run([WRK, "-v"], check=False, capture_output=True, text=True)  # it exits with 1
    return shown.stdout.split("Copyright")[0].strip()


def write_requests(path: Path, requests: Iterable[bytes]) -> None:
    path.write_bytes(b"".join(struct.pack(">I", len(one)) + one for one in requests))


def http_load(port: int, requests: Path, connections: int, seconds: float, *, own: bool = False) -> dict:
    """Requests, percentiles in ms, failures, and the generator's own CPU seconds."""
    if own or WRK is None:
        command = [sys.executable, HERE / "generator.py", port, requests, connections, seconds]
    else:
        command = [
            WRK, "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "20s",
            "-s", HERE / "wrk.lua", f"http://127.0.0.1:{port}/", "--", requests,
        ]  # fmt: skip
    output, cpu = _run([str(part) for part in command], seconds)
    line = output.splitlines()[-1].removeprefix("RESULT ")
    return _with_rates(json.loads(line), cpu)


def grpc_load(port: int, path: str, message: Path, headers: dict, connections: int, seconds: float) -> dict:
    """The same for one unary gRPC method; `message` holds one request with its five bytes in front."""
    assert H2LOAD is not None
    with tempfile.NamedTemporaryFile() as log:
        command = [
            H2LOAD, "-t1", f"-c{connections}", "-m1", "-D", f"{max(round(seconds), 1)}",
            "--log-file", log.name, "-d", str(message), "-H", "content-type: application/grpc",
            "-H", "te: trailers", *(f"-H{name}: {value}" for name, value in headers.items()),
            f"http://127.0.0.1:{port}{path}",
        ]  # fmt: skip
        output, cpu = _run(command, seconds)
        rows = [line.split() for line in log.read().decode().splitlines()]
    taken = sorted(int(row[2]) / 1000 for row in rows) or [0.0]
    refused = sum(row[1] != "200" for row in rows)
    result = {
        "requests": len(rows), "seconds": float(max(round(seconds), 1)), "failed": refused,
        **{f"p{share}": taken[min(len(taken) * share // 100, len(taken) - 1)] for share in (50, 95, 99)},
        "max": taken[-1],
    }  # fmt: skip
    if "failed" in output and f"{refused} failed" not in output and "0 failed" not in output:
        result["failed"] = max(result["failed"], 1)
    return _with_rates(result, cpu)


def _run(command: list[str], seconds: float) -> tuple[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _with_rates(result: dict, cpu: float) -> dict:
    return {
        **result,
        "per_second": result["requests"] / result["seconds"],
        "generator_cpu_ms": cpu * 1000 / max(result["requests"], 1),
    }


def grpc_call(port: int, path: str, message: bytes, headers: dict[str, str]) -> bytes:
    """One call by the stock client; raises RuntimeError with the status when it is refused."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return channel.unary_unary(path)(message, metadata=tuple(headers.items()), timeout=60)
        except grpc.RpcError as error:
            raise RuntimeError(f"{error.code().name}: {error.details()}") from error
