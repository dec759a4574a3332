"""Many models in one worker: loaded when they are needed, once; let go of in order, within the budget."""

import asyncio
import contextlib
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from ml_platform.inference.errors import InvalidInput, NotFound, Unavailable

from .support.bundles import Bundle, build_heavy, build_linear, build_mischief, copy_bundle
from .support.control import endpoint, revision, snapshot
from .support.gremlins import build_gremlin
from .support.plane import only, running, until
from .support.server import eventually

_MIB = 1024 * 1024
_HEAVY = 8
REVISIONS = [f"rev-{number}" for number in range(4)]


@pytest.fixture(scope="module")
def heavy(storage: Path) -> list[Bundle]:
    """Models that differ in what they add, and take a little over 8 MiB each."""
    return [build_heavy(storage / f"heavy-{number}", _HEAVY, float(number)) for number in range(8)]


@pytest.fixture(scope="module")
def gated(storage: Path) -> tuple[Bundle, Path]:
    """An isolated model that is loaded, and then answers, only once there are files that say so."""
    gates = storage / "gates"
    gates.mkdir()
    source = f"""
        import pathlib, time
        import mlflow.pyfunc
        from mlflow.models import set_model

        GATES = pathlib.Path({str(gates)!r})

        def wait(name):
            (GATES / (name + "-reached")).touch()
            while not (GATES / name).exists():
                time.sleep(0.01)

        class Gated(mlflow.pyfunc.PythonModel):
            def load_context(self, context):
                if GATES.exists():  # not while it is built
                    wait("load")

            def predict(self, context, model_input, params=None):
                wait("predict")
                return (model_input["value"] * 10).tolist()

        set_model(Gated())
        """
    moved = gates.rename(storage / "gates-away")
    bundle = build_mischief(storage / "gated", textwrap.dedent(source))
    moved.rename(gates)
    return bundle, gates


@pytest.fixture
def gates(gated) -> Path:
    """All shut."""
    for path in gated[1].iterdir():
        path.unlink()
    return gated[1]


def endpoints(bundles: list[Bundle]) -> list:
    return [endpoint(only(bundle, str(n)), name=f"m{n}") for n, bundle in enumerate(bundles)]


class TestLazyLoad:
    def test_waits_for_the_first_request_and_leaves_the_others_out(self, tmp_path, storage, heavy):
        async def scenario():
            async with running(tmp_path, storage, load="lazy") as plane:
                await plane.apply(*endpoints(heavy[:3]))
                assert plane.states() == dict.fromkeys(REVISIONS[:3], "idle")
                assert plane.status("rev-1").serving
                assert await plane.ask("m1") == 2.0
                assert plane.states() == {"rev-0": "idle", "rev-1": "ready", "rev-2": "idle"}
                assert plane.status("rev-1").load_seconds > 0
                assert plane.status("rev-1").memory_bytes >= _HEAVY * _MIB
                assert plane.status("rev-0").memory_bytes == 0

        asyncio.run(scenario())

    def test_loads_once_for_a_thousand_callers_who_come_while_it_is_cold(self, tmp_path, storage, churn):
        async def scenario():
            async with running(tmp_path, storage, load="lazy") as plane:
                await plane.apply(endpoint(revision(churn.bundle, "rev-1")))
                row = list(churn.instances(1)[0].values())
                answers = await asyncio.gather(*(plane.ask("churn", row) for _ in range(1000)))
                assert answers == pytest.approx([churn.expected(1)[0]] * 1000, abs=1e-5)
                assert plane.status("rev-1").loads == 1

        asyncio.run(scenario())

    def test_refuses_bad_input_without_loading(self, tmp_path, storage, one):
        async def scenario():
            async with running(tmp_path, storage, load="lazy") as plane:
                await plane.apply(endpoint(revision(one)))
                with pytest.raises(InvalidInput, match=r"instances\[0\]"):
                    await plane.ask_for("churn", ["text"])
                assert (plane.states(), plane.status("rev-1").loads) == ({"rev-1": "idle"}, 0)

        asyncio.run(scenario())

    def test_is_what_auto_means_for_more_models_than_it_loads_ahead(self, tmp_path, storage, heavy):
        async def scenario(name, expected, **options):
            async with running(tmp_path / name, storage, **options) as plane:
                await plane.apply(*endpoints(heavy[:3]))
                assert set(plane.states().values()) == {expected}

        asyncio.run(scenario("few", "ready", load="auto", eager_models=3))
        asyncio.run(scenario("many", "idle", load="auto", eager_models=2))
        asyncio.run(scenario("eager", "ready", load="eager", eager_models=2))

    def test_gives_a_caller_up_after_its_time_and_goes_on_for_the_next(
        self, tmp_path, storage, gated, gates, one
    ):
        async def scenario():
            options = {"load": "lazy", "pyfunc_python": sys.executable, "cold_wait": 0.3}
            async with running(tmp_path, storage, **options) as plane:
                await plane.apply(
                    endpoint(revision(gated[0], "rev-g"), name="g"), endpoint(revision(one), name="n")
                )
                started = time.monotonic()
                with pytest.raises(Unavailable, match="is being loaded") as caught:
                    await plane.ask_for("g", ["-", 1.0])
                assert time.monotonic() - started < 5
                assert caught.value.retry_after
                assert await plane.ask("n") == 2.0
                (gates / "load").touch()
                (gates / "predict").touch()
                await until(lambda: plane.states()["rev-g"] == "ready", "the load")
                assert await plane.ask_for("g", ["-", 1.0]) == (10.0, "rev-g")
                assert plane.status("rev-g").loads == 1

        asyncio.run(scenario())


