"""Logged requests as CloudEvents: each arrives at least once, whoever is killed, and never at a prediction's cost."""

import ipaddress
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ml_platform.inference.predictionlog.outbox import read_state
from ml_platform.inference.predictionlog.roll import roll
from ml_platform.inference.predictionlog.spool import Record, SegmentHeader, SegmentWriter

from .support.control import endpoint, revision, snapshot
from .support.events import Receiver
from .support.server import eventually

HEADER = SegmentHeader(
    team="acme",
    environment="production",
    endpoint="churn",
    deployment_id="dep-1",
    revision_id="rev-1",
    model_name="churn",
    model_version="3",
    columns=(("tenure", "long"), ("score", "double")),
)


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


class Emitter:
    """The sink's process over a spool of its own, to be killed and started again."""

    def __init__(self, folder: Path, receiver: Receiver, *options: str) -> None:
        self.spool, self.events, self.log = folder / "spool", folder / "events", folder / "log"
        for path in (self.spool, self.events):
            path.mkdir()
        self._command = [sys.executable, "-m", "ml_platform.inference.predictionlog.sink"]
        self._command += [
            "--spool",
            str(self.spool),
            "--events",
            str(self.events),
            "--url",
            receiver.url,
            *options,
        ]
        self._written = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> "Emitter":
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=os.environ | environment)
        return self

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()

    def stop(self) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(15)

    def write(self, count: int, *, close: bool = True, **changes) -> SegmentWriter:
        """A segment of requests `req-<n>`, in frames of ten, numbered on."""
        writer = SegmentWriter(self.spool, f"{time.time_ns():020d}-1-{self._written}")
        self.extend(writer, count, **changes)
        if close:
            writer.close()
        return writer

    def extend(self, writer: SegmentWriter, count: int, **changes) -> None:
        for first in range(self._written, self._written + count, 10):
            numbers = range(first, min(first + 10, self._written + count))
            writer.append(HEADER, [encoded(number, **changes) for number in numbers])
        self._written += count

    def roll(self, room: int = 1 << 30):
        return roll(self.spool, self.log, self.events, room)

    @property
    def state(self):
        return read_state(self.events)


def encoded(number: int, **changes) -> bytes:
    values = {
        "request_id": f"req-{number}",
        "time_us": time.time_ns() // 1000,
        "latency_us": 1500,
        "status": 200,
        "keys": None,
        "rows": ((number, float("nan")),),
        "predictions": [0.25],
        "error": None,
    } | changes
    return msgspec.msgpack.encode(Record(**values))


@pytest.fixture
def emit(tmp_path, receiver):
    made: list[Emitter] = []

    def make(*options: str) -> Emitter:
        emitter = Emitter(tmp_path, receiver, *options)
        made.append(emitter)
        return emitter

    yield make
    for emitter in made:
        if emitter._process is not None and emitter._process.poll() is None:
            emitter.kill()


def ids(count: int) -> set[str]:
    return {f"req-{number}" for number in range(count)}


def all_arrived(receiver: Receiver, count: int) -> bool:
    assert not receiver.faults, receiver.faults[0]
    return all(set(receiver.of_type(kind)) >= ids(count) for kind in ("request", "response"))


