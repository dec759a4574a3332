"""MLflow's scoring protocol from a real server, side by side with MLflow's own scoring server."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from ml_platform.contracts.serving import Sticky

from .support.control import CALLER, ControlPlane, endpoint, key, revision, snapshot
from .support.scoring import COLUMNS, Stock, build_echo, build_matrix
from .support.server import Server

NAMES = [name for name, _, _ in COLUMNS]
SEEN = "2024-05-06T07:08:09"
ROW: dict[str, Any] = {
    "flag": True,
    "small": 7,
    "big": 2**40,
    "ratio": 0.5,
    "amount": 4.25,
    "label": "a",
    "seen": SEEN,
    "note": 'Ⅻ \u202e, "quoted"',
    "extra": -1.5,
}
OTHER = ROW | {"flag": False, "small": -3, "amount": 1e-7, "label": "", "note": "b", "extra": 2.0}


@pytest.fixture(scope="module")
def echo(storage: Path):
    return build_echo(storage / "echo")


@pytest.fixture(scope="module")
def table(storage: Path):
    """Without times, which MLflow's own server cannot read from CSV."""
    return build_echo(storage / "table", tuple(c for c in COLUMNS if c[1] != "datetime"))


@pytest.fixture(scope="module")
def single(storage: Path):
    return build_echo(storage / "single", (("value", "double", True),))


@pytest.fixture(scope="module")
def matrix(storage: Path):
    return build_matrix(storage / "matrix")


@pytest.fixture(scope="module")
def server(tmp_path_factory, storage: Path, churn, one, two, echo, table, single, matrix) -> Iterator[Server]:
    control = ControlPlane()
    wanted = snapshot(
        1,
        endpoint(revision(churn.bundle, "rev-churn")),
        endpoint(revision(echo, "rev-echo"), name="echo"),
        endpoint(revision(table, "rev-table"), name="table"),
        endpoint(revision(single, "rev-single"), name="single"),
        endpoint(revision(matrix, "rev-matrix"), name="matrix"),
        endpoint(revision(one, "rev-one"), name="one", environment="staging"),
        endpoint(
            revision(one, "rev-c", weight=50),
            revision(two, "rev-d", weight=50),
            name="sticky",
            sticky=Sticky(by="entity", name="x0"),
        ),
        keys=(key("powerless", permissions=("read_data",)),),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("scoring"),
        control,
        storage,
        pyfunc_python=sys.executable,
        max_rows=500,
        max_body_bytes=200_000,
    ).start()
    try:
        status = server.has_applied(wanted)
        assert {r.state for w in status.workers for r in w.revisions} == {"ready"}, status
        yield server
    finally:
        server.close()
        control.stop()


@pytest.fixture(scope="module")
def stock(echo, table, single, matrix) -> dict[str, Stock]:
    return {"echo": Stock(echo), "table": Stock(table), "single": Stock(single), "matrix": Stock(matrix)}


def invoke(server: Server, body: Any, name: str | None = "churn", path: str | None = None, **headers: str):
    sent = {"content-type": "application/json", "authorization": f"Bearer {CALLER}"}
    sent |= {k.replace("_", "-"): v for k, v in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    where = path or (f"/models/{name}/invocations" if name else "/invocations")
    return server.client.post(server.base + where, content=data, headers=sent)


def split(*rows: dict[str, Any], order: list[str] | None = None) -> dict[str, Any]:
    names = order or list(rows[0])
    return {"dataframe_split": {"columns": names, "data": [[row[n] for n in names] for row in rows]}}


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in names}


def csv_of(*rows: dict[str, Any], **how: Any) -> bytes:
    return pd.DataFrame(list(rows)).to_csv(**({"index": False} | how)).encode()