class TestRollout:
    def test_loads_the_new_revision_before_traffic_reaches_it_in_a_lazy_server_too(
        self, tmp_path, storage, gated, gates
    ):
        other = build_mischief(storage / f"old-{tmp_path.name}")

        async def scenario():
            options = {"load": "lazy", "pyfunc_python": sys.executable}
            async with running(tmp_path, storage, **options) as plane:
                await plane.apply(endpoint(revision(other, "rev-1")))
                assert (await plane.ask_for("churn", ["-", 2.0])) == (4.0, "rev-1")
                await plane.apply(
                    endpoint(revision(other, "rev-1", 0), revision(gated[0], "rev-2", 100)), settle=False
                )
                await until((gates / "load-reached").exists, "the load to begin")
                assert plane.states()["rev-2"] == "loading"
                assert not plane.status("rev-2").serving
                assert (await plane.ask_for("churn", ["-", 2.0])) == (4.0, "rev-1")
                (gates / "load").touch()
                (gates / "predict").touch()
                await until(lambda: plane.status("rev-2").serving, "traffic")
                assert plane.model("rev-2").live.batcher is not None
                assert (await plane.ask_for("churn", ["-", 2.0])) == (20.0, "rev-2")

        asyncio.run(scenario())

    def test_brings_a_revision_back_before_it_takes_traffic_again(self, tmp_path, storage, heavy):
        async def scenario():
            async with running(tmp_path, storage, load="eager", memory_bytes=30 * _MIB) as plane:
                old, new = revision(heavy[1], "old", 0), revision(heavy[2], "new", 100)
                await plane.apply(endpoint(old, new), *endpoints(heavy[3:6]))
                for name in ("m0", "m1", "m2", "churn"):
                    await plane.ask(name)
                assert plane.states()["old"] == "idle"
                loads = plane.status("old").loads
                await plane.apply(
                    endpoint(revision(heavy[1], "old", 100), revision(heavy[2], "new", 0)),
                    *endpoints(heavy[3:6]),
                    settle=False,
                )
                assert (await plane.ask_for("churn"))[1] == "new"
                await until(lambda: plane.status("old").serving, "traffic")
                assert plane.status("old").loads == loads + 1
                assert plane.model("old").live.batcher is not None
                assert await plane.ask_for("churn") == (2.0, "old")

        asyncio.run(scenario())

    def test_that_is_under_way_keeps_its_revisions_in_memory_before_others(self, tmp_path, storage, heavy):
        async def scenario():
            async with running(tmp_path, storage, load="lazy", memory_bytes=40 * _MIB) as plane:
                single = endpoints(heavy[2:6])
                await plane.apply(endpoint(revision(heavy[0], "rev-a", 100)), *single)
                split = endpoint(revision(heavy[0], "rev-a", 90), revision(heavy[1], "rev-b", 10))
                await plane.apply(split, *single)
                await until(lambda: plane.states()["rev-b"] == "ready", "the canary")
                await plane.ask("churn")
                for number in range(4):
                    await plane.ask(f"m{number}")
                assert plane.states()["rev-b"] == "ready"
                assert sum(state == "ready" for state in plane.states().values()) < 6

        asyncio.run(scenario())

    def test_that_is_withdrawn_while_it_loads_leaves_nothing_behind(
        self, tmp_path, storage, gated, gates, one
    ):
        async def scenario():
            options = {"load": "lazy", "pyfunc_python": sys.executable}
            async with running(tmp_path, storage, **options) as plane:
                here = endpoint(revision(one), name="n")
                await plane.apply(endpoint(revision(gated[0], "rev-g"), name="g"), here)
                waiting = asyncio.create_task(plane.ask_for("g", ["-", 1.0]))
                await until((gates / "load-reached").exists, "the load to begin")
                await plane.apply(here)
                with pytest.raises(NotFound):
                    await plane.ask("g")
                assert await plane.ask("n") == 2.0
                (gates / "load").touch()
                (gates / "predict").touch()
                # Whoever came before it was withdrawn is answered by what he was routed to.
                assert await waiting == (10.0, "rev-g")
                await until(lambda: len(plane.manager.live) == 1, "the retirement")
            await until(
                lambda: not any("pyfunc_child" in " ".join(c) for c in commands()), "the process to end"
            )

        asyncio.run(scenario())


