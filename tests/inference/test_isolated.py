"""Isolated models: whatever they do ends at their pipe, and their neighbours do not notice."""

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .support.bundles import build_mischief
from .support.control import ControlPlane, endpoint, revision, snapshot
from .support.load import Load
from .support.server import Server, eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory, storage: Path, mischief, one) -> Iterator[Server]:
    control = ControlPlane()
    wanted = snapshot(
        1,
        endpoint(revision(mischief, "rev-m"), name="mischief"),
        endpoint(revision(one, "rev-n"), name="neighbour"),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("isolated"),
        control,
        storage,
        pyfunc_python=sys.executable,
        request_timeout=2.0,
    )
    server.environment = {"MLOPS_SECRET_OF_THE_TEST": "hunter2", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    server.start()
    try:
        server.has_applied(wanted)
        yield server
    finally:
        server.close()
        control.stop()


def loading(statement: str) -> str:
    """A model that does this while it is loaded."""
    return textwrap.dedent(
        f"""
        import time
        import mlflow.pyfunc
        from mlflow.models import set_model

        class Model(mlflow.pyfunc.PythonModel):
            def load_context(self, context):
                {statement}

            def predict(self, context, model_input, params=None):
                return [0.0] * len(model_input)

        set_model(Model())
        """
    )


def is_back(server: Server) -> bool:
    return server.predict([["", 4.0]], name="mischief").status_code == 200


class TestIsolatedModel:
    @pytest.fixture(autouse=True)
    def _running(self, server):
        eventually(lambda: is_back(server), "the model to be there")

    def test_answers(self, server):
        response = server.predict([["", 4.0], ["", 5.0]], name="mischief")
        assert response.json() == {"predictions": [8.0, 10.0]}
        assert response.headers["mlops-revision"] == "rev-m"

    def test_that_raises_is_an_error_with_its_message(self, server):
        response = server.predict([["raise", 4.0]], name="mischief")
        assert response.status_code == 500
        assert "ValueError: the model dislikes this" in response.json()["error"]
        assert is_back(server)  # at once: the process is still the same

    def test_that_gives_too_few_answers_is_an_error(self, server):
        response = server.predict([["short", 4.0]], name="mischief")
        assert (response.status_code, "one prediction for each" in response.json()["error"]) == (500, True)

    def test_that_answers_nan_is_strict_json(self, server):
        assert server.predict([["nan", 4.0]], name="mischief").text == '{"predictions":[null]}'

    def test_sees_no_secret_of_the_server(self, server):
        names = server.predict([["environment", 4.0]], name="mischief").json()["predictions"][0].split(",")
        assert not [name for name in names if "SECRET" in name or name.startswith(("MLOPS_", "AWS_"))]

    def test_that_hangs_is_given_up_and_started_again_while_its_neighbour_answers(self, server):
        with Load(server.port, [[1.0]], callers=2, name="neighbour") as load:
            pid = int(server.predict([["pid", 0.0]], name="mischief").json()["predictions"][0])
            response = server.predict([["hang", 4.0]], name="mischief")
            assert response.status_code == 504
            assert "within 2 s" in response.json()["error"]
            response = server.predict([["", 4.0]], name="mischief")
            assert response.status_code == 503  # the breaker answers while the process is replaced
            assert int(response.headers["retry-after"]) >= 1
            eventually(lambda: is_back(server), "the model again")
        assert not psutil.pid_exists(pid)
        assert load.failures == []
        assert load.answered > 100

    @pytest.mark.parametrize("command", ["exit", "quit"])
    def test_that_ends_itself_is_started_again(self, server, command):
        assert server.predict([[command, 4.0]], name="mischief").status_code == 503
        eventually(lambda: is_back(server), "the model again")

    def test_that_is_killed_between_requests_is_started_again(self, server):
        pid = int(server.predict([["pid", 0.0]], name="mischief").json()["predictions"][0])
        os.kill(pid, 9)
        eventually(lambda: not psutil.pid_exists(pid), "its end")
        eventually(lambda: is_back(server), "the model again")

    def test_counts_its_failures_as_errors(self, server):
        server.predict([["raise", 1.0]], name="mischief")
        found = {r.revision_id: r for r in server.metrics(600).revisions}["rev-m"]
        assert found.errors >= 1
        assert found.error_rate > 0


class TestLoad:
    def test_that_fails_gives_the_models_own_reason(self, control, make_server, storage, tmp_path):
        bundle = build_mischief(
            storage / f"broken-{tmp_path.name}", loading("raise RuntimeError('no such library')")
        )
        control.publish(snapshot(1, endpoint(revision(bundle))))
        server = make_server(pyfunc_python=sys.executable).start()
        state, reason = server.has_applied(control.snapshot).revision_state("rev-1")
        assert (state, "no such library" in reason) == ("failed", True)

    def test_that_takes_too_long_is_given_up(self, control, make_server, storage, tmp_path):
        source = loading("time.sleep(600)")
        bundle = build_mischief(storage / f"slow-{tmp_path.name}", source)
        control.publish(snapshot(1, endpoint(revision(bundle))))
        server = make_server(pyfunc_python=sys.executable, pyfunc_start_timeout=1).start()
        state, reason = server.has_applied(control.snapshot).revision_state("rev-1")
        assert (state, "did not start within 1 s" in reason) == ("failed", True)

    def test_refuses_requirements_that_are_not_packages(
        self, control, make_server, storage, tmp_path, mischief
    ):
        from .support.bundles import copy_bundle, seal

        copied = copy_bundle(mischief, storage / f"urls-{tmp_path.name}")
        (copied.path / "requirements.txt").write_text("evil @ https://example.com/evil.whl\n")
        (copied.path / "bundle.json").unlink()
        bundle = seal(
            copied.path, runtime="pyfunc", signature=copied.manifest.signature, task=copied.manifest.task
        )
        control.publish(snapshot(1, endpoint(revision(bundle))))
        server = make_server().start()
        state, reason = server.has_applied(control.snapshot).revision_state("rev-1")
        assert (state, "requirements.txt" in reason) == ("failed", True)


@pytest.mark.slow
class TestOwnEnvironment:
    @pytest.mark.timeout(600)
    def test_is_made_from_the_models_own_requirements(self, control, make_server, mischief):
        control.publish(snapshot(1, endpoint(revision(mischief))))
        server = make_server(load_wait=1).start()
        eventually(lambda: is_back_as_churn(server), "the environment and the model", seconds=500)
        pythons = list((server.state / "envs").glob("*/bin/python"))
        assert len(pythons) == 1


def is_back_as_churn(server: Server) -> bool:
    return server.predict([["", 4.0]]).status_code == 200