SAME = {
    "split": split(ROW, OTHER),
    "split in another order, with an index": {
        "dataframe_split": split(ROW, OTHER, order=NAMES[::-1])["dataframe_split"] | {"index": [5, 9]}
    },
    "split with a column that the model does not know": split(ROW | {"more": [1, {"a": None}]}),
    "split without the optional columns": split(without(ROW, "note", "extra")),
    "split with nulls in the optional columns": split(ROW, ROW | {"note": None, "extra": None}),
    "records": {"dataframe_records": [ROW, OTHER]},
    "records in another order with an unknown column": {
        "dataframe_records": [dict(reversed((ROW | {"x": 1}).items()))]
    },
    "records of which one lacks an optional column": {"dataframe_records": [ROW, without(OTHER, "extra")]},
    "instances": {"instances": [ROW, OTHER]},
    "inputs by column": {"inputs": {n: [ROW[n], OTHER[n]] for n in NAMES}},
    "inputs as one row": {"inputs": ROW},
    "inputs as records": {"inputs": [ROW, OTHER]},
    "params that the model does not declare": split(ROW) | {"params": {"temperature": 0.5}},
    "params that are none": split(ROW) | {"params": 5},
    "a field beside the form": split(ROW) | {"signature_name": "x", "other": [1]},
    "whole numbers for doubles": split(ROW | {"amount": 5, "ratio": 2, "extra": 1}),
}
TABLE = {n: v for n, v in ROW.items() if n != "seen"}
SAME_CSV = {
    "csv": csv_of(TABLE, TABLE | {"label": "b", "flag": False}),
    "csv with the index": csv_of(TABLE, TABLE | {"label": "b", "flag": False}, index=True),
    "csv in another order": csv_of({n: TABLE[n] for n in reversed(TABLE)}),
    "csv with an unknown column": csv_of(TABLE | {"more": "x"}),
    "csv without the optional columns": csv_of(without(TABLE, "note", "extra")),
    "csv with missing optional values": csv_of(TABLE, TABLE | {"note": None, "extra": None}),
    "csv with windows' line ends": csv_of(TABLE, TABLE, lineterminator="\r\n"),
    "csv with empty lines": csv_of(TABLE).replace(b"\n", b"\n\n"),
    "csv with a mark of byte order": b"\xef\xbb\xbf" + csv_of(TABLE),
    "csv with every cell quoted": csv_of(TABLE | {"note": "x"}, quoting=1),
    "csv with padded numbers": csv_of(TABLE).replace(b",7,", b", 7 ,").replace(b",0.5,", b", 5e-1,"),
    "csv with integers written as floats": csv_of(TABLE).replace(b",7,", b",7.0,"),
    "csv whose texts mean missing": csv_of(TABLE | {"note": "N/A"}, TABLE | {"note": "null"}),
    "csv whose last line is short": csv_of(without(TABLE, "extra")).replace(b"\n", b",extra\n", 1),
}