class TestEviction:
    def test_lets_the_least_recently_used_go(self, tmp_path, storage, heavy):
        async def scenario():
            async with running(tmp_path, storage, load="lazy") as plane:
                await plane.apply(*endpoints(heavy[:4]))
                for number in (0, 1, 2, 0):
                    await plane.ask(f"m{number}")
                residency = plane.manager.residency
                residency.budget = residency.used + (_HEAVY + 1) * _MIB  # less than the next one may take
                await plane.ask("m3")
                assert plane.states() == dict(
                    zip(REVISIONS, ["ready", "idle", "ready", "ready"], strict=True)
                )
                assert plane.status("rev-1").evictions == 1
                residency.budget = residency.used
                await plane.ask("m1")  # back it comes, for the next in order
                assert plane.states()["rev-2"] == "idle"
                assert plane.states()["rev-3"] == plane.states()["rev-1"] == "ready"
                assert plane.status("rev-1").loads == 2

        asyncio.run(scenario())

    def test_keeps_to_the_budget_in_its_books_and_in_the_process(self, tmp_path, storage, heavy):
        async def scenario():
            budget = 34 * _MIB
            async with running(tmp_path, storage, load="eager", memory_bytes=budget) as plane:
                await plane.apply(*endpoints(heavy))
                states = list(plane.states().values())
                assert {"ready", "idle"} == set(states)
                assert not any(s.evictions for s in plane.manager.status())  # room was free, or it was not
                before = psutil.Process().memory_info().rss
                for turn in range(5):
                    answers = await asyncio.gather(*(plane.ask(f"m{n}", turn) for n in range(len(heavy))))
                    assert answers == [turn + float(n) for n in range(len(heavy))]
                    assert plane.manager.residency.used <= budget
                assert sum(s.evictions for s in plane.manager.status()) >= 10
                assert psutil.Process().memory_info().rss - before < 2 * _HEAVY * _MIB

        asyncio.run(scenario())

    def test_never_takes_a_model_that_is_answering(self, tmp_path, storage, gated, gates, heavy):
        (gates / "load").touch()

        async def scenario():
            options = {"load": "lazy", "pyfunc_python": sys.executable, "request_timeout": 60.0}
            async with running(tmp_path, storage, memory_bytes=4096 * _MIB, **options) as plane:
                await plane.apply(endpoint(revision(gated[0], "rev-g"), name="g"), *endpoints(heavy[:1]))
                residency = plane.manager.residency
                answering = asyncio.create_task(plane.ask_for("g", ["-", 1.0]))
                await until((gates / "predict-reached").exists, "the prediction to begin")
                residency.budget = plane.status("rev-g").memory_bytes + 4 * _MIB
                waiting = asyncio.create_task(plane.ask("m0"))
                await until(lambda: plane.states()["rev-0"] == "loading", "the other one to want room")
                for _ in range(20):
                    await asyncio.sleep(0.01)
                    assert not waiting.done()
                    assert plane.states()["rev-g"] == "ready"
                (gates / "predict").touch()
                assert await answering == (10.0, "rev-g")
                assert await waiting == 1.0
                assert plane.states() == {"rev-g": "idle", "rev-0": "ready"}
                assert plane.status("rev-g").evictions == 1

        asyncio.run(scenario())

    def test_is_no_way_for_a_model_that_is_too_large_alone(self, tmp_path, storage, heavy, one):
        async def scenario():
            async with running(tmp_path, storage, load="eager", memory_bytes=6 * _MIB) as plane:
                await plane.apply(endpoint(revision(heavy[0], "rev-h"), name="h"), endpoint(revision(one)))
                status = plane.status("rev-h")
                assert status.state == "failed"
                assert "more than all models of a worker may" in status.reason
                assert str(6 * _MIB) in status.reason
                with pytest.raises(Unavailable, match="memory_bytes"):
                    await plane.ask("h")
                assert await plane.ask("churn") == 2.0

        asyncio.run(scenario())

    def test_gives_an_isolated_models_memory_by_its_process(self, tmp_path, storage, gated, gates):
        (gates / "load").touch()
        (gates / "predict").touch()

        async def scenario():
            async with running(tmp_path, storage, pyfunc_python=sys.executable) as plane:
                await plane.apply(endpoint(revision(gated[0], "rev-g"), name="g"))
                status = plane.status("rev-g")
                (child,) = [
                    child
                    for child in psutil.Process().children(recursive=True)
                    if any(part.endswith("pyfunc_child.py") for part in child.cmdline())
                ]
                assert status.memory_bytes == pytest.approx(child.memory_info().rss, rel=0.3)

        asyncio.run(scenario())

    def test_of_an_isolated_model_that_has_grown_renews_it_and_lets_no_neighbour_go(
        self, tmp_path, storage, heavy
    ):
        gremlin, budget = build_gremlin(storage / "growing"), 500 * _MIB

        async def scenario():
            options = {"load": "eager", "memory_bytes": budget, "pyfunc_python": sys.executable}
            async with running(tmp_path, storage, **options) as plane:
                growing = endpoint(revision(gremlin, "rev-g"), name="g")
                await plane.apply(growing, *endpoints(heavy))
                used = plane.manager.residency.used
                # More than there is room for, and less than the model may take by itself.
                more = (budget - used) // _MIB + 2 * _HEAVY
                await plane.ask_for("g", [f"leak {more}", 1.0])
                await until(lambda: plane.status("rev-g").restarts.get("growth"), "the renewal")
                await until(lambda: plane.manager.residency.used < budget, "the memory to be back")
                assert (await plane.ask_for("g", ["", 4.0]))[0] == 8.0
                assert set(plane.status("rev-g").restarts) == {"growth"}
                everybody = [plane.status(rid) for rid in plane.states()]
                assert [(status.evictions, status.loads) for status in everybody] == [(0, 1)] * 9

        asyncio.run(scenario())