class TestTheServer:
    def test_emits_every_answered_request(self, control, make_server, churn, receiver):
        control.publish(snapshot(1, endpoint(revision(churn.bundle, model_version="9"))))
        server = make_server(events_url=receiver.url, workers=2, log_roll_seconds=600).start()
        server.has_applied(control.snapshot)
        answers = [server.predict(churn.instances(2), x_request_id=f"req-{i}").json() for i in range(20)]
        server.predict([{"tenure": "x"}])  # refused: it reached no model
        eventually(lambda: all_arrived(receiver, 20), "all events, before anything was rolled")
        asked, answered = receiver.of_type("request"), receiver.of_type("response")
        assert set(asked) == set(answered) == ids(20)
        request, response = asked["req-3"], answered["req-3"]
        assert request["data"] == {"instances": churn.instances(2)}
        assert response["data"] == answers[3]
        assert (response["status"], response["modelversion"]) == (200, "9")
        for event in (request, response):
            assert (event["namespace"], event["inferenceservicename"]) == ("acme", "churn")
            assert (event["endpoint"], event["revisionid"]) == ("production", "rev-1")
        assert request["source"] == "/acme/production/v1/models/churn/revisions/rev-1#request"
        assert len({(event["source"], event["id"]) for event in receiver.events}) == len(receiver.events)
        page = server.get("/metrics").text
        assert "prediction_events_sent_total 40" in page

    def test_emits_across_restarts_and_a_receiver_that_was_away(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        receiver = Receiver()
        port = receiver.port
        receiver.stop()
        server = make_server(events_url=receiver.url, log_roll_seconds=0.5).start()
        server.has_applied(control.snapshot)
        for i in range(10):
            assert server.predict([[1.0]], x_request_id=f"req-{i}").status_code == 200
        assert server.stop() == 0
        server.start()
        for i in range(10, 20):
            assert server.predict([[1.0]], x_request_id=f"req-{i}").status_code == 200
        time.sleep(1)  # what is younger may be lost when everything is killed
        children = psutil.Process(server.process.pid).children(recursive=True)
        server.kill()
        for child in children:
            child.kill()
        receiver = Receiver(port)
        server.start()
        eventually(lambda: all_arrived(receiver, 20), "all events")
        server.stop()
        receiver.stop()

    def test_answers_while_the_receiver_hangs_and_leaves_no_process_behind(
        self, control, make_server, one, receiver
    ):
        control.publish(snapshot(1, endpoint(revision(one))))
        receiver.answer = lambda _: time.sleep(3) or 204
        server = make_server(events_url=receiver.url).start()
        server.has_applied(control.snapshot)
        server.predict([[1.0]])
        eventually(lambda: _sinks(server), "the process that sends")
        time.sleep(0.5)
        began = time.monotonic()
        for _ in range(50):
            assert server.predict([[1.0]]).status_code == 200
        assert time.monotonic() - began < 50  # waiting for the receiver would take three seconds each
        [sink] = _sinks(server)
        server.kill()
        eventually(lambda: not sink.is_running(), "the end of the process that sends", seconds=20)

    def test_starts_the_process_again_that_sends(self, control, make_server, one, receiver):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(events_url=receiver.url).start()
        server.has_applied(control.snapshot)
        [sink] = eventually(lambda: _sinks(server), "the process that sends")
        sink.kill()
        for i in range(5):
            server.predict([[1.0]], x_request_id=f"req-{i}")
        eventually(lambda: all_arrived(receiver, 5), "all events")

    @pytest.mark.parametrize(
        ("option", "value", "says"),
        [
            ("events_url", "ftp://somewhere/", "is not an http(s) address"),
            ("events_url", "http://user:password@somewhere/", "give a token by events_token_file"),
            ("events_mode", "carrier", "expected one of batch, structured, binary"),
        ],
    )
    def test_does_not_start_with_settings_that_cannot_be(self, make_server, option, value, says):
        options = {"events_url": "http://127.0.0.1:9/", option: value}
        server = make_server(**options)
        ran = subprocess.run(
            [sys.executable, "-m", "ml_platform.inference.main", *server.arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        assert ran.returncode == 2
        assert says in ran.stderr


class TestDelivery:
    @pytest.mark.parametrize("mode", ["batch", "structured", "binary"])
    def test_is_valid_in_every_mode(self, emit, receiver, mode):
        emitter = emit("--mode", mode)
        emitter.write(20, request_id='caller\'s "id" 100%')
        emitter.write(25)
        emitter.write(1, status=500, predictions=None, error="the model raised ValueError")
        emitter.start()
        eventually(lambda: len(receiver.events) >= 2 * 46, "all events")
        assert not receiver.faults
        assert 'caller\'s "id" 100%' in receiver.of_type("request")
        assert receiver.of_type("request")["req-20"]["data"] == {"instances": [{"tenure": 20, "score": None}]}
        failed = receiver.of_type("response")["req-45"]
        assert (int(failed["status"]), failed["data"]) == (500, {"error": "the model raised ValueError"})
        assert receiver.posts < 10 if mode == "batch" else receiver.posts == 92
        assert emitter.stop() == 0

    def test_sends_the_token_of_its_file(self, emit, receiver, tmp_path):
        (tmp_path / "token").write_text("secret\n")
        emitter = emit("--token-file", str(tmp_path / "token"))
        emitter.write(1)
        emitter.start()
        eventually(lambda: all_arrived(receiver, 1), "all events")
        assert {headers["authorization"] for headers in receiver.headers} == {"Bearer secret"}

    def test_goes_over_tls_to_who_can_show_a_certificate_that_is_trusted(self, tmp_path):
        certificate = _self_signed(tmp_path)
        receiver = Receiver(certificate=certificate)
        emitter = Emitter(tmp_path, receiver)
        emitter.write(3)
        emitter.start()
        eventually(
            lambda: "CERTIFICATE_VERIFY_FAILED" in (emitter.state.error or ""), "the refusal of a stranger"
        )
        assert emitter.stop() == 0
        assert not receiver.events
        emitter.start(SSL_CERT_FILE=str(certificate))
        eventually(lambda: all_arrived(receiver, 3), "all events")
        emitter.kill()
        receiver.stop()

    def test_reads_what_is_still_being_written_and_what_was_rolled(self, emit, receiver):
        emitter = emit().start()
        writer = emitter.write(30, close=False)
        eventually(lambda: all_arrived(receiver, 30), "what is being written")
        emitter.extend(writer, 30)
        eventually(lambda: all_arrived(receiver, 60), "what was appended")
        writer.close()
        emitter.roll()
        emitter.write(30)
        emitter.roll()
        eventually(lambda: all_arrived(receiver, 90), "what was rolled")
        eventually(lambda: not list(emitter.events.glob("*.spool")), "the end of what has arrived")
        assert len(receiver.events) == 180
        eventually(lambda: emitter.state.places == {}, "that no place is remembered for ever")
        assert emitter.state.sent == 180

    @pytest.mark.parametrize("status", [500, 503, 429, 404, 401])
    def test_is_tried_again_until_it_works(self, emit, receiver, status):
        left = [3]

        def refuse(_) -> int:
            left[0] -= 1
            return status if left[0] >= 0 else 202

        receiver.answer = refuse
        receiver.retry_after = "0"
        emitter = emit()
        emitter.write(10)
        emitter.start()
        eventually(lambda: all_arrived(receiver, 10), "all events")
        assert emitter.state.failures == 3

    def test_gives_up_what_is_refused_for_good_and_nothing_else(self, emit, receiver):
        receiver.answer = lambda events: 400 if any(event["id"] == "req-7" for event in events) else 204
        emitter = emit()
        emitter.write(50)
        emitter.start()
        eventually(lambda: len(receiver.events) == 98, "all others")
        assert "req-7" not in receiver.of_type("request")
        eventually(lambda: (emitter.state.sent, emitter.state.rejected) == (98, 2), "the counts")

    def test_makes_smaller_batches_for_who_takes_no_larger_ones(self, emit, receiver):
        receiver.answer = lambda events: 413 if len(events) > 8 else 204
        emitter = emit()
        emitter.write(40)
        emitter.start()
        eventually(lambda: all_arrived(receiver, 40), "all events")
        assert len(receiver.events) == 80

    @pytest.mark.parametrize("mode", ["batch", "binary"])
    def test_is_at_least_once_when_the_sender_is_killed_at_any_moment(self, emit, receiver, mode):
        emitter = emit("--mode", mode, "--batch", "10")
        kills = 0
        for _ in range(6):
            emitter.write(200)
            emitter.roll()
            emitter.write(100, close=False).close()
            emitter.start()
            before = len(receiver.events)
            eventually(lambda before=before: len(receiver.events) > before + 60, "some events")
            emitter.kill()
            kills += 1
        emitter.start()
        eventually(lambda: all_arrived(receiver, 1_800), "all events")
        assert kills == 6
        assert len(receiver.events) < 3_600 + 6 * 200  # what is sent twice is what was under way

    def test_leaves_room_and_counts_what_it_drops_while_the_receiver_is_away(self, emit, receiver):
        emitter = emit()
        emitter.write(100)
        size = sum(path.stat().st_size for path in emitter.spool.iterdir())
        assert emitter.roll(room=2 * size).unsent == 0
        emitter.write(100)
        emitter.write(100)
        rolled = emitter.roll(room=2 * size + size // 2)
        assert (rolled.rows, rolled.unsent) == (200, 100)
        emitter.start()
        eventually(lambda: all_arrived(receiver, 200), "what there was room for")
        assert "req-250" not in receiver.of_type("request")

    def test_begins_anew_when_its_state_is_damaged(self, emit, receiver):
        emitter = emit()
        emitter.write(10)
        (emitter.events / "state.json").write_text("{")
        emitter.start()
        eventually(lambda: all_arrived(receiver, 10), "all events")


def _self_signed(folder: Path) -> Path:
    """A certificate of 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    return path


def _sinks(server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "ml_platform.inference.predictionlog.sink" in child.cmdline()]
