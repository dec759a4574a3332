"""`:explain` from a real server: graphs, isolated models, refusals, and a program that must not hurt anybody."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil
import pytest

from ml_platform.inference.explaining.attributions import EXACT_COLUMNS

from .support.bundles import Bundle, seal
from .support.control import CALLER, ControlPlane, endpoint, key, revision, snapshot
from .support.explaining import (
    FORMS,
    PRICE_ROWS,
    SCORED_ROWS,
    Flowers,
    build_flowers,
    build_isolated_flowers,
    build_price,
    build_scores,
    kinds,
    price,
    with_background,
)
from .support.server import Server, eventually

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="session")
def explained_churn(storage: Path, churn) -> Bundle:
    rows = churn.rows.iloc[::70].head(100)
    assert len(rows.columns) > EXACT_COLUMNS
    return with_background(churn.bundle, storage / "explained-churn", rows.to_numpy(object).tolist())


@pytest.fixture(scope="session")
def priced(storage: Path) -> Bundle:
    return build_price(storage / "priced")


@pytest.fixture(scope="session")
def flowers(storage: Path) -> Flowers:
    return build_flowers(storage / "flowers")


@pytest.fixture(scope="session")
def isolated_flowers(storage: Path) -> Flowers:
    return build_isolated_flowers(storage / "isolated-flowers")


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory, storage: Path, isolated_flowers) -> Iterator[Server]:
    """Isolated models, each loaded when it is asked for."""
    control = ControlPlane()
    scores = {form: build_scores(storage / f"scores-{form}", form) for form in FORMS}
    wanted = snapshot(
        1,
        endpoint(revision(isolated_flowers.bundle, "rev-isolated"), name="isolatedflowers"),
        *(endpoint(revision(bundle, f"rev-{form}"), name=form) for form, bundle in scores.items()),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("classifiers"),
        control,
        storage,
        pyfunc_python=sys.executable,
        load="lazy",
        cold_wait=120,
        explain_timeout=150,
    ).start()
    server.client.timeout = httpx.Timeout(200)
    try:
        server.has_applied(wanted)
        yield server
    finally:
        server.close()
        control.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, storage: Path, explained_churn, churn, priced, flowers) -> Iterator[Server]:
    control = ControlPlane()
    wanted = snapshot(
        1,
        endpoint(revision(explained_churn, "rev-churn", model_version="7")),
        endpoint(revision(priced, "rev-price"), name="price"),
        endpoint(revision(flowers.bundle, "rev-flowers"), name="flowers"),
        endpoint(revision(churn.bundle, "rev-bare"), name="bare"),
        keys=(key("powerless", permissions=("read_data",)),),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("explaining"),
        control,
        storage,
        pyfunc_python=sys.executable,
        explain_timeout=150,
    ).start()
    server.client.timeout = httpx.Timeout(200)
    try:
        status = server.has_applied(wanted)
        assert {r.state for w in status.workers for r in w.revisions} == {"ready"}
        yield server
    finally:
        server.close()
        control.stop()


def explain(server: Server, instances: Any, name: str = "churn", token: str = CALLER, prefix: str = ""):
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    body = instances if isinstance(instances, bytes) else json.dumps({"instances": instances}).encode()
    return server.client.post(
        f"{server.base}{prefix}/v1/models/{name}:explain", content=body, headers=headers
    )


def programs(server: Server) -> list[psutil.Process]:
    """The explaining programs of a server's workers."""
    assert server.process is not None
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if any("explaining.program" in argument for argument in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


class TestExplain:
    def test_starts_its_program_at_the_first_question_and_not_before(self, server, churn):
        assert programs(server) == []
        assert explain(server, churn.instances(1)).status_code == 200
        (program,) = programs(server)
        assert program.nice() == min(os.nice(0) + 10, 19)
        assert explain(server, churn.instances(1)).status_code == 200
        assert programs(server) == [program]

    def test_of_a_graph_with_columns_of_text_adds_up_to_the_prediction(self, server, churn):
        instances = churn.instances(4, start=10)
        response = explain(server, instances)
        assert response.status_code == 200, response.text
        explanations = response.json()["explanations"]
        assert [set(e) for e in explanations] == [{"base_value", "values"}] * 4
        assert list(explanations[0]["values"]) == list(churn.rows.columns)
        sums = [e["base_value"] + sum(e["values"].values()) for e in explanations]
        assert sums == pytest.approx(server.predict(instances).json()["predictions"], abs=1e-6)
        background = churn.rows.iloc[::70].head(100)
        mean = churn.pipeline.predict_proba(background)[:, 1].mean()
        assert [e["base_value"] for e in explanations] == pytest.approx([mean] * 4, abs=1e-5)
        assert max(abs(e["values"]["contract"]) for e in explanations) > 0.01  # a column of text

    def test_of_a_graph_names_the_revision_and_is_the_same_every_time(self, server, churn):
        first, second = explain(server, churn.instances(1)), explain(server, churn.instances(1))
        assert first.json() == second.json()
        assert first.headers["mlops-revision"] == "rev-churn"
        assert first.headers["mlops-model-version"] == "7"

    def test_takes_rows_in_order_and_the_address_of_team_and_environment(self, server, churn):
        rows = [list(instance.values()) for instance in churn.instances(1)]
        response = explain(server, rows, prefix="/acme/production")
        assert response.json() == explain(server, churn.instances(1)).json()

    @pytest.mark.parametrize("row", [["south", 5.0, True], [None, 2.0, False], ["elsewhere", 1.0, True]])
    def test_of_an_isolated_model_asks_its_own_process(self, server, row):
        response = explain(server, [row], "price")
        assert response.status_code == 200, response.text
        (explanation,) = response.json()["explanations"]
        region = row[0] if row[0] != "elsewhere" else None
        assert explanation["base_value"] == pytest.approx(sum(price(*r) for r in PRICE_ROWS) / 4)
        total = explanation["base_value"] + sum(explanation["values"].values())
        assert total == pytest.approx(price(region, *row[1:]))
        assert explanation["values"]["garden"] == pytest.approx(10.0 * row[2] - 5.0)

    def test_of_several_classes_explains_the_probability_of_each(self, server, flowers):
        row = [6.0, 2.7, 5.1, 1.6]
        response = explain(server, [row], "flowers")
        assert response.status_code == 200, response.text
        (explanation,) = response.json()["explanations"]
        shares = flowers.model.predict_proba([row])[0]
        means = flowers.model.predict_proba(flowers.background).mean(axis=0)
        assert [c["class"] for c in explanation["classes"]] == ["setosa", "versicolor", "virginica"]
        for found, share, mean in zip(explanation["classes"], shares, means, strict=True):
            assert found["base_value"] == pytest.approx(mean, abs=1e-5)
            assert found["base_value"] + sum(found["values"].values()) == pytest.approx(share, abs=1e-5)
            assert len(found["values"]) == 4
        assert server.predict([row], "flowers").json() == {
            "predictions": flowers.model.predict([row]).tolist()
        }

    def test_of_several_classes_in_a_process_of_its_own_adds_up_for_each(self, classifiers, isolated_flowers):
        rows = [[6.0, 2.7, 5.1, 1.6], [4.9, 3.1, 1.5, 0.2]]
        response = explain(classifiers, rows, "isolatedflowers")
        assert response.status_code == 200, response.text
        model, columns = isolated_flowers.model, isolated_flowers.background.columns
        means = model.predict_proba(isolated_flowers.background).mean(axis=0)
        shares = model.predict_proba(pd.DataFrame(rows, columns=columns))
        for found, share in zip(response.json()["explanations"], shares, strict=True):
            assert [c["class"] for c in found["classes"]] == ["setosa", "versicolor", "virginica"]
            assert [c["base_value"] for c in found["classes"]] == pytest.approx(list(means))
            sums = [c["base_value"] + sum(c["values"].values()) for c in found["classes"]]
            assert sums == pytest.approx(list(share))
            assert [list(c["values"]) for c in found["classes"]] == [list(columns)] * 3
        answers = classifiers.predict(rows, "isolatedflowers").json()["predictions"]
        assert answers == ["virginica" if shares[0].argmax() == 2 else "versicolor", "setosa"]

    @pytest.mark.parametrize(
        ("form", "classes"),
        [("frame", ["rose", "tulip", "lily"]), ("lists", [0, 1, 2]), ("sure", [0, 1, 2])],
    )
    def test_of_an_isolated_model_with_scores_adds_up_for_each_class(self, classifiers, form, classes):
        row = [0.75, 1.25]
        response = explain(classifiers, [row], form)
        assert response.status_code == 200, response.text
        (explanation,) = response.json()["explanations"]
        assert [c["class"] for c in explanation["classes"]] == classes
        means = [
            sum(shares) / len(SCORED_ROWS) for shares in zip(*(kinds(*r) for r in SCORED_ROWS), strict=True)
        ]
        assert [c["base_value"] for c in explanation["classes"]] == pytest.approx(means)
        sums = [c["base_value"] + sum(c["values"].values()) for c in explanation["classes"]]
        assert sums == pytest.approx(kinds(*row))
        assert sum(sums) == pytest.approx(1.0)

    def test_is_no_prediction(self, server, churn):
        def counted() -> int:
            return sum(r.requests for r in server.metrics().revisions)

        before = counted()
        assert explain(server, churn.instances(2)).status_code == 200
        assert server.predict(churn.instances(1)).status_code == 200
        assert eventually(lambda: counted() == before + 1, "one request counted")


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "instances", "status", "says"),
        [
            ("bare", None, 501, "its bundle holds no background rows"),
            ("churn", [{}], 400, "instances[0]."),
            ("churn", [], 400, "instances: expected array of length >= 1"),
            ("churn", b"{", 400, "not valid JSON"),
            ("churn", 17, 413, "at most 16 are explained at once, got 17"),
            ("nobody", None, 404, "there is no model 'nobody'"),
            ("price", [["north", -1.0, True]], 500, "an area below zero"),
        ],
    )
    def test_say_why(self, server, churn, name, instances, status, says):
        count = instances if isinstance(instances, int) else 1
        given = instances if isinstance(instances, list | bytes) else churn.instances(count)
        response = explain(server, given, name)
        assert response.status_code == status, response.text
        assert says in response.json()["error"]

    def test_of_an_isolated_model_that_only_answers_with_labels_say_what_would_help(self, classifiers):
        assert classifiers.predict([[1.0, 1.0]], "labels").json() == {"predictions": ["rose"]}
        response = explain(classifiers, [[1.0, 1.0]], "labels")
        assert response.status_code == 422, response.text
        assert "it answers with labels and has no `predict_proba`" in response.json()["error"]
        assert classifiers.predict([[1.0, 1.0]], "labels").status_code == 200

    def test_of_keys_and_methods(self, server, churn):
        assert explain(server, churn.instances(1), token="nonsense").status_code == 401
        assert explain(server, churn.instances(1), token="powerless").status_code == 403
        assert server.get("/v1/models/churn:explain", CALLER).status_code == 405

    def test_of_labels_name_the_reason(self, make_server, control, storage, tmp_path, explained_churn, churn):
        rows = json.loads((explained_churn.path / "background.json").read_text())["rows"]
        bundle = with_background(churn.bundle, storage / f"labels-{tmp_path.name}", rows)
        (bundle.path / "bundle.json").unlink()
        manifest = {n: getattr(bundle.manifest, n) for n in bundle.manifest.__struct_fields__}
        manifest = {n: v for n, v in manifest.items() if n not in {"files", "format"}}
        labels = seal(bundle.path, **manifest | {"output": "prediction"})
        control.publish(snapshot(1, endpoint(revision(labels))))
        server = make_server(explain_timeout=150).start()
        server.has_applied(control.snapshot)
        response = explain(server, churn.instances(1))
        assert (response.status_code, "answers with labels" in response.json()["error"]) == (422, True)
        assert programs(server) == []


