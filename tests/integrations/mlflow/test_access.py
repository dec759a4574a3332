"""Nobody passes any route without a right to it; generated from the routes, so that none can escape."""

import re

import pytest

from ml_platform.integrations.mlflow.routes import ROUTES, Access
from tests.integrations.mlflow.tokens import ANN, REA


def offered():
    return sorted({(route.method, _example(route.path)) for route in ROUTES})


@pytest.fixture(scope="module")
def everything():
    """Every route of MLflow's Flask and FastAPI applications, and ours, with an example path."""
    from mlflow.server import app
    from mlflow.server.fastapi_app import create_fastapi_app

    known = set(offered())
    for rule in app.url_map.iter_rules():
        known |= {(method, _example(rule.rule)) for method in rule.methods - {"HEAD", "OPTIONS"}}
    for path, calls in create_fastapi_app(app).openapi()["paths"].items():
        known |= {(method.upper(), _example(path)) for method in calls}
    assert len(known) > 400
    return sorted(known - {("GET", "/health"), ("HEAD", "/health")})


def _example(path):
    return re.sub(r"<[^>]*>|\{[^}]*\}|\*\*|\*", "x1", path)


class TestAuthentication:
    @pytest.mark.parametrize("token", [None, "wrong"])
    def test_every_route_refuses_a_stranger(self, server, everything, token):
        with server.http(token) as http:
            for method, path in [*everything, ("GET", "/nothing-here"), ("OPTIONS", "/"), ("TRACE", "/")]:
                answer = http.request(method, path, content=b"{}" if method != "GET" else None)
                assert answer.status_code == 401, (method, path, answer.text)

    def test_only_health_is_open(self, server):
        assert server.http().get("/health").text == "OK"

    def test_a_browser_is_sent_to_the_sign_in(self, server):
        answer = server.http().get("/", headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")

    def test_a_session_cookie_is_the_callables_matter(self, server):
        assert server.http().get("/", headers={"Cookie": f"session={ANN}"}).status_code == 200

    def test_a_large_body_is_not_read_for_a_stranger(self, server):
        answer = server.http().post("/api/2.0/mlflow/runs/log-batch", content=b"x" * 10_000_000)
        assert answer.status_code == 401


class TestAuthorisation:
    def test_a_reader_cannot_use_any_writing_route(self, server):
        writes = [route for route in ROUTES if route.access is Access.WRITE]
        assert len(writes) > 80
        with server.http(REA) as http:
            for route in writes:
                answer = http.request(route.method, _example(route.path), content=b"{}")
                assert answer.status_code == 403, (route, answer.text)
                assert answer.json()["error_code"] == "PERMISSION_DENIED"

    def test_routes_beyond_the_list_are_not_offered_even_to_writers(self, server, everything):
        closed = (
            set(everything)
            - set(offered())
            - {(method, path) for method, path in everything if _matches_offered(method, path)}
        )
        assert any("gateway" in path for _, path in closed)
        assert any("webhooks" in path for _, path in closed)
        assert any("assistant" in path for _, path in closed)
        with server.http(ANN) as http:
            for method, path in closed:
                answer = http.request(method, path, content=b"{}")
                assert answer.status_code == 404, (method, path, answer.text)
                assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"

    def test_every_offered_api_route_exists_in_mlflow(self):
        from mlflow.server import app

        adapter = app.url_map.bind("localhost")
        for route in ROUTES:
            if route.kind.value in ("flask", "page") and route.path != "/":
                assert adapter.test(_example(route.path), method=route.method), route

    @pytest.mark.parametrize("workspace", ["team-b", "default", "nowhere", "../team-b", "team-a,team-b"])
    def test_a_workspace_of_others_does_not_exist(self, server, workspace):
        answer = server.http(ANN, workspace).get("/api/2.0/mlflow/experiments/search?max_results=5")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")

    def test_a_repeated_workspace_header_is_refused(self, server):
        headers = [
            ("Authorization", f"Bearer {ANN}"),
            ("X-MLFLOW-WORKSPACE", "team-a"),
            ("X-MLFLOW-WORKSPACE", "team-b"),
        ]
        import httpx

        answer = httpx.get(f"{server.url}/api/2.0/mlflow/experiments/search?max_results=5", headers=headers)
        assert answer.status_code == 400

    @pytest.mark.parametrize(
        "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
    )
    def test_another_site_cannot_write_with_the_users_session(self, server, headers):
        answer = server.http().post(
            "/ajax-api/2.0/mlflow/experiments/create",
            json={"name": "x"},
            headers={"Cookie": f"session={ANN}", **headers},
        )
        assert answer.status_code == 403


def _matches_offered(method, path):
    from ml_platform.integrations.mlflow.routes import RouteTable

    return RouteTable().find(method, path) is not None