class TestMeansWhatMlflowMeans:
    @pytest.mark.parametrize("case", SAME)
    def test_json(self, server, stock, case):
        body = json.dumps(SAME[case]).encode()
        theirs, ours = stock["echo"].invoke(body), invoke(server, body, "echo")
        assert theirs.status_code == 200, theirs.text
        assert (ours.status_code, ours.json()) == (200, theirs.json())
        assert ours.headers["content-type"] == theirs.headers["content-type"]

    @pytest.mark.parametrize("case", SAME_CSV)
    def test_csv(self, server, stock, case):
        body = SAME_CSV[case]
        theirs = stock["table"].invoke(body, "text/csv")
        ours = invoke(server, body, "table", content_type="text/csv; charset=utf-8")
        assert theirs.status_code == 200, theirs.text
        assert (ours.status_code, ours.json()) == (200, theirs.json())

    @pytest.mark.parametrize(
        "body",
        [
            {"inputs": [1.5, 2]},
            {"instances": [1.5, 2]},
            {"inputs": {"value": [1.5, 2]}},
            {"inputs": {"value": 3}},
            {"instances": [{"value": 1.5}]},
            {"dataframe_split": {"columns": ["value"], "data": [[1.5], [2]]}},
            {"dataframe_records": [{"value": 1}]},
        ],
    )
    def test_a_single_column_without_brackets(self, server, stock, body):
        theirs, ours = stock["single"].invoke(json.dumps(body).encode()), invoke(server, body, "single")
        assert theirs.status_code == 200, theirs.text
        assert (ours.status_code, ours.json()) == (200, theirs.json())

    @pytest.mark.parametrize(
        "body",
        [
            {"inputs": [[1, 2.5, 3], [4, 5, 6]]},
            {"instances": [[1, 2.5, 3]]},
            {"dataframe_split": {"columns": ["c", "b", "a"], "data": [[1, 2.5, 3]]}},
            {"dataframe_split": {"data": [[1, 2.5, 3], [4, 5, 6]]}},
            {"dataframe_records": [{"x": 1, "y": 2, "z": 3}, {"z": 6, "y": 5, "x": 4}]},
        ],
    )
    def test_a_matrix(self, server, stock, body):
        theirs, ours = stock["matrix"].invoke(json.dumps(body).encode()), invoke(server, body, "matrix")
        assert theirs.status_code == 200, theirs.text
        assert (ours.status_code, ours.json()) == (200, theirs.json())

    def test_a_matrix_as_csv_is_read_too(self, server):
        response = invoke(server, b"p,q,r\n1.0,2.5,3\n4,5,6.5\n", "matrix", content_type="text/csv")
        assert response.json() == invoke(server, {"inputs": [[1, 2.5, 3], [4, 5, 6.5]]}, "matrix").json()
        assert response.json()["predictions"][0] == ["float 1.0", "float 2.5", "float 3.0"]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[1]",
            b"null",
            b"\xff",
            b"{}",
            json.dumps(split(ROW) | {"instances": [ROW]}).encode(),
            json.dumps({"dataframe_split": {"columns": NAMES}}).encode(),
            json.dumps({"dataframe_split": {"columns": NAMES, "data": [], "more": 1}}).encode(),
            json.dumps({"dataframe_split": {"columns": NAMES, "data": [[1, 2]]}}).encode(),
            json.dumps(split(without(ROW, "label"))).encode(),
            json.dumps({"dataframe_records": ROW}).encode(),
            json.dumps({"inputs": {n: [ROW[n]] * (1 + (n == "big")) for n in NAMES}}).encode(),
        ],
    )
    def test_what_it_refuses_is_refused_in_its_own_words(self, server, stock, body):
        theirs, ours = stock["echo"].invoke(body), invoke(server, body, "echo")
        assert theirs.status_code == ours.status_code == 400
        assert set(ours.json()) == {"error_code", "message"} <= set(theirs.json())
        assert ours.json()["error_code"] == theirs.json()["error_code"]

    def test_times_in_csv_are_read_all_the_same(self, server):
        response = invoke(server, csv_of(ROW), "echo", content_type="text/csv")
        assert response.json() == invoke(server, {"inputs": ROW}, "echo").json()
        assert response.json()["predictions"][0]["seen"] == f"str {SEEN}"

    def test_a_stock_client_reads_ping_and_version(self, server):
        client = ScoringServerClient("127.0.0.1", server.port)
        client.ping()
        assert server.client.get(f"{server.base}/health").status_code == 200
        response = server.get("/version", CALLER)
        assert (response.status_code, response.text) == (200, mlflow.__version__)


