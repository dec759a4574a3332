"""Published ways into MLflow's server, tried against ours by a signed-in user.

The families, with the advisories they come from: local file inclusion by a model version's source
(CVE-2023-1177, 2023-2780, 2023-6018, 2024-1558, 2024-3573, 2025-11201), by an experiment's artifact
location with fragments, queries or parameters (CVE-2024-1483, 2024-1593, 2024-1594, 2024-2928,
2024-3848), traversal in artifact paths, once or twice encoded (CVE-2023-6831, 2023-6909, 2024-1560),
deletion of artifacts by the less privileged (CVE-2024-4263), request forgery through the gateway proxy and
webhooks (CVE-2023-6974, 2025-52967), resource exhaustion through GraphQL (CVE-2025-0453), sources on
dbfs (CVE-2024-8859).
"""

import gzip
import http.client as http_client
from urllib.parse import urlsplit

import mlflow
import pytest

from tests.integrations.mlflow.tokens import ANN

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

SOURCES = [
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc",
    "file:/etc",
    "file://localhost/etc",
    "file:///etc#",
    "FILE:///etc",
    "/proc/self/root/etc",
    "http://169.254.169.254/latest/meta-data",
    "https://evil.example/model",
    "http:///../../../etc/",
    "ftp://evil.example/x",
    "s3://somebody-elses-bucket/x",
    "gs://bucket/x",
    "hdfs://namenode/x",
    "dbfs:/../../etc",
    "dbfs:/x#%2f..%2f..%2f..%2fetc",
    "mlflow-artifacts:/../../../etc",
    "mlflow-artifacts:/workspaces/team-b/1",
    "mlflow-artifacts:/workspaces/team-a/../team-b/1",
    "mlflow-artifacts:/workspaces/team-a/%2e%2e/team-b/1",
    "mlflow-artifacts:/workspaces/team-a/%252e%252e/team-b/1",
    "mlflow-artifacts:///workspaces/team-b/1",
    "mlflow-artifacts://evil.example/workspaces/team-a/1",
    "mlflow-artifacts:/workspaces/team-a/1?x=/../../",
    "mlflow-artifacts:/workspaces/team-a/1#/../../../etc",
    "mlflow-artifacts:/workspaces/team-a/1;/../../..",
    "runs://evil.example/0/x",
    "models://profile@host/x/1",
    "runs:/../../etc",
    "",
]

ESCAPES = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252f%252e%252e%252fmlflow.db",
    "x/../../../mlflow.db",
    "./../mlflow.db",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "C:/windows/win.ini",
    "..\\..\\etc\\passwd",
    "a%00b",
    "a#/../../../../etc/passwd",
    "a?x=/../../../../etc/passwd",
    "workspaces/team-b/1/x",
    "workspaces/team-a/../team-b/x",
    "workspaces",
    "workspaces/",
    ".",
    "a//b",
    "x" * 5000,
    "/".join("d" * 200 for _ in range(20)),
]


@pytest.fixture
def http(server):
    with server.http(ANN) as client:
        yield client


@pytest.fixture
def run(sign_in):
    sign_in(ANN)
    with mlflow.start_run() as started:
        mlflow.log_text("mine", "mine.txt")
    return started.info


