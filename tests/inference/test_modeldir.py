"""A directory of bundles that changes while it is served: taken up whole, or not at all and said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ml_platform.contracts.serving import InferenceStatus, ServingKey

from .support.bundles import Bundle, build_linear, copy_bundle, seal
from .support.control import ADMIN, CALLER, key
from .support.load import Load
from .support.server import Server, eventually


@pytest.fixture
def models(tmp_path: Path, one: Bundle) -> Path:
    copy_bundle(one, tmp_path / "models" / "churn")
    return tmp_path / "models"


@pytest.fixture
def serve(make_server: Callable[..., Server], tmp_path: Path, models: Path) -> Callable[..., Server]:
    def start(**options: object) -> Server:
        keys = (
            ServingKey(
                key_id=token,
                token_sha256=key(token).token_sha256,
                team="default",
                permissions=("predict", "inference_internal"),
            )
            for token in (CALLER, ADMIN)
        )
        (tmp_path / "keys.json").write_bytes(msgspec.json.encode(list(keys)))
        given = {"model_dir": models, "keys_file": tmp_path / "keys.json", "model_dir_poll": 0.1} | options
        server = make_server(control=None, storage_roots=tmp_path, **given).start()
        eventually(lambda: answer(server) is not None, "the first answer", 120)
        return server

    return start


def answer(server: Server, name: str = "churn") -> float | None:
    """What the model makes of 1."""
    response = server.predict([[1.0]], name=name)
    return response.json()["predictions"][0] if response.status_code == 200 else None


def put(bundle: Bundle, place: Path) -> None:
    """Swaps a bundle in, as whoever deploys by a directory should: written aside, then renamed."""
    fresh = place.with_name(f".{place.name}.new")
    copy_bundle(bundle, fresh)
    if place.exists():
        place.rename(place.with_name(f".{place.name}.old"))
    fresh.rename(place)
    shutil.rmtree(place.with_name(f".{place.name}.old"), ignore_errors=True)


def problems(server: Server) -> str:
    return "\n".join(server.status().problems)


def settled(server: Server) -> InferenceStatus | None:
    """The status once every worker serves one revision of each model."""
    status = server.status()
    revisions = [worker.revisions for worker in status.workers]
    done = all(len(r) == 1 and r[0].state == "ready" and r[0].serving for r in revisions)
    return status if done and len(revisions) == status.workers_expected else None


class TestModel:
    def test_that_is_added_is_served(self, serve, models, two) -> None:
        server = serve()
        assert server.predict([[1.0]], name="second").status_code == 404
        put(two, models / "second")
        eventually(lambda: answer(server, "second") == 3.0, "the second model")
        assert answer(server) == 2.0
        assert problems(server) == ""

    def test_that_is_removed_is_a_404(self, serve, models, two) -> None:
        put(two, models / "second")
        server = serve()
        shutil.rmtree(models / "second")
        eventually(lambda: server.predict([[1.0]], name="second").status_code == 404, "its end")
        assert answer(server) == 2.0

    @pytest.mark.timeout(120)
    def test_that_is_replaced_costs_no_request(self, serve, models, one, two) -> None:
        server = serve(workers=2)
        with Load(server.port, [[1.0]], callers=3) as load:
            for bundle in (two, one, two):
                before = load.answered
                put(bundle, models / "churn")
                expected = f"churn-{bundle.digest[:12]}"
                eventually(
                    lambda e=expected: (s := settled(server)) and s.workers[0].revisions[0].revision_id == e,
                    "the other bundle alone in every worker",
                )
                eventually(lambda b=before: load.answered > b + 20, "answers")
        assert load.failures == []
        assert set(load.revisions) == {f"churn-{one.digest[:12]}", f"churn-{two.digest[:12]}"}
        assert answer(server) == 3.0

    def test_that_is_written_in_place_is_taken_up_when_it_is_whole(self, serve, models, two) -> None:
        server = serve()
        shutil.copy(two.path / "bundle.json", models / "churn" / "bundle.json")
        eventually(lambda: "churn: model.onnx: digest mismatch" in problems(server), "the problem")
        assert answer(server) == 2.0
        shutil.copy(two.path / "model.onnx", models / "churn" / "model.onnx")
        eventually(lambda: answer(server) == 3.0, "the other bundle")
        eventually(lambda: problems(server) == "", "no problem any more")

    def test_that_is_a_bundle_itself_may_be_replaced(self, serve, models, two) -> None:
        server = serve(model_dir=models / "churn")
        put(two, models / "churn")
        eventually(lambda: answer(server) == 3.0, "the other bundle")

    def test_is_read_at_the_start_alone_when_nobody_looks(self, serve, models, two) -> None:
        server = serve(model_dir_poll=0)
        put(two, models / "churn")
        server.stop()
        server.start()
        eventually(lambda: answer(server) == 3.0, "the other bundle after a start")


class TestBrokenModel:
    def test_leaves_the_one_before_serving_and_is_said(self, serve, models, two) -> None:
        server = serve()
        manifest = models / "churn" / "bundle.json"
        manifest.write_text("{}")
        eventually(lambda: "churn: bundle.json is not valid" in problems(server), "the problem")
        assert "goes on" in problems(server)
        assert "model_dir: churn: bundle.json is not valid" in server.log.read_text()
        assert answer(server) == 2.0
        manifest.unlink()
        eventually(lambda: "bundle.json: cannot be read" in problems(server), "the other problem")
        assert answer(server) == 2.0

    @pytest.mark.timeout(300)
    def test_that_cannot_be_loaded_leaves_the_one_before_even_in_a_worker_that_is_new(
        self, serve, models, tmp_path, one
    ) -> None:
        server = serve()
        eventually(lambda: settled(server), "the first one, proven")
        broken = build_linear(tmp_path / "broken", [1.0])
        (broken.path / "bundle.json").unlink()
        (broken.path / "model.onnx").write_bytes(b"no graph")
        manifest = {n: getattr(broken.manifest, n) for n in ("runtime", "signature", "task", "onnx")}
        put(seal(broken.path, **manifest), models / "churn")
        eventually(
            lambda: "cannot be loaded" in problems(server) or "model.onnx" in problems(server), "the problem"
        )
        assert answer(server) == 2.0
        (pid,) = server.worker_pids()
        server.kill_worker(pid)
        eventually(lambda: server.worker_pids() not in ([], [pid]), "another worker", 120)
        eventually(lambda: answer(server) == 2.0, "an answer of the one before", 120)
        put(one, models / "churn")
        eventually(lambda: problems(server) == "", "no problem any more")
        assert answer(server) == 2.0

    def test_beside_others_is_their_business_alone(self, serve, models, two) -> None:
        server = serve()
        (models / "odd name/").mkdir()
        shutil.copytree(two.path, models / "odd name", dirs_exist_ok=True)
        (models / "half").mkdir()
        (models / "half" / "bundle.json").write_text("[]")
        put(two, models / "second")
        eventually(lambda: answer(server, "second") == 3.0, "the good one")
        eventually(lambda: "half: bundle.json is not valid" in problems(server), "the bad one")
        assert server.predict([[1.0]], name="half").status_code == 404

    def test_directory_that_cannot_be_read_keeps_everything(self, serve, models) -> None:
        server = serve()
        models.rename(models.with_name("elsewhere"))
        eventually(lambda: "model_dir: it cannot be read" in problems(server), "the problem")
        assert answer(server) == 2.0
        models.with_name("elsewhere").rename(models)
        eventually(lambda: problems(server) == "", "no problem any more")


class TestKeysFile:
    def test_is_read_again_and_a_broken_one_changes_nothing(self, serve, tmp_path) -> None:
        server = serve()
        file = tmp_path / "keys.json"
        known = json.loads(file.read_text())
        file.write_text("[")
        eventually(lambda: "keys_file: the keys of before go on" in problems(server), "the problem")
        assert answer(server) == 2.0
        added = known[0] | {"key_id": "new", "token_sha256": key("a-new-one").token_sha256}
        draft = tmp_path / "keys.new"
        draft.write_text(json.dumps([*known[1:], added]))
        draft.replace(file)
        eventually(lambda: server.predict([[1.0]], token="a-new-one").status_code == 200, "the new key")
        assert server.predict([[1.0]]).status_code == 401
