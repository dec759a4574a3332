"""Models that go wrong in every way: what their callers get, what is left of it, and that others go on."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from ml_platform.inference.batching import Batcher
from ml_platform.inference.errors import DeadlineExceeded, ModelFailed, Unavailable
from ml_platform.inference.runtimes import breaker as breaking
from ml_platform.inference.runtimes.breaker import Breaker, Health
from ml_platform.inference.runtimes.pyfunc import PyfuncRuntime
from ml_platform.inference.runtimes.pyfunc_process import PyfuncLimits

from .support.bundles import Bundle
from .support.control import endpoint, revision, snapshot
from .support.gremlins import build_gremlin
from .support.load import Load
from .support.server import Server, eventually

_MIB = 1024 * 1024


@pytest.fixture(scope="session")
def gremlin(storage: Path) -> Bundle:
    return build_gremlin(storage / "gremlin")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaking, "_FIRST_PAUSE", 0.01)


class Model:
    """A gremlin in its process, behind its queue."""

    def __init__(self, runtime: PyfuncRuntime, health: Health) -> None:
        self.runtime = runtime
        self.health = health
        self.batcher = Batcher(runtime, max_queued_rows=1000, max_batch_rows=100, timeout=60)

    async def ask(self, command: str, value: float = 1.0) -> Any:
        (answer,) = await self.batcher.submit([(command, value)])
        return answer

    async def again(self) -> int:
        """The process that answers, once there is one."""
        pid: int = await until(self._pid, "the model to answer again")
        return pid

    async def _pid(self) -> int | None:
        try:
            return int(await self.ask("pid"))
        except Unavailable:
            return None


@contextlib.asynccontextmanager
async def running(bundle: Bundle, **limits: Any) -> AsyncIterator[Model]:
    health = Health()
    given = PyfuncLimits(
        **{
            "start_timeout": 60,
            "request_timeout": 30,
            "memory_bytes": 0,
            "data_bytes": 0,
            "processes": 64,
            "answer_bytes": _MIB,
            "nice": 0,
            **limits,
        }
    )
    runtime = PyfuncRuntime(
        bundle.path, bundle.manifest, Path(sys.executable), given, contextlib.ExitStack(), health
    )
    await runtime.start()
    model = Model(runtime, health)
    try:
        yield model
    finally:
        await model.batcher.close()
    assert [p for p in psutil.Process().children(recursive=True) if "mlops-model-" in _folder(p)] == []


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


async def until(check: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


class TestNonsense:
    def test_is_refused_in_words_by_the_same_process_and_the_next_answer_is_right(self, gremlin) -> None:
        expected = {
            "none": "not a NoneType",
            "text": "not a str",
            "mapping": "not a dict",
            "many": "one prediction for each",
            "huge": "more than 64 bits",
            "deep": "nested deeper",
            "surrogate": "UnicodeEncodeError",
            "big 2": "2097",
            "raise": "ValueError: the model dislikes this",
            "mute": "Mute",
        }

        async def scenario() -> None:
            async with running(gremlin) as model:
                pid = await model.ask("pid")
                for command, words in expected.items():
                    with pytest.raises(ModelFailed, match=words):
                        await model.ask(command)
                    assert await model.ask("", 4.0) == 8.0
                assert await model.ask("infinite") is None
                assert await model.ask("fork", 3.0) == 6.0  # twice, of which one is nobody's
                assert await model.ask("", 5.0) == 10.0
                assert await model.ask("pid") == pid
                assert (model.health.breaker, not model.health.restarts) == ("closed", True)

        uvloop.run(scenario())

    def test_in_one_request_leaves_its_batch_mates_whole(self, gremlin) -> None:
        async def scenario() -> None:
            async with running(gremlin) as model:
                commands = ["", "raise", "", "big 2"]
                answers = await asyncio.gather(
                    *(model.ask(command, 2.0) for command in commands), return_exceptions=True
                )
                assert [type(answer) for answer in answers] == [float, ModelFailed, float, ModelFailed]

        uvloop.run(scenario())


class TestEnd:
    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_of_a_process_is_told_and_takes_everything_with_it(self, gremlin) -> None:
        ways = {
            "exit": (Unavailable, "exit"),
            "segfault": (Unavailable, "signal"),
            "garbage": (Unavailable, "signal"),
            "close": (Unavailable, "signal"),
            "loop": (DeadlineExceeded, "timeout"),
        }

        async def scenario() -> None:
            async with running(gremlin, request_timeout=6) as model:
                for command, (refusal, reason) in ways.items():
                    pid, escaped = await model.again(), await model.ask("daemon")
                    home = Path(psutil.Process(pid).cwd())
                    before = sum(model.health.restarts.values())
                    with pytest.raises(refusal):
                        await model.ask(command)
                    assert model.health.breaker == "open"
                    with pytest.raises(Unavailable, match="started again"):
                        await model.ask("")
                    assert not psutil.pid_exists(pid)
                    assert not psutil.pid_exists(escaped)
                    assert not await asyncio.to_thread(home.exists)
                    assert await model.again() != pid
                    assert await model.ask("", 4.0) == 8.0
                    assert model.health.breaker == "closed"
                    assert sum(model.health.restarts.values()) == before + 1
                    assert reason in model.health.restarts

        uvloop.run(scenario())

    def test_between_two_requests_is_noticed_before_anybody_asks(self, gremlin) -> None:
        async def scenario() -> None:
            async with running(gremlin) as model:
                pid = await model.ask("pid")
                psutil.Process(pid).kill()
                await until(lambda: model.health.breaker == "half_open", "the next process")
                trial = asyncio.ensure_future(model.ask("pid"))
                await asyncio.sleep(0)
                with pytest.raises(Unavailable, match="being tried"):
                    await model.ask("")
                assert await trial != pid
                assert model.health.restarts == {"signal": 1}
                assert model.health.breaker == "closed"

        uvloop.run(scenario())


class TestMemory:
    @pytest.mark.slow
    def test_over_the_limit_or_not_to_be_had_is_the_end_of_the_process(self, gremlin) -> None:
        async def scenario() -> None:
            async with running(gremlin, memory_bytes=700 * _MIB, data_bytes=2000 * _MIB) as model:
                pid = await model.ask("pid")
                with contextlib.suppress(Unavailable):  # it may just be found out
                    await model.ask("leak 800")
                await until(lambda: model.health.restarts["memory"] == 1, "the restart")
                assert not psutil.pid_exists(pid)
                assert await model.again() != pid
                with pytest.raises(ModelFailed, match="out of memory"):
                    await model.ask("leak 4000")
                with pytest.raises(Unavailable):
                    await model.ask("")
                await until(lambda: model.health.restarts["memory"] == 2, "the restart")

        uvloop.run(scenario())

    def test_that_has_grown_is_given_back_without_a_gap(self, gremlin) -> None:
        async def scenario() -> None:
            async with running(gremlin) as model:
                pid, large = await model.ask("pid"), 0
                await model.ask("leak 200")
                large = model.runtime.memory()
                assert large > 200 * _MIB
                model.runtime.renew()
                model.runtime.renew()

                async def replaced() -> bool:  # raises when a request is refused
                    return bool(await model.ask("pid") != pid)

                await until(replaced, "the new process")
                assert model.runtime.memory() < large
                assert model.health.restarts == {"growth": 1}
                await until(lambda: not psutil.pid_exists(pid), "the old process to end")

        uvloop.run(scenario())


class TestNumberOfProcesses:
    @pytest.mark.slow
    def test_over_the_limit_ends_all_of_them(self, gremlin) -> None:
        async def scenario() -> None:
            async with running(gremlin, processes=20) as model:
                pid = await model.ask("pid")
                with contextlib.suppress(Unavailable):
                    await model.ask("herd 40")
                herd = psutil.Process(pid).children() if psutil.pid_exists(pid) else []
                await until(lambda: model.health.restarts["processes"], "the end")
                assert [p for p in herd if p.is_running()] == []

        uvloop.run(scenario())


class TestOutput:
    def test_that_floods_costs_little_log_and_no_answer(self, gremlin, caplog) -> None:
        async def scenario() -> None:
            async with running(gremlin) as model:
                assert await model.ask("print 10", 2.0) == 4.0
                assert await model.ask("", 2.0) == 4.0

        with caplog.at_level(logging.INFO):
            uvloop.run(scenario())
        assert "yyyy" in caplog.text
        assert "bytes that are not logged" in caplog.text
        assert len(caplog.text) < _MIB


class TestBreaker:
    def test_lets_one_batch_try_a_new_process_and_then_everybody(self) -> None:
        health = Health()
        breaker = Breaker(health)
        assert breaker.refusal(busy=True) is None
        breaker.failed()
        refusal = breaker.refusal(busy=False)
        assert refusal is not None
        assert (refusal.status, (refusal.retry_after or 0) >= 1, health.breaker) == (503, True, "open")
        breaker.started()
        assert (breaker.refusal(busy=False), health.breaker) == (None, "half_open")
        assert breaker.refusal(busy=True) is not None
        breaker.answered()
        assert (breaker.refusal(busy=True), health.breaker) == (None, "closed")

    def test_waits_longer_each_time_up_to_half_a_minute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        breaker = Breaker(Health())
        pauses = []
        for _ in range(12):
            pauses.append(breaker.failed())
            breaker.started()
            breaker.answered()  # but it does not last
        assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
        assert pauses[-1] == 30.0


class TestServer:
    """Everything at once, in a real server, beside a model that is asked without pause."""

    @pytest.mark.slow
    def test_answers_for_the_neighbour_says_what_happened_and_leaves_nothing_behind(
        self, control, make_server, storage, gremlin, one
    ) -> None:
        control.publish(
            snapshot(
                1,
                endpoint(revision(gremlin, "rev-g"), name="gremlin"),
                endpoint(revision(one, "rev-n"), name="neighbour"),
            )
        )
        server: Server = make_server(pyfunc_python=sys.executable, request_timeout=6.0).start()
        server.has_applied(control.snapshot)
        worker = server.worker_pids()[0]
        outcomes: dict[str, int] = {}
        assert descriptors_of_both(server) == set()
        with Load(server.port, [[1.0]], callers=2, name="neighbour") as load:
            for command in ("print 4", "big 8", "daemon", "fork", "raise", "spin 3", "loop"):
                outcomes[command] = server.predict([[command, 1.0]], name="gremlin").status_code
            assert outcomes == {
                "print 4": 200,
                "big 8": 500,
                "daemon": 200,
                "fork": 200,
                "raise": 500,
                "spin 3": 200,
                "loop": 504,
            }
            refused = server.predict([["", 1.0]], name="gremlin")
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            eventually(lambda: counted(server, "model_breaker_open", "rev-g") == 1, "the open breaker")
            eventually(lambda: answers(server), "the model to answer again")
        assert load.failures == []
        assert load.answered > 100
        eventually(lambda: counted(server, "model_breaker_open", "rev-g") == 0, "the closed breaker")
        assert counted(server, "model_restarts_total", 'rev-g",reason="timeout') == 1
        started = psutil.Process(server.process.pid).children(recursive=True)
        homes = {Path(p.cwd()) for p in started if "mlops-model-" in p.cwd()}
        assert server.predict([["daemon", 1.0]], name="gremlin").status_code == 200
        assert server.predict([["garbage", 1.0]], name="gremlin").status_code == 503
        assert server.status().workers[0].pid == worker
        server.kill_worker(server.worker_pids()[0])
        eventually(lambda: not [p for p in started if lives(p)], "the worker's processes to end")
        assert [home for home in homes if home.exists()] == []
        eventually(lambda: answers(server), "the model in the next worker")


def descriptors_of_both(server: Server) -> set[str]:
    """Sockets and shared memory of the worker that its model has, too."""
    (pid,) = server.worker_pids()
    model = int(server.predict([["pid", 1.0]], name="gremlin").json()["predictions"][0])

    def of(pid: int) -> set[str]:
        links = set()
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                links.add(str(path.readlink()))
        return {link for link in links if link.startswith(("socket:", "/memfd:"))}

    assert of(pid)
    return of(pid) & of(model)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(server: Server) -> bool:
    return server.predict([["", 1.0]], name="gremlin").status_code == 200


def counted(server: Server, name: str, revision_id: str) -> float | None:
    """The value of a metric of this revision; None while there is none."""
    for line in server.get("/metrics").text.splitlines():
        if line.startswith(f'{name}{{revision="{revision_id}"'):
            return float(line.rpartition(" ")[2])
    return None