class TestModelVersionSources:
    @pytest.mark.parametrize("source", SOURCES)
    @pytest.mark.parametrize("field", ["run_id", "runId", None])
    def test_a_source_outside_the_run_is_refused(self, http, run, source, field):
        http.post("/api/2.0/mlflow/registered-models/create", json={"name": "attack"})
        body = {"name": "attack", "source": source, **({field: run.run_id} if field else {})}
        answer = http.post("/api/2.0/mlflow/model-versions/create", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")

    def test_a_second_source_cannot_hide_behind_the_first(self, http, run):
        http.post("/api/2.0/mlflow/registered-models/create", json={"name": "attack"})
        first, second = f"{run.artifact_uri}/x", "file:///etc"
        body = f'{{"name": "attack", "run_id": "{run.run_id}", "source": "{first}", "source": "{second}"}}'
        headers = {"Content-Type": "application/json"}
        answer = http.post("/api/2.0/mlflow/model-versions/create", content=body, headers=headers)
        assert answer.status_code == 400

    def test_a_prompt_tag_does_not_open_other_sources(self, http):
        http.post("/api/2.0/mlflow/registered-models/create", json={"name": "attack"})
        tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
        body = {"name": "attack", "source": "file:///etc", "tags": tags}
        assert http.post("/api/2.0/mlflow/model-versions/create", json=body).status_code == 400

    def test_a_script_cannot_be_a_run_link(self, http, run):
        body = {
            "name": "attack",
            "source": f"runs:/{run.run_id}/x",
            "run_id": run.run_id,
            "run_link": "javascript:alert(1)",
        }
        assert http.post("/api/2.0/mlflow/model-versions/create", json=body).status_code == 400


class TestArtifactLocations:
    @pytest.mark.parametrize("location", [source for source in SOURCES if source])
    @pytest.mark.parametrize("field", ["artifact_location", "artifactLocation"])
    def test_clients_do_not_choose_where_artifacts_lie(self, http, unique, location, field):
        body = {"name": unique, field: location}
        assert http.post("/api/2.0/mlflow/experiments/create", json=body).status_code == 400

    @pytest.mark.parametrize("key", ["mlflow.artifactLocation", "mlflow.trace.archiveLocation"])
    def test_a_trace_cannot_say_where_it_is_read_from(self, http, run, unique, key):
        info = {
            "trace_id": f"tr-{unique}",
            "trace_location": {
                "type": "MLFLOW_EXPERIMENT",
                "mlflow_experiment": {"experiment_id": run.experiment_id},
            },
            "request_time": "2026-01-01T00:00:00Z",
            "state": "OK",
            "tags": {key: "file:///etc", "mlflow.trace.spansLocation": "ARCHIVE_REPO"},
        }
        for name, inner in (("trace", "trace_info"), ("trace", "traceInfo")):
            answer = http.post("/api/3.0/mlflow/traces", json={name: {inner: info}})
            assert answer.status_code == 403, answer.text
        assert (
            http.patch(
                f"/api/2.0/mlflow/traces/tr-{unique}/tags", json={"key": key, "value": "file:///etc"}
            ).status_code
            == 403
        )


class TestArtifactPaths:
    @pytest.mark.parametrize("path", ESCAPES)
    def test_no_spelling_leaves_the_workspace(self, server, path):
        address = urlsplit(server.url)
        for method in ("GET", "PUT"):
            # A client library would tidy the path up; an attacker sends it as it is.
            raw = http_client.HTTPConnection(address.hostname, address.port, timeout=30)
            target = f"/mlflow{ARTIFACTS}/{path}".replace("#", "%23").replace("?", "%3F").replace("\\", "%5C")
            raw.request(method, target, b"x", {"Authorization": f"Bearer {ANN}"})
            answer = raw.getresponse()
            assert answer.status in (400, 404), (method, path)
            assert b"root:" not in answer.read()
            raw.close()
        artifacts = server.home / "artifacts"
        assert {one.name for one in artifacts.iterdir()} <= {"workspaces"}

    @pytest.mark.parametrize("path", [path for path in ESCAPES if not path.startswith("workspaces")])
    def test_no_listing_or_download_by_run_leaves_the_run(self, http, run, path):
        for call in ("/get-artifact", "/api/2.0/mlflow/artifacts/list"):
            answer = http.get(call, params={"run_id": run.run_id, "path": path})
            assert 400 <= answer.status_code < 500, answer.text
        answer = http.post(
            "/ajax-api/2.0/mlflow/upload-artifact",
            params={"run_uuid": run.run_id, "path": path},
            content=b"x",
        )
        assert 400 <= answer.status_code < 500, answer.text

    def test_artifacts_cannot_be_deleted_by_path(self, server, http, run):
        inside = run.artifact_uri.removeprefix("mlflow-artifacts:/")
        for path in (f"{inside}/mine.txt", inside, "workspaces/team-a", "."):
            assert http.delete(f"{ARTIFACTS}/{path}").status_code == 404
        assert http.get(f"{ARTIFACTS}/{inside}/mine.txt").text == "mine"

    def test_a_file_cannot_become_a_folder(self, http, unique):
        assert http.put(f"{ARTIFACTS}/{unique}", content=b"x").status_code == 200
        assert http.put(f"{ARTIFACTS}/{unique}/y", content=b"x").status_code == 400
        assert http.get(f"{ARTIFACTS}/{unique}/y").status_code == 404


class TestRequestForgery:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
            ("GET", "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=../../latest"),
            ("POST", "/api/2.0/mlflow/webhooks"),
            ("POST", "/ajax-api/2.0/mlflow/webhooks"),
            ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run"),
            ("POST", "/api/3.0/mlflow/gateway/secrets/create"),
            ("POST", "/gateway/x/mlflow/invocations"),
            ("POST", "/gateway/mlflow/v1/chat/completions"),
            ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
            ("POST", "/ajax-api/3.0/mlflow/scorer/invoke"),
            ("POST", "/api/3.0/mlflow/scorers/register"),
            ("POST", "/ajax-api/3.0/jobs"),
            ("POST", "/api/3.0/mlflow/workspaces"),
            ("DELETE", "/api/3.0/mlflow/workspaces/team-a"),
            ("PATCH", "/api/3.0/mlflow/workspaces/team-a"),
            ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url"),
            ("POST", "/ajax-api/3.0/mlflow/ui-telemetry"),
            ("POST", "//api/2.0/mlflow/webhooks"),
            ("POST", "/api/2.0/mlflow/webhooks/"),
            ("POST", "/static-files/../api/2.0/mlflow/webhooks"),
        ],
    )
    def test_what_would_call_out_or_administer_is_not_offered(self, http, method, path):
        body = {"gateway_path": "http://169.254.169.254/", "url": "http://169.254.169.254/", "name": "x"}
        assert http.request(method, path, json=body).status_code == 404


class TestExhaustion:
    def test_a_wide_graphql_query_is_refused(self, http):
        fields = " ".join(f'a{i}: test(inputString: "x") {{ output }}' for i in range(5000))
        answer = http.post("/graphql", json={"query": f"query {{ {fields} }}"})
        assert answer.status_code < 500
        assert answer.json().get("data") is None

    def test_a_compressed_bomb_of_spans_is_refused(self, http, run):
        headers = {
            "Content-Encoding": "gzip",
            "Content-Type": "application/x-protobuf",
            "x-mlflow-experiment-id": run.experiment_id,
        }
        bomb = gzip.compress(bytes(200_000_000), 9)
        answer = http.post("/v1/traces", content=bomb, headers=headers)
        assert answer.status_code == 413

    @pytest.mark.parametrize("body", [b"", b"\xff" * 50, b"not spans"])
    def test_spans_that_are_none_are_4xx(self, http, run, body):
        headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": run.experiment_id}
        assert 400 <= http.post("/v1/traces", content=body, headers=headers).status_code < 500