class TestProgram:
    def test_that_takes_too_long_is_a_504_and_starts_anew(
        self, make_server, control, churn, priced, explained_churn
    ):
        control.publish(
            snapshot(
                1, endpoint(revision(priced, "p"), name="price"), endpoint(revision(explained_churn, "c"))
            )
        )
        server = make_server(pyfunc_python=sys.executable, explain_timeout=3, request_timeout=60).start()
        server.has_applied(control.snapshot)
        server.client.timeout = httpx.Timeout(200)
        started = time.monotonic()
        response = explain(server, [["north", 1e9, True]], "price")
        assert (response.status_code, "no explanation within 3 s" in response.json()["error"]) == (504, True)
        assert time.monotonic() - started < 10
        eventually(lambda: programs(server) == [], "the end of the program")
        assert server.predict(churn.instances(1)).status_code == 200

    def test_that_is_killed_is_a_503_and_is_started_again(self, server, churn):
        assert explain(server, churn.instances(1)).status_code == 200
        (program,) = programs(server)
        with ThreadPoolExecutor(1) as pool:
            program.suspend()
            asked = pool.submit(explain, server, churn.instances(1))
            time.sleep(0.2)  # the question is on its way; whether it has arrived makes no difference
            program.kill()
            assert asked.result().status_code in {200, 503}
        assert explain(server, churn.instances(1)).status_code == 200
        assert [p.pid for p in programs(server)] != [program.pid]

    def test_at_work_keeps_nobody_from_predictions(self, server, churn):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(explain, server, churn.instances(16))
            answered = 0
            client = httpx.Client(timeout=10)
            while not asked.done():
                response = client.post(
                    f"{server.base}/v1/models/churn:predict",
                    json={"instances": churn.instances(1)},
                    headers={"authorization": f"Bearer {CALLER}"},
                )
                assert response.status_code == 200
                answered += 1
            assert asked.result().status_code == 200
        assert answered > 10

    def test_sheds_questions_beyond_those_that_may_wait(self, server, churn):
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(explain, server, churn.instances(2)) for _ in range(8)]
            statuses = [future.result().status_code for future in asked]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 4

    def test_ends_when_nobody_asks(self, make_server, control, churn, explained_churn):
        control.publish(snapshot(1, endpoint(revision(explained_churn))))
        server = make_server(explain_timeout=150, explain_idle_seconds=0.3).start()
        server.has_applied(control.snapshot)
        server.client.timeout = httpx.Timeout(200)
        assert explain(server, churn.instances(1)).status_code == 200
        eventually(lambda: programs(server) == [], "the end of the program")

    def test_dies_with_its_worker(self, make_server, control, churn, explained_churn):
        control.publish(snapshot(1, endpoint(revision(explained_churn))))
        server = make_server(explain_timeout=150).start()
        server.has_applied(control.snapshot)
        server.client.timeout = httpx.Timeout(200)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(explain, server, churn.instances(1))
            program = eventually(lambda: programs(server), "the start of the program")[0]
            server.kill_worker(server.worker_pids()[0])
            assert asked.result().status_code in {200, 502, 503}  # another worker may have answered
        eventually(lambda: not program.is_running(), "the end of the program")

    def test_has_too_little_memory_and_says_so(self, make_server, control, churn, explained_churn):
        control.publish(snapshot(1, endpoint(revision(explained_churn))))
        server = make_server(explain_timeout=150, explain_memory_bytes=40_000_000).start()
        server.has_applied(control.snapshot)
        server.client.timeout = httpx.Timeout(200)
        response = explain(server, churn.instances(1))
        assert response.status_code in {500, 503}, response.text
        assert server.predict(churn.instances(1)).status_code == 200


class TestImporting:
    def test_a_worker_never_loads_shap(self):
        program = (
            "import sys, ml_platform.inference.worker, ml_platform.inference.app\n"
            "print('shap' in sys.modules, 'ml_platform.inference.explaining.program' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "False False", done.stderr