class TestFailure:
    def test_of_a_damaged_artifact_is_reported_and_tried_again_while_others_serve(
        self, tmp_path, storage, heavy, one
    ):
        bundle = copy_bundle(heavy[1], storage / f"damaged-{tmp_path.name}")
        model = bundle.path / "model.onnx"
        whole = model.read_bytes()

        async def scenario():
            async with running(tmp_path, storage, load="lazy") as plane:
                await plane.apply(endpoint(revision(bundle, "rev-d"), name="d"), endpoint(revision(one)))
                changed = bytearray(whole)
                changed[-200] ^= 1
                model.write_bytes(changed)
                (tmp_path / "bundles" / bundle.digest / "model.onnx").write_bytes(changed)
                with pytest.raises(Unavailable, match=r"model\.onnx: digest mismatch"):
                    await plane.ask("d")
                status = plane.status("rev-d")
                assert (status.state, status.loads, status.load_failures) == ("failed", 0, 1)
                with pytest.raises(Unavailable, match="digest mismatch") as caught:
                    await plane.ask("d")  # at once: nobody waits for what has just failed
                assert 1 <= caught.value.retry_after <= 2
                assert plane.status("rev-d").load_failures == 1
                assert await plane.ask("churn") == 2.0
                model.write_bytes(whole)
                await until(lambda: plane.states()["rev-d"] == "ready", "the next attempt")
                assert await plane.ask("d") == 2.0

        asyncio.run(scenario())

    def test_of_the_copy_alone_is_mended_from_the_storage(self, tmp_path, storage, heavy):
        async def scenario():
            async with running(tmp_path, storage, load="lazy", memory_bytes=16 * _MIB) as plane:
                await plane.apply(*endpoints(heavy[:2]))
                await plane.ask("m0")
                await plane.ask("m1")  # for which the other one had to go
                assert plane.states() == {"rev-0": "idle", "rev-1": "ready"}
                copy = tmp_path / "bundles" / heavy[0].digest / "model.onnx"
                copy.write_bytes(b"something else")
                assert await plane.ask("m0") == 1.0
                assert copy.read_bytes() == (heavy[0].path / "model.onnx").read_bytes()

        asyncio.run(scenario())

    def test_of_a_graph_that_is_none_waits_longer_each_time(self, tmp_path, storage):
        bundle = build_linear(storage / f"nonsense-{tmp_path.name}", [1.0])

        async def scenario():
            async with running(tmp_path, storage, load="lazy") as plane:
                await plane.apply(endpoint(revision(bundle, "rev-n"), name="n"))
                for path in (bundle.path, tmp_path / "bundles" / bundle.digest):
                    (path / "model.onnx").unlink()
                with pytest.raises(Unavailable, match="cannot be copied"):
                    await plane.ask("n")
                model = plane.model("rev-n")
                pauses = [model.pause]
                await until(lambda: plane.status("rev-n").load_failures == 2, "a second attempt")
                pauses.append(model.pause)
                assert pauses[1] == 2 * pauses[0]

        asyncio.run(scenario())