class TestBadInput:
    """What MLflow bends into shape silently is a 400 here, and every 400 names the place."""

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"amount": "4.5"}, "amount: expected float, got str"),
            ({"amount": None}, "amount: expected float, got null"),
            ({"flag": "False"}, "flag: expected bool, got str"),
            ({"small": 2**31}, "small: expected int <= 2147483647"),
            ({"big": 1.5}, "big: expected int, got float"),
            ({"ratio": 1e39}, "ratio: expected float <= 3.4"),
            ({"label": 5}, "label: expected str, got int"),
            ({"seen": "yesterday"}, "seen: invalid RFC3339"),
            ({"extra": "x"}, "extra: expected float | null, got str"),
        ],
    )
    def test_in_a_column_is_named_in_every_form(self, server, change, says):
        row = ROW | change
        column = next(iter(change))
        for body, where in (
            (split(ROW, row), "dataframe_split.data[1]."),
            (split(ROW, row, order=NAMES[::-1]), "dataframe_split.data[1]."),
            ({"dataframe_records": [ROW, row]}, "dataframe_records[1]."),
            ({"instances": [ROW, row]}, "instances[1]."),
            ({"inputs": [ROW, row]}, "inputs[1]."),
        ):
            response = invoke(server, body, "echo")
            assert response.status_code == 400
            assert response.json()["message"].startswith(where + says)
        response = invoke(server, {"inputs": {n: [ROW[n], row[n]] for n in NAMES}}, "echo")
        assert response.status_code == 400
        assert response.json()["message"].startswith(f"inputs.{column}[1]: {says.partition(': ')[2]}")

    @pytest.mark.parametrize(
        ("column", "text", "says"),
        [
            ("amount", "", "line 2, amount: a value is missing"),
            ("amount", "nan", "line 2, amount: a value is missing"),
            ("amount", "inf", "line 2, amount: expected double, got 'inf'"),
            ("amount", "1e999", "line 2, amount: expected double, got '1e999'"),
            ("amount", "1_0", "line 2, amount: expected double"),
            ("amount", "٣", "line 2, amount: expected double"),
            ("small", "1.5", "line 2, small: expected integer, got '1.5'"),
            ("small", str(2**31), "line 2, small: expected integer"),
            ("big", "9" * 5000, "line 2, big: expected long"),
            ("flag", "yes", "line 2, flag: expected boolean, got 'yes'"),
            ("label", "NA", "line 2, label: a value is missing ('NA' stands for none)"),
            ("seen", "soon", "line 2, seen: expected datetime, got 'soon'"),
        ],
    )
    def test_in_csv_is_named_by_line_and_column(self, server, column, text, says):
        body = csv_of(ROW | {column: text})
        response = invoke(server, body, "echo", content_type="text/csv")
        assert (response.status_code, response.json()["error_code"]) == (400, "BAD_REQUEST")
        assert says in response.json()["message"]

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"", "the first line must name the columns"),
            (b"\n\n", "the first line must name the columns"),
            (",".join(NAMES).encode(), "no rows"),
            (b"flag,flag\n1,1\n", "'flag' is given twice"),
            (b"flag\n1\n", "small, big, ratio, amount, label and 1 more are missing"),
            (
                csv_of(ROW).replace(b"\n", b",9\n").replace(b"extra,9", b"extra"),
                "10 values, but the header has 9",
            ),
            (b"\xff\xfea\n1\n", "not UTF-8"),
            (",".join(NAMES).encode() + b'\n"1\n', "csv line 2: unexpected end of data"),
            (",".join(NAMES).encode() + b"\n" + b"x" * 140_000, "csv line 2: field larger than field limit"),
            (b"a\0b\n1\n", "csv"),
        ],
    )
    def test_in_a_csv_body_is_explained(self, server, body, says):
        response = invoke(server, body, "echo", content_type="text/csv")
        assert response.status_code == 400
        assert says in response.json()["message"]

    def test_doubled_columns_are_refused(self, server):
        body = {"dataframe_split": {"columns": [*NAMES, "amount"], "data": [[*ROW.values(), 1.0]]}}
        response = invoke(server, body, "echo")
        assert (response.status_code, response.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "'amount' is given twice" in response.json()["message"]

    @pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
    def test_too_many_rows_are_refused(self, server, form):
        response = invoke(server, {form: [{"value": 1.0}] * 501}, "single")
        assert (response.status_code, "at most 500" in response.json()["message"]) == (413, True)

    def test_too_many_rows_of_columns_or_csv_are_refused(self, server):
        assert invoke(server, {"inputs": {"value": [1.0] * 501}}, "single").status_code == 413
        body = b"value\n" + b"1\n" * 501
        assert invoke(server, body, "single", content_type="text/csv").status_code == 413
        assert invoke(server, b"value\n" + b"1\n" * 500, "single", content_type="text/csv").status_code == 200

    def test_too_large_a_body_is_refused(self, server):
        assert invoke(server, b" " * 300_000, "single").status_code == 413

    @pytest.mark.parametrize(
        "kind",
        [
            "",
            "text/plain",
            "application/xml",
            "application/json; charset=latin-1",
            "text/csv; header=present",
        ],
    )
    def test_another_content_type_is_refused_as_by_mlflow(self, server, stock, kind):
        if kind:
            assert stock["single"].invoke(b"{}", kind).status_code == 415
        response = invoke(server, b'{"inputs": [1.0]}', "single", content_type=kind)
        assert response.status_code == 415
        assert response.json()["message"].startswith("content-type: ")

    def test_numbers_that_json_does_not_have_are_refused(self, server):
        for text in (b"NaN", b"Infinity", b"1e999"):
            assert invoke(server, b'{"inputs": [' + text + b"]}", "single").status_code == 400


class TestAddress:
    def test_of_the_churn_pipeline_answers_as_the_trained_one(self, server, churn):
        frame = churn.rows.iloc[:20]
        body = {"dataframe_split": frame.to_dict(orient="split")}
        expected = pytest.approx(churn.expected(20), abs=1e-5)
        response = invoke(server, body)
        assert response.json()["predictions"] == expected
        assert response.headers["mlops-revision"] == "rev-churn"
        csv = invoke(server, frame.to_csv(index=False).encode(), content_type="text/csv")
        assert csv.json()["predictions"] == expected

    def test_by_team_and_environment_and_by_header(self, server):
        body = {"inputs": [[2.0]]}
        for path, headers in (
            ("/acme/staging/models/one/invocations", {}),
            ("/acme/staging/invocations", {}),
            ("/invocations", {"mlops_environment": "staging"}),
            ("/invocations", {"mlops_environment": "staging", "mlops_model": "one"}),
        ):
            response = invoke(server, body, path=path, **headers)
            assert (response.status_code, response.json()) == (200, {"predictions": [3.0]}), path

    def test_that_names_no_model_among_several_says_how_to(self, server, churn):
        body = {"dataframe_records": churn.instances(1)}
        response = invoke(server, body, name=None)
        assert response.status_code == 400
        assert "mlops-model" in response.json()["message"]
        assert invoke(server, body, name=None, mlops_model="churn").status_code == 200

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/models/nobody/invocations", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/acme/nowhere/invocations", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/umbrella/production/models/churn/invocations", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/models/churn", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/models", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/models/churn/predict", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/invocations/x", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/version", 405, "BAD_REQUEST"),
        ],
    )
    def test_that_is_none_is_refused_in_mlflows_words(self, server, path, status, code):
        response = invoke(server, {"inputs": [1.0]}, path=path)
        assert (response.status_code, response.json()["error_code"]) == (status, code)

    def test_of_a_model_tells_whether_it_is_ready_and_the_version(self, server):
        assert server.get("/models/churn/ping", CALLER).json() == {"status": "ready"}
        assert server.get("/acme/production/models/churn/health", CALLER).status_code == 200
        assert server.get("/models/nobody/ping", CALLER).status_code == 404
        assert server.get("/models/churn/version", CALLER).text == mlflow.__version__
        assert server.get("/models/churn/invocations", CALLER).status_code == 405

    @pytest.mark.parametrize("path", ["/invocations", "/models/churn/invocations", "/version"])
    def test_needs_a_key_that_may_predict(self, server, path):
        send = server.client.get if path == "/version" else server.client.post
        for headers, status, code in (
            ({}, 401, "UNAUTHENTICATED"),
            ({"authorization": "Bearer nonsense"}, 401, "UNAUTHENTICATED"),
            ({"authorization": "Bearer powerless"}, 403, "PERMISSION_DENIED"),
        ):
            response = send(server.base + path, headers=headers)
            assert (response.status_code, response.json()["error_code"]) == (status, code)

    def test_keeps_an_entity_on_one_revision_in_every_form(self, server):
        for value in range(12):
            answered = {
                invoke(server, body, "sticky", content_type=kind).headers["mlops-revision"]
                for body, kind in (
                    ({"dataframe_records": [{"x0": float(value)}]}, "application/json"),
                    ({"dataframe_split": {"columns": ["x0"], "data": [[float(value)]]}}, "application/json"),
                    ({"inputs": {"x0": [float(value)]}}, "application/json"),
                    (f"x0\n{float(value)}\n".encode(), "text/csv"),
                )
            }
            assert len(answered) == 1


