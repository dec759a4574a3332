"""Predictions over V1, from a real server: answers, addresses, keys, and input that must be refused."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_platform.contracts.serving import Sticky

from .support.control import ADMIN, CALLER, ControlPlane, endpoint, key, revision, snapshot
from .support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory, storage: Path, churn, one, two, types) -> Iterator[Server]:
    """One server with every kind of endpoint, for tests that change nothing."""
    control = ControlPlane()
    wanted = snapshot(
        1,
        endpoint(revision(churn.bundle, "rev-churn", model_version="7")),
        endpoint(revision(types, "rev-types"), name="types"),
        endpoint(revision(one, "rev-staging"), name="staged", environment="staging"),
        endpoint(revision(one, "rev-theirs"), name="theirs", team="umbrella"),
        endpoint(revision(one, "rev-90", weight=90), revision(two, "rev-10", weight=10), name="split"),
        endpoint(
            revision(one, "rev-a", weight=50),
            revision(two, "rev-b", weight=50),
            name="sticky",
            sticky=Sticky(by="header", name="X-User"),
        ),
        endpoint(
            revision(one, "rev-c", weight=50),
            revision(two, "rev-d", weight=50),
            name="stickyentity",
            sticky=Sticky(by="entity", name="x0"),
        ),
        endpoint(revision(one, "rev-warm", weight=0), name="warm"),
        keys=(
            key("expired", expires_at=datetime.now(UTC) - timedelta(seconds=1)),
            key("powerless", permissions=("read_data",)),
        ),
    )
    control.publish(wanted)
    server = Server(
        tmp_path_factory.mktemp("shared"),
        control,
        storage,
        max_body_bytes=200_000,
        max_rows=500,
        open_metrics=1,
    ).start()
    try:
        status = server.has_applied(wanted)
        assert {r.state for w in status.workers for r in w.revisions} == {"ready"}
        yield server
    finally:
        server.close()
        control.stop()


def types_row(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {"flag": True, "small": 1, "big": 2, "ratio": 0.5, "amount": 4.5, "label": "a"}
    return row | changes


class TestPredict:
    def test_answers_as_the_trained_pipeline_does(self, server, churn):
        response = server.predict(churn.instances(50))
        assert response.status_code == 200, response.text
        assert response.json()["predictions"] == pytest.approx(churn.expected(50), abs=1e-5)

    def test_takes_rows_in_the_order_of_the_signature_too(self, server, churn):
        rows = [list(instance.values()) for instance in churn.instances(3)]
        assert server.predict(rows).json() == server.predict(churn.instances(3)).json()

    def test_answers_a_large_batch_beside_the_loop(self, server, churn):
        response = server.predict(churn.instances(400))
        assert response.json()["predictions"] == pytest.approx(churn.expected(400), abs=1e-5)

    def test_names_the_revision_the_version_and_the_request(self, server, churn):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        response = server.predict(churn.instances(1), x_request_id="mine-42", traceparent=trace)
        assert response.headers["mlops-revision"] == "rev-churn"
        assert response.headers["mlops-model-version"] == "7"
        assert response.headers["x-request-id"] == "mine-42"
        assert response.headers["traceparent"] == trace

    def test_makes_an_id_for_a_request_whose_own_is_not_fit_for_a_log(self, server, churn):
        ids = {
            server.predict(churn.instances(1), x_request_id="x" * 500).headers["x-request-id"] for _ in "ab"
        }
        assert len(ids) == 2
        assert all(len(i) < 40 for i in ids)

    def test_fills_optional_columns_that_are_absent_or_null(self, server):
        absent = {name: value for name, value in types_row().items() if name not in {"ratio", "label"}}
        for row in (absent, types_row(ratio=None, label=None)):
            assert server.predict([row], name="types").json() == {"predictions": [4.5]}


class TestAddress:
    def test_of_another_environment_by_header_or_path(self, server):
        assert server.predict([[1.0]], name="staged", mlops_environment="staging").status_code == 200
        path = f"{server.base}/acme/staging/v1/models/staged:predict"
        headers = {"authorization": f"Bearer {CALLER}", "content-type": "application/json"}
        response = server.client.post(path, content=b'{"instances":[[1.0]]}', headers=headers)
        assert response.json() == {"predictions": [2.0]}

    def test_of_another_environment_is_not_found_in_production(self, server):
        assert server.predict([[1.0]], name="staged").status_code == 404

    def test_of_another_team_is_not_found_however_it_is_asked_for(self, server):
        assert server.predict([[1.0]], name="theirs").status_code == 404
        path = f"{server.base}/umbrella/production/v1/models/theirs"
        mine = {"authorization": f"Bearer {CALLER}"}
        assert server.client.get(path, headers=mine).status_code == 404
        assert server.client.get(path, headers={"authorization": f"Bearer {ADMIN}"}).status_code == 200

    def test_lists_the_teams_own_models(self, server):
        names = server.get("/v1/models", CALLER).json()["models"]
        assert "churn" in names
        assert "theirs" not in names
        assert server.get("/v1/models/churn", CALLER).json() == {"name": "churn", "ready": True}
        assert server.get("/umbrella/production/v1/models", CALLER).json() == {"models": []}

    def test_without_traffic_says_so(self, server):
        response = server.predict([[1.0]], name="warm")
        assert response.status_code == 503
        assert "no revision" in response.json()["error"]
        assert response.headers["retry-after"]

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    def test_answers_the_methods_of_the_protocol_alone(self, server, method):
        assert server.client.request(method, f"{server.base}/v1/models/churn:predict").status_code == 405

    @pytest.mark.parametrize("path", ["//", "/v2/models/x", "/v1/model", "/docs", "/a/b/c/v1/models/x"])
    def test_unknown_is_not_found(self, server, path):
        assert server.get(path).status_code == 404


class TestKeys:
    @pytest.mark.parametrize(
        ("token", "status"), [(None, 401), ("wrong", 401), ("expired", 401), ("powerless", 403)]
    )
    def test_that_do_not_permit_are_refused_everywhere(self, server, churn, token, status):
        response = server.predict(churn.instances(1), token=token)
        assert response.status_code == status
        assert set(response.json()) == {"error"}
        for path in ("/v1/models", "/v1/models/churn", "/internal/status", "/internal/metrics"):
            assert server.get(path, token).status_code == status

    def test_of_a_caller_read_neither_status_nor_metrics(self, server):
        assert server.get("/internal/status", CALLER).status_code == 403
        assert server.get("/internal/metrics", CALLER).status_code == 403

    @pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer a b", "", "Bearer \xff"])
    def test_in_other_forms_are_refused(self, server, header):
        headers = {"authorization": header.encode("latin-1"), "content-type": "application/json"}
        response = server.client.post(
            f"{server.base}/v1/models/churn:predict", content=b"{}", headers=headers
        )
        assert response.status_code == 401

    def test_are_not_needed_for_health(self, server):
        for path in ("/", "/ping", "/health/live", "/health/ready"):
            assert server.get(path, None).status_code == 200


class TestTrafficSplit:
    def test_follows_the_weights(self, server):
        answers = [server.predict([[0.0]], name="split").headers["mlops-revision"] for _ in range(600)]
        assert 0.04 < answers.count("rev-10") / len(answers) < 0.18

    def test_keeps_a_caller_on_one_revision(self, server):
        by_user = {
            user: {
                server.predict([[0.0]], name="sticky", x_user=user).headers["mlops-revision"]
                for _ in range(4)
            }
            for user in map(str, range(30))
        }
        assert all(len(revisions) == 1 for revisions in by_user.values())
        assert set.union(*by_user.values()) == {"rev-a", "rev-b"}

    def test_keeps_an_entity_on_one_revision(self, server):
        seen = [
            {
                server.predict([{"x0": float(i)}], name="stickyentity").headers["mlops-revision"]
                for _ in range(3)
            }
            for i in range(30)
        ]
        assert all(len(revisions) == 1 for revisions in seen)
        assert set.union(*seen) == {"rev-c", "rev-d"}

    def test_is_passed_over_by_those_who_may_name_a_revision(self, server):
        pinned = {
            "authorization": f"Bearer {ADMIN}",
            "content-type": "application/json",
            "mlops-revision": "rev-warm",
        }
        path = f"{server.base}/acme/production/v1/models/warm:predict"
        response = server.client.post(path, content=b'{"instances":[[1.0]]}', headers=pinned)
        assert response.json() == {"predictions": [2.0]}
        assert server.predict([[1.0]], name="warm", mlops_revision="rev-warm").status_code == 403


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"amount": "4.5"}, "instances[0].amount: expected float, got str"),
            ({"amount": None}, "instances[0].amount: expected float, got null"),
            ({"amount": [1]}, "instances[0].amount: expected float, got array"),
            ({"amount": True}, "instances[0].amount: expected float, got bool"),
            ({"flag": 1}, "instances[0].flag: expected bool, got int"),
            ({"small": 2**31}, "instances[0].small: expected int <= 2147483647"),
            ({"big": 2**63}, "instances[0].big: expected int <= 9223372036854775807"),
            ({"big": 1.5}, "instances[0].big: expected int, got float"),
            ({"ratio": 1e39}, "instances[0].ratio: expected float <= 3.4"),
            ({"label": 5}, "instances[0].label: expected str | null, got int"),
            (
                {"extra": 5},
                "instances[0].extra: unknown field; the model has flag, small, big, ratio, amount, label",
            ),
        ],
    )
    def test_in_a_column_is_named(self, server, change, says):
        response = server.predict([types_row(**change)], name="types")
        assert response.status_code == 400
        assert says in response.json()["error"]

    def test_in_a_row_is_named_by_its_column(self, server):
        response = server.predict([[True, 1, 2, 0.5, "4.5", "a"]], name="types")
        assert (response.status_code, response.json()["error"]) == (
            400,
            "instances[0].amount: expected float, got str",
        )

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"", "body is not valid JSON"),
            (b"{", "body is not valid JSON"),
            (b"nonsense", "body is not valid JSON"),
            (b"\xff\xfe", "body is not valid JSON"),
            (b"null", "expected object"),
            (b"[]", "expected object"),
            (b"{}", "instances: missing"),
            (b'{"instances":[]}', "instances: expected array of length >= 1"),
            (b'{"instances":{}}', "instances: expected array"),
            (b'{"instances":[1]}', "instances[0]: expected"),
            (b'{"instances":[{}]}', "instances[0].flag: missing"),
            (b'{"instances":[[true,1,2]]}', "instances[0]: expected array of length 6"),
            (b'{"instances":[[true,1,2,0.5,NaN,"a"]]}', "not valid JSON"),
            (b'{"instances":[[true,1,2,0.5,Infinity,"a"]]}', "not valid JSON"),
            (b'{"instances":[[true,1,2,0.5,1e999,"a"]]}', "instances[0].amount: number out of range"),
            (b'{"instances":[[true,1,2,0.5,1,"\\ud800"]]}', "not valid JSON"),
            (b'{"instances":[[true,1,2,0.5,1,"a"]],"more":1}', "more: unknown field"),
            (b'{"instances":' + b"[" * 100_000, "instances[0][0]: expected bool, got array"),
            (b"[" * 100_000, "expected object"),
        ],
    )
    def test_in_the_body_is_explained(self, server, body, says):
        response = server.post(body, name="types")
        assert response.status_code == 400
        assert says.replace("[0][0]", "[0].flag") in response.json()["error"]

    def test_too_many_rows_are_refused(self, server):
        response = server.predict([[1.0]] * 501, name="split")
        assert (response.status_code, "at most 500" in response.json()["error"]) == (413, True)

    def test_too_large_a_body_is_refused_whether_or_not_it_says_so(self, server):
        body = b'{"instances":[' + b" " * 300_000 + b"]}"
        assert server.post(body).status_code == 413
        headers = {"authorization": f"Bearer {CALLER}", "content-type": "application/json"}
        chunks = (body[i : i + 50_000] for i in range(0, len(body), 50_000))
        response = server.client.post(
            f"{server.base}/v1/models/churn:predict", content=chunks, headers=headers
        )
        assert response.status_code == 413

    def test_a_body_in_pieces_is_put_together(self, server):
        headers = {"authorization": f"Bearer {CALLER}", "content-type": "application/json"}
        pieces = iter([b'{"instances"', b":[[1", b".5]]}"])
        response = server.client.post(
            f"{server.base}/v1/models/split:predict", content=pieces, headers=headers
        )
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""]
    )
    def test_another_content_type_is_refused(self, server, kind):
        response = server.post(b'{"instances":[[1.0]]}', name="split", content_type=kind)
        assert response.status_code == 415
        assert "application/json" in response.json()["error"]

    def test_unicode_is_just_text(self, server):
        row = types_row(label="Ⅻ\u202e🦄\0é")
        assert server.predict([row], name="types").json() == {"predictions": [4.5]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([])
ROWS = st.lists(CELLS, min_size=5, max_size=7) | st.fixed_dictionaries(
    dict.fromkeys(types_row(), CELLS), optional={"extra": CELLS}
)
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(ROWS, max_size=4).map(lambda rows: json.dumps({"instances": rows}).encode())
)


class TestAnyBody:
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(body=BODIES)
    def test_is_answered_or_refused_and_never_fails(self, server, body):
        response = server.post(body, name="types")
        assert response.status_code in {200, 400}, response.text
        answer = json.loads(response.content, parse_constant=pytest.fail)
        assert set(answer) == ({"predictions"} if response.status_code == 200 else {"error"})

    def test_leaves_the_worker_alive(self, server):
        assert "ended with" not in server.log.read_text()
        assert not [r for r in server.metrics(600).revisions if r.errors and r.endpoint == "types"]


class TestMetrics:
    def test_tell_each_revisions_share_and_latency(self, server, churn):
        before = {r.revision_id: r for r in server.metrics().revisions}.get("rev-churn")
        server.predict(churn.instances(3))
        server.predict([{}])
        after = {r.revision_id: r for r in server.metrics().revisions}["rev-churn"]
        assert after.requests - (before.requests if before else 0) == 2
        assert after.predictions - (before.predictions if before else 0) == 3
        assert after.client_errors - (before.client_errors if before else 0) == 1
        assert after.errors == 0
        assert after.error_rate == 0
        assert 0 < after.latency_ms_p50 <= after.latency_ms_p95 <= after.latency_ms_p99 < 5000

    @pytest.mark.parametrize("window", ["0", "-1", "nan", "inf", "1e9", "abc"])
    def test_refuse_windows_that_are_none(self, server, window):
        assert server.get(f"/internal/metrics?window={window}").status_code == 400

    @pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
    def test_need_a_key_when_a_proxy_on_this_machine_passes_the_call_on(self, server, header):
        assert httpx.get(f"{server.base}/metrics", headers={header: "for=203.0.113.7"}).status_code == 401

    def test_are_read_by_prometheus(self, server, churn):
        from prometheus_client.parser import text_string_to_metric_families

        server.predict(churn.instances(2))
        response = httpx.get(f"{server.base}/metrics")
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(response.text)}
        samples = [s for s in families["model_predictions"].samples if s.labels["revision"] == "rev-churn"]
        assert samples[0].value >= 2
        assert families["model_latency_seconds"].type == "histogram"
        assert {"model_error_rate", "http_requests", "http_request_duration_seconds"} <= set(families)
        identifiers = hashlib.sha256(CALLER.encode()).hexdigest()
        assert identifiers not in response.text