def commands() -> list[list[str]]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            found.append(child.cmdline())
    return found


class TestReport:
    def test_counts_loads_and_evictions_over_workers_that_come_and_go(
        self, control, make_server, heavy, tmp_path
    ):
        names = [f"m{number}" for number in range(4)]
        control.publish(snapshot(1, *endpoints(heavy[:4])))
        server = make_server(load="lazy", memory_bytes=20 * _MIB).start()
        server.has_applied(control.snapshot)
        for name in names:
            assert server.predict([[1.0]], name).status_code == 200

        def counted() -> dict[str, float]:
            lines = [line for line in server.get("/metrics").text.splitlines() if line.startswith("model_")]
            return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

        found = counted()
        for number in range(4):
            assert found[f'model_loads_total{{revision="rev-{number}"}}'] == 1
            assert found[f'model_load_failures_total{{revision="rev-{number}"}}'] == 0
            assert found[f'model_load_seconds{{revision="rev-{number}"}}'] > 0
        assert found['model_evictions_total{revision="rev-0"}'] == 1
        assert found['model_memory_bytes{revision="rev-0"}'] == 0
        assert found['model_memory_bytes{revision="rev-3"}'] >= _HEAVY * _MIB
        assert f"inference_memory_limit_bytes {20 * _MIB}" in server.get("/metrics").text
        (worker,) = server.status().workers
        assert worker.memory_limit_bytes == 20 * _MIB
        assert sum(r.memory_bytes for r in worker.revisions) <= 20 * _MIB
        assert {r.state for r in worker.revisions} == {"idle", "ready"}

        server.kill_worker(worker.pid)
        eventually(lambda: server.status().workers[0].pid != worker.pid, "another worker")
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]], "m0").json() == {"predictions": [1.0]}
        eventually(lambda: counted()['model_loads_total{revision="rev-0"}'] == 2, "the sum of both workers")
        assert counted()['model_evictions_total{revision="rev-0"}'] == 1