class TestStockClient:
    def test_scores_data_frames_and_arrays(self, tmp_path_factory, storage, one):
        """`ScoringServerClient` sends no key: it speaks to a server that answers everybody."""
        (tmp_path_factory.mktemp("models") / "x").mkdir()
        server = Server(
            tmp_path_factory.mktemp("standalone"), None, storage, model_dir=one.path, anonymous=1
        ).start()
        try:
            client = ScoringServerClient("127.0.0.1", server.port)
            client.wait_server_ready(30)
            assert client.get_version() == mlflow.__version__
            frame = pd.DataFrame({"x0": [1.0, 2.5]})
            assert client.invoke(frame).get_predictions("ndarray").tolist() == [2.0, 3.5]
            assert client.invoke(np.array([1.0, 2.5])).get_predictions("ndarray").tolist() == [2.0, 3.5]
            assert client.invoke(frame, params={"unknown": 1}).get_predictions()[0].tolist() == [2.0, 3.5]
        finally:
            server.close()


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([])
RECORD = st.fixed_dictionaries(dict.fromkeys(NAMES, CELLS), optional={"more": CELLS})
VALUES = (
    st.lists(RECORD, max_size=3)
    | st.lists(st.lists(CELLS, min_size=8, max_size=10), max_size=3)
    | st.dictionaries(st.sampled_from(NAMES), st.lists(CELLS, max_size=3) | CELLS)
    | st.fixed_dictionaries(
        {"data": st.lists(st.lists(CELLS, max_size=10), max_size=3)},
        optional={"columns": st.lists(st.sampled_from([*NAMES, "more"]) | CELLS, max_size=10)},
    )
    | CELLS
)
FORMS = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params", "other"])
BODIES = st.binary(max_size=100) | st.dictionaries(FORMS, VALUES, max_size=3).map(
    lambda value: json.dumps(value).encode()
)
LINES = st.lists(st.lists(CELLS.map(str) | st.sampled_from(['"', "\0", "\r", ","]), max_size=10), max_size=4)


class TestAnyBody:
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(body=BODIES)
    def test_of_json_is_answered_or_refused_and_never_fails(self, server, body):
        _is_planned(invoke(server, body, "echo"))

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(lines=LINES)
    def test_of_csv_is_answered_or_refused_and_never_fails(self, server, lines):
        text = "\n".join([",".join(NAMES), *(",".join(line) for line in lines)])
        _is_planned(invoke(server, text.encode(errors="surrogatepass"), "echo", content_type="text/csv"))

    def test_leaves_the_worker_alive(self, server):
        assert "ended with" not in server.log.read_text()


def _is_planned(response: Any) -> None:
    assert response.status_code in {200, 400}, response.text
    answer = json.loads(response.content, parse_constant=pytest.fail)
    assert set(answer) == ({"predictions"} if response.status_code == 200 else {"error_code", "message"})
