"""Processes that live and say nothing are noticed, ended and started again; slow ones are left alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from ml_platform.server.local.layout import Layout
from ml_platform.server.local.supervisor import Supervisor
from ml_platform.server.local.watch import Silence, Watch, answers
from ml_platform.server.settings import Settings
from tests.e2e.conftest import fresh_environment, mlops
from tests.support.crash import eventually

DUE = 0.05
SERVER = """
import http.server, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        behind = "authorization" in self.headers
        self.send_response(503 if behind or self.path == "/busy" else 200)
        self.send_header("content-type", "application/json" if behind else "text/plain")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def server() -> Iterator["subprocess.Popen[str]"]:
    """A process that answers, until it is stopped."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def url(server: "subprocess.Popen[str]") -> str:
    return f"http://127.0.0.1:{int(server.stdout.readline())}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An installation that loses patience soon."""
    environment = fresh_environment(tmp_path_factory.mktemp("user")) | {
        "MLOPS_API__HANG_SECONDS": "5",
        "MLOPS_INFERENCE__HANG_SECONDS": "5",
    }
    done = mlops(environment, "up")
    try:
        assert done.returncode == 0, done.stderr
        yield environment
    finally:
        mlops(environment, "down")


class TestSilence:
    def told(self, limit: float = 10) -> Silence:
        silence = Silence(limit)
        silence.heard()
        return silence

    def test_it_is_over_when_it_was_long_enough_and_asked_often_enough(self) -> None:
        silence = self.told()
        silence.passes(0.2, due=0.2)
        for _ in range(60):
            silence.passes(0.2, due=0.2)
        assert not silence.over  # nobody asked
        silence.missed()
        assert not silence.over
        silence.missed()
        assert silence.over

    def test_an_answer_begins_it_anew(self) -> None:
        silence = self.told()
        for _ in range(100):
            silence.missed()
            silence.passes(0.2, due=0.2)
        assert silence.over
        silence.heard()
        assert (silence.over, silence.seconds) == (False, 0)

    def test_the_time_in_which_the_listener_slept_does_not_count(self) -> None:
        silence = self.told()
        for _ in range(100):
            silence.missed()
            silence.passes(30, due=0.2)
        assert (silence.over, silence.seconds) == (False, 0)

    def test_who_has_never_answered_is_still_starting(self) -> None:
        silence = Silence(10)
        for _ in range(100):
            silence.missed()
            silence.passes(0.2, due=0.2)
        assert not silence.over

    def test_without_a_limit_it_may_last(self) -> None:
        silence = self.told(0)
        for _ in range(1000):
            silence.missed()
            silence.passes(0.2, due=0.2)
        assert not silence.over


class TestAnswers:
    def test_a_refusal_is_an_answer_too(self, url: str) -> None:
        assert answers(url, "/health/live", timeout=5)
        assert answers(url, "/busy", timeout=5)

    def test_a_worker_that_says_that_its_parent_is_silent_is_none(self, url: str) -> None:
        assert not answers(url, "/internal/status", token="t", timeout=5)

    def test_a_stopped_process_and_nobody_give_none(self, server: "subprocess.Popen[str]", url: str) -> None:
        server.send_signal(signal.SIGSTOP)
        assert not answers(url, timeout=0.2)
        server.kill()
        server.wait(10)
        assert not answers(url, timeout=0.2)


class TestWatch:
    def test_a_process_that_is_stopped_is_told_once_and_one_that_answers_never(
        self, server: "subprocess.Popen[str]", url: str
    ) -> None:
        heard = []

        def probe(timeout: float) -> bool:
            heard.append(answers(url, timeout=timeout))
            return heard[-1]

        watch = Watch("test", probe, 1.0)
        watch.start()
        look = partial(watch.look, server.pid, DUE, due=DUE)
        try:
            assert eventually(lambda: look() is None and len(heard) > 5, what="answers")
            server.send_signal(signal.SIGSTOP)
            silent = eventually(look, what="a silence that is too long")
            assert silent >= 1.0
            assert look() is None
        finally:
            watch.stop()

    def test_another_process_begins_with_nothing_against_it(self) -> None:
        watch = Watch("test", lambda _: False, 0.4)
        watch._pid = 1
        watch._silence.heard()
        for _ in range(10):
            watch._silence.missed()
            watch._silence.passes(0.2, due=0.2)
        assert watch.look(2, 0.2, due=0.2) is None


class TestSupervisor:
    def test_a_worker_that_hangs_does_not_outlive_its_main_process(self, tmp_path: Path) -> None:
        program = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as main:
            worker = psutil.Process(int(main.stdout.readline()))
            worker.suspend()
            supervisor = Supervisor(Settings(home=tmp_path))
            child = supervisor._children[1]
            child.popen = main
            child.watch._pid = main.pid
            child.watch._silence.heard()
            child.watch._silence.missed()
            child.watch._silence.missed()
            child.watch._silence.seconds = 20
            supervisor._listen(child, 0.2)
            assert main.wait(10) == -signal.SIGKILL
            eventually(lambda: not worker.is_running() or worker.status() == "zombie", what="its end")
            assert child.hung == "killed: it gave no answer for 20 s"


@pytest.mark.slow
class TestAnInstallation:
    """Stopped for longer than it may be silent, every process is replaced by one that answers."""

    @pytest.mark.parametrize("name", ["api", "inference", "supervisor"])
    @pytest.mark.timeout(180)
    def test_a_stopped_process_is_replaced_by_one_that_answers(
        self, environment: dict[str, str], name: str
    ) -> None:
        layout = Layout(Path(environment["MLOPS_HOME"]))
        eventually(lambda: mlops(environment, "status").returncode == 0, within=60, what="health")
        before = layout.pid(name)
        os.kill(before, signal.SIGSTOP)
        eventually(lambda: layout.pid(name) not in (before, None), within=60, what=f"another {name}")
        eventually(lambda: mlops(environment, "status").returncode == 0, within=60, what="health")
        log = layout.log_file("api" if name == "supervisor" else "supervisor").read_text()
        assert f'"pid":{before}' in log.replace(" ", "") or f"pid={before}" in log
        assert "hung" in log
        if name != "supervisor":
            said = mlops(environment, "status").stderr
            assert f"{name} was last started again at" in said
            assert "it gave no answer for" in said
