"""The program that tries a built bundle on the inference server itself, alone, and measures it there.

It starts the server on a free port of the loopback address with one worker and keys of its own, and asks it
as an application does. Whoever started this program ends the server with it. One request file in, one answer
file out.
"""

import hashlib
import http.client
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_MODEL = "model"
_CHUNK = 100
_POLL_SECONDS = 0.05


class Refused(Exception):  # noqa: N818 - it is an answer, not a failure
    """The bundle does not serve; the text says why."""


class Server:
    """The inference server, asked over one connection that is kept."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._state = Path(request["state"])
        self._state.mkdir(mode=0o700)
        self._caller, self._service = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._log = self._state / "server.log"
        keys = [
            _key(self._caller, "default", ["predict"]),
            _key(self._service, None, ["inference_internal", "read_metrics"]),
        ]
        (self._state / "keys.json").write_text(json.dumps(keys))
        arguments = {
            "port": 0,
            "workers": 1,
            "state-dir": self._state,
            "storage-roots": request["bundle"],
            "environments-dir": request["environments"],
            "model-dir": request["bundle"],
            "model-name": _MODEL,
            "keys-file": self._state / "keys.json",
            "request-timeout": request["answer_seconds"],
            "load": "eager",
            "pyfunc-memory-bytes": request["memory_bytes"],
            "pyfunc-nice": 0,
        }
        self._deadline = time.monotonic() + request["start_seconds"]
        program = [sys.executable, "-P", "-s", "-m", "ml_platform.inference.main"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*program, *(f"--{name}={value}" for name, value in arguments.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        address = self._address()
        self._connection = http.client.HTTPConnection(
            address["host"], address["port"], timeout=request["answer_seconds"] + 10
        )
        self._until_ready()

    def predict(self, rows: list[Any]) -> list[Any]:
        body = json.dumps({"instances": rows}, allow_nan=False)
        status, answer = self._ask("POST", f"/v1/models/{_MODEL}:predict", self._caller, body)
        if status != 200:
            raise Refused(f"it answered {status}: {json.dumps(answer)[:500]}")
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list) or len(predictions) != len(rows):
            raise Refused(f"{len(rows)} rows did not get {len(rows)} predictions")
        return predictions

    def memory(self) -> int:
        """What the model takes, by the server's own account, processes of its own included."""
        _, status = self._ask("GET", "/internal/status", self._service)
        return sum(int(r["memory_bytes"]) for worker in status["workers"] for r in worker["revisions"])

    def _address(self) -> dict[str, Any]:
        file = self._state / "address.json"
        while not file.is_file():  # it is put there whole
            self._wait("it does not start")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def _until_ready(self) -> None:
        while True:
            try:
                status, _ = self._ask("GET", f"/v1/models/{_MODEL}", self._caller)
            except (OSError, http.client.HTTPException, ValueError):
                self._connection.close()
                status = 0
            if status == 200:
                return
            self._failed()
            self._wait("it is not ready in time")

    def _failed(self) -> None:
        """Raises what the server says of a revision that it cannot load."""
        try:
            _, status = self._ask("GET", "/internal/status", self._service)
            found = [r for worker in status["workers"] for r in worker["revisions"]]
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            self._connection.close()
            return
        reasons = [str(r.get("reason") or r.get("error")) for r in found if r.get("state") == "failed"]
        if reasons:
            raise Refused(f"it does not load: {reasons[0][:1000]}")

    def _wait(self, problem: str) -> None:
        ended = self._process.poll()
        if ended is not None or time.monotonic() > self._deadline:
            said = self._log.read_text(errors="replace")[-1000:]
            raise Refused(f"{problem if ended is None else f'the server ended with {ended}'}: {said}")
        time.sleep(_POLL_SECONDS)

    def _ask(self, method: str, path: str, token: str, body: str | None = None) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read() or b"null", parse_constant=_no_number)


def trial(request: dict[str, Any]) -> dict[str, Any]:
    """Answers, times of single rows, memory, and the answers to rows that were moved a little."""
    rows = request["rows"]
    server = Server(request)
    answers = server.predict(rows)
    again = server.predict(rows)
    milliseconds: list[float] = []
    until = time.monotonic() + request["call_seconds"]
    while len(milliseconds) < request["calls"] and (len(milliseconds) < 3 or time.monotonic() < until):
        row = rows[len(milliseconds) % len(rows)]
        began = time.perf_counter()
        server.predict([row])
        milliseconds.append((time.perf_counter() - began) * 1000)
    pairs = _pairs(server, request)
    return {
        "answers": answers,
        "same": again == answers,
        "milliseconds": milliseconds,
        "pairs": pairs,
        "memory_bytes": server.memory(),
    }


def _pairs(server: Server, request: dict[str, Any]) -> list[list[Any]]:
    """For as many rows as the time allows, the answer and that to the moved row."""
    plain, moved = request["plain"], request["moved"]
    found: list[list[Any]] = []
    until = time.monotonic() + request["batch_seconds"]
    for start in range(0, len(plain), _CHUNK):
        if time.monotonic() > until:
            break
        one = server.predict(plain[start : start + _CHUNK])
        other = server.predict(moved[start : start + _CHUNK])
        found += [list(pair) for pair in zip(one, other, strict=True)]
    return found


def _key(token: str, team: str | None, permissions: list[str]) -> dict[str, Any]:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return {"key_id": digest[:8], "token_sha256": digest, "team": team, "permissions": permissions}


def _no_number(name: str) -> float:
    raise Refused(f"it answered {name}, which is no JSON")


def main(path: str) -> int:
    request = json.loads(Path(path).read_text())
    try:
        answer: dict[str, Any] = {"ok": True, **trial(request)}
    except Refused as error:
        answer = {"ok": False, "reason": str(error)}
    except Exception as error:
        answer = {"ok": False, "failed": True, "reason": f"{type(error).__name__}: {str(error)[:1000]}"}
    Path(request["answer"]).write_text(json.dumps(answer, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
