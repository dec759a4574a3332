"""Input that no generator thinks of: a clear 4xx that names what is wrong, and nothing left behind."""

import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from ml_platform.contracts.problems import ErrorCode
from ml_platform.services.access.parameters import parameters_of
from tests.server.estate import BODIES, Estate
from tests.server.table import API, Route
from tests.support.crash import eventually
from tests.support.platform import RunningPlatform

JSON = {"content-type": "application/json"}
BAD_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")


NATIVE_CODES = {
    400: "invalid_json",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


def problem(answer: httpx.Response) -> dict[str, Any]:
    """A refusal, whole; below `/feast` it is that protocol's own, which has a text alone."""
    if answer.request.url.path.startswith("/feast/"):
        assert answer.headers["content-type"] == "application/json", (answer.status_code, answer.text[:300])
        told: dict[str, Any] = json.loads(answer.content, parse_constant=pytest.fail)
        assert list(told) == ["detail"], told
        assert told["detail"], answer.status_code
        return {**told, "code": NATIVE_CODES.get(answer.status_code), "errors": [told["detail"]]}
    assert answer.headers["content-type"] == "application/problem+json", (
        answer.status_code,
        answer.text[:300],
    )
    body: dict[str, Any] = json.loads(answer.content, parse_constant=pytest.fail)
    assert body["status"] == answer.status_code
    assert body["code"] in set(ErrorCode)
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


@pytest.fixture
def admin(platform: RunningPlatform, estate: Estate) -> httpx.Client:
    """Let in by every route of the team and of the platform."""
    return platform.client(platform.admin_token, team=estate.owner.team)


@pytest.fixture
def client(estate: Estate) -> httpx.Client:
    return estate.owner.client


def json_routes(routes: list[Route]) -> list[Route]:
    """Those that take a JSON body."""
    found = []
    for route in routes:
        body = BODIES.get(f"{route.method} {route.path.removeprefix(API)}", {})
        if "json" in body:
            found.append(route)
    return found


def numbers_in(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where numbers stand in a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers_in(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from numbers_in(item, (*path, number))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def with_raw(value: Any, path: tuple[str | int, ...], raw: str) -> bytes:
    """The JSON text of a value in which one place is written as it stands."""
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "\1here\1"
    return json.dumps(copy).replace('"\\u0001here\\u0001"', raw).encode()


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"{", "line 1"),
            (b'{"name": "x"', "line 1"),
            (b"nonsense", "line 1"),
            (b'{"name": "a", "name": "b"}', "twice"),
            (b'{"a": {"x": 1, "x": 2}}', "twice"),
            (b'{"name": "\xff"}', "UTF-8"),
            (b'{"name": "a\\u0000b"}', "name"),
            (b'{"name": "\\ud800"}', "name"),
            (b'{"x": [{"\\udfff": 1}]}', "surrogate"),
            (b"[" * 200_000, "deep"),
            (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "deep"),
            (b"1" * 10_000, "digits"),
        ],
        ids=lambda value: repr(value)[:20] if isinstance(value, bytes) else value,
    )
    def test_that_are_no_strict_json_are_refused_by_every_route(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route], body: bytes, says: str
    ) -> None:
        for route in json_routes(routes):
            url = platform.url + estate.path(route)
            answer = estate.owner.client.request(route.method, url, content=body, headers=JSON)
            assert answer.status_code == 400, (route.name, answer.text[:200])
            found = problem(answer)
            assert found["code"] == "invalid_json"
            assert says in found["detail"], found

    @pytest.mark.parametrize("raw", [*BAD_NUMBERS, '"x"', "[]"])
    def test_with_a_number_that_is_none_name_its_field(
        self, platform: RunningPlatform, estate: Estate, raw: str
    ) -> None:
        seen = 0
        for name, body in NUMERIC.items():
            method, _, path = name.partition(" ")
            url = platform.url + estate.path(Route(method, API + path, ()))
            for place in numbers_in(body):
                answer = estate.owner.client.request(
                    method, url, content=with_raw(body, place, raw), headers=JSON
                )
                if raw not in BAD_NUMBERS and (answer.status_code != 422 or place[0] == "config"):
                    continue  # free in form
                found = problem(answer)
                assert answer.status_code in (400, 422), (name, place, found)
                named = [str(part) for part in place if isinstance(part, str)][-1]
                assert named in found["detail"], (name, place, found)
                seen += 1
        assert seen > 10

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30, 1e308])
    def test_with_a_number_beyond_64_bits_are_refused(
        self, platform: RunningPlatform, estate: Estate, number: float
    ) -> None:
        for name, body in NUMERIC.items():
            method, _, path = name.partition(" ")
            url = platform.url + estate.path(Route(method, API + path, ()))
            for place in numbers_in(body):
                sent = with_raw(body, place, repr(number))
                answer = estate.owner.client.request(method, url, content=sent, headers=JSON)
                assert answer.status_code < 500, (name, place, answer.text)

    def test_of_ten_megabytes_are_too_large_for_every_route_but_uploads(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route]
    ) -> None:
        large = b'{"name": "' + b"x" * 10_000_000 + b'"}'
        for route in routes:
            uploads = "content" in estate.request(route)
            if route.method not in ("POST", "PUT") or uploads or route.open:
                continue
            for kind in ("application/json", "Application/JSON", "text/plain", "application/octet-stream"):
                answer = estate.owner.client.request(
                    route.method,
                    platform.url + estate.path(route),
                    content=large,
                    headers={"content-type": kind},
                )
                assert answer.status_code == 413, (route.name, kind, answer.text[:200])
                assert problem(answer)["code"] == "too_large"

    def test_without_a_length_are_bounded_by_what_arrives(self, client: httpx.Client) -> None:
        answer = client.post("/experiments", content=(b" " * 65536 for _ in range(200)), headers=JSON)
        assert answer.status_code == 413
        assert problem(answer)["code"] == "too_large"

    @pytest.mark.parametrize(
        "kind",
        ["text/plain", "application/xml", "multipart/form-data", "", "application/x-www-form-urlencoded"],
    )
    def test_of_another_content_type_are_refused(
        self, admin: httpx.Client, platform: RunningPlatform, estate: Estate, routes: list[Route], kind: str
    ) -> None:
        for route in json_routes(routes):
            body = json.dumps(estate.request(route)["json"]).encode()
            url = platform.url + estate.path(route)
            answer = admin.request(route.method, url, content=body, headers={"content-type": kind})
            assert answer.status_code == 415, (route.name, answer.text[:200])
            problem(answer)

    def test_that_are_empty_or_of_another_shape_are_refused(
        self, admin: httpx.Client, platform: RunningPlatform, estate: Estate, routes: list[Route]
    ) -> None:
        for route in json_routes(routes):
            url = platform.url + estate.path(route)
            for body in (b"", b"null", b"[]", b'"x"', b"3", b"[1,2]", b'{"unknown_field": 1}'):
                answer = admin.request(route.method, url, content=body, headers=JSON)
                if body in (b"", b"null") and route.path.endswith(("/experiments", "/materialize")):
                    assert answer.status_code < 500
                    continue
                assert answer.status_code == 422, (route.name, body, answer.text[:200])
                assert problem(answer)["errors"]

    def test_on_a_get_change_nothing(self, client: httpx.Client) -> None:
        for body in (b"{", b'{"a":1,"a":2}', b"x" * 1_000_000):
            assert client.request("GET", "/whoami", content=body, headers=JSON).status_code == 200


NUMERIC: dict[str, dict[str, Any]] = {
    "PUT /deployments/{deployment_id}/monitor": {
        "window_hours": 24,
        "min_rows": 1000,
        "psi_warn": 0.1,
        "psi_act": 0.2,
        "schedule_minutes": 15,
        "retrain": {"cooldown_hours": 1, "max_per_week": 1},
    },
    "POST /models/{model_id:path}/deploy/plan": {
        "environment": "staging",
        "replicas": 1,
        "max_replicas": 2,
        "canary": {
            "steps": [100],
            "step_seconds": 1,
            "min_requests": 1,
            "hold_seconds": 1,
            "max_error_rate": 0.1,
            "max_latency_ratio": 2,
            "latency_floor_ms": 1,
            "min_availability": 0.9,
        },
    },
    "PUT /models/{name}/risk": BODIES["PUT /models/{name}/risk"]["json"],
    "PUT /models/{name}/aliases/{alias}": {"version": 1},
    "POST /keys": {"name": "n", "expires_in_days": 1},
    "POST /experiments/{experiment}/train": {
        "source": {"train.py": "print(1)"},
        "num_gpus": 5000,  # never carried out: only the refusal is of interest
        "timeout_seconds": 1,
        "memory_bytes": 2**30,
        "config": {"number": 1.5},
        "register_as": {
            "name": "n",
            "label": "l",
            "gate": {"metric": "accuracy", "threshold": 0.5, "tolerance": 0.1},
        },
    },
}


class TestAddresses:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
    def test_that_nobody_answers_are_a_404_problem(self, client: httpx.Client, method: str) -> None:
        for path in (
            "/nothing",
            "/teams/a/b/c/d",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/x",
            "/teams//members",
        ):
            answer = client.request(method, path)
            assert answer.status_code in (404, 405), (path, answer.text)
            problem(answer)

    def test_with_a_method_they_do_not_know_are_a_405_that_says_which_they_do(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route]
    ) -> None:
        known: dict[str, set[str]] = {}
        for route in routes:
            known.setdefault(route.path, set()).add(route.method)
        for route in routes:
            url = platform.url + estate.path(route)
            for method in {"PATCH", "OPTIONS", "HEAD", "DELETE", "PUT"} - known[route.path]:
                answer = estate.owner.client.request(method, url)
                if answer.status_code == 405 and method != "HEAD":
                    problem(answer)
                # another route may answer below the same path, e.g. `/models/{name}/...`
                assert answer.status_code in (404, 405, 422) or answer.status_code < 300, (method, route.name)

    @pytest.mark.parametrize(
        "text",
        ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "%0d%0aset-cookie:x", "..%2f..", "%F0%9F%98%80", "a" * 5000],
    )
    def test_of_any_encoding_are_answered(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route], text: str
    ) -> None:
        for route in routes:
            if not route.parameters or route.method not in ("GET", "DELETE"):
                continue
            if route.path.startswith("/console/"):
                continue  # its page answers every path
            for name in route.parameters:
                values = dict(estate.values, name="churn") | {name: text}
                answer = estate.owner.client.request(route.method, platform.url + route.filled(values))
                assert answer.status_code in (400, 404, 405, 422), (route.name, name, answer.text[:200])
                problem(answer)

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=501",
            "limit=x",
            "limit=1e3",
            "limit=" + "9" * 5000,
            "cursor=x",
            "cursor=" + "A" * 501,
            "cursor=IiI",
            "cursor=%00",
            "limit=1&limit=x",
            "cursor=Ilx1ZDgwMCI",  # "\\ud800"
            "cursor=bnVsbA",
            "cursor=MTAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
        ],
    )
    def test_with_a_bad_page_are_refused_or_answered_with_one(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route], query: str
    ) -> None:
        paged = 0
        for route in routes:
            described = platform.app.openapi()["paths"].get(route.path.replace(":path", ""), {})
            names = {p["name"] for p in described.get(route.method.lower(), {}).get("parameters", ())}
            if not {"limit", "cursor"} <= names:
                continue
            paged += 1
            answer = estate.owner.client.get(f"{platform.url}{estate.path(route)}?{query}")
            assert answer.status_code in (200, 400, 422), (route.name, answer.text)
            if answer.status_code != 200:
                problem(answer)
            else:
                assert query == "cursor=IiI" or query.startswith("cursor="), (route.name, query)
        assert paged > 10


class TestHeaders:
    @pytest.mark.parametrize("given", ["short", "x" * 200, "has space in it", "quote\"'<>;", "ünïcödé-text"])
    def test_a_request_id_that_is_none_is_replaced(self, client: httpx.Client, given: str) -> None:
        answer = client.get("/whoami", headers={"x-request-id": given.encode("latin-1")})
        assert answer.headers["x-request-id"].startswith("req_")

    def test_a_good_request_id_comes_back(self, client: httpx.Client) -> None:
        given = "my-request.2026:11"
        assert client.get("/whoami", headers={"x-request-id": given}).headers["x-request-id"] == given

    def test_no_header_can_be_injected(self, platform: RunningPlatform) -> None:
        lines = (
            "GET /api/v1/whoami HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {platform.admin_token}",
            "X-Request-Id: abcdefgh\rSet-Cookie: a=b",
            "Connection: close",
        )
        received = _raw(platform, "\r\n".join(lines).encode() + b"\r\n\r\n")
        assert b"set-cookie" not in received.lower()

    @pytest.mark.parametrize(
        "team", ["nothing", "ü".encode().decode("latin-1"), "../x", "'; DROP TABLE teams;--"]
    )
    def test_a_team_that_is_none_is_not_found(self, client: httpx.Client, team: str) -> None:
        answer = client.get("/whoami", headers={"mlops-team": team.encode("latin-1")})
        assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")

    @pytest.mark.parametrize("key", ["", "a b", "x" * 201, "ü", "a\tb"])
    def test_an_idempotency_key_that_is_none_is_refused_or_left_out(
        self, client: httpx.Client, key: str
    ) -> None:
        answer = client.post("/experiments", json={}, headers={"idempotency-key": key.encode("latin-1")})
        assert answer.status_code == 422


class TestUploads:
    def test_leave_no_file_when_they_are_broken_off(
        self, platform: RunningPlatform, estate: Estate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        work = platform.settings.home / "work"
        before = _files(work)
        for path, kind in (
            ("/datasets/customers/versions", "text/csv"),
            ("/datasets/customers/validate", "text/csv"),
            ("/sources", "application/gzip"),
        ):
            head = (
                f"POST {API}{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
                f"Authorization: Bearer {estate.owner.token}\r\nContent-Length: 5000000\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", platform.settings.api.port)) as connection:
                connection.sendall(head.encode() + b"a,b\n" * 1000)
                eventually(
                    lambda: _files(tmp_path) or _files(work) - before, what=f"a temporary file of {path}"
                )
            eventually(
                lambda: not _files(tmp_path) and _files(work) == before, what=f"an empty folder after {path}"
            )
        versions = estate.owner.client.get("/datasets/customers/versions").json()["items"]
        assert all(version["rows"] == 3 for version in versions)

    def test_leave_no_file_when_they_are_refused(
        self, platform: RunningPlatform, estate: Estate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        work = platform.settings.home / "work"
        before = _files(work)
        client = estate.owner.client
        gzip = {"content-type": "application/gzip"}
        refused = [
            client.post("/datasets/customers/versions", content=b"\xff\xfe\x00"),
            client.post("/datasets/customers/versions?format=parquet", content=b"PAR1 no"),
            client.post("/datasets/customers/versions", content=b""),
            client.post("/datasets/nothing/versions", content=b"a,b\n1,2\n"),
            client.post("/datasets/customers/validate?schema=%7B", content=b"a,b\n1,2\n"),
            client.post("/sources", content=b"no gzip", headers=gzip),
            client.post("/sources", content=b"", headers=gzip),
            client.post("/sources", content=b"x", headers={"content-type": "application/json"}),
        ]
        for answer in refused:
            assert 400 <= answer.status_code < 500, answer.text
            problem(answer)
        eventually(lambda: not _files(tmp_path) and _files(work) == before, what="empty folders")

    def test_that_are_slow_keep_nobody_waiting(self, platform: RunningPlatform, estate: Estate) -> None:
        """More of them than there are threads: each waits for its sender without holding one."""
        head = (
            f"POST {API}/experiments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {estate.owner.token}\r\nContent-Length: 1000\r\n\r\n{{"
        )
        slow = [
            socket.create_connection(("127.0.0.1", platform.settings.api.port))
            for _ in range(platform.settings.api.threads * 2)
        ]
        try:
            for connection in slow:
                connection.sendall(head.encode())
            started = time.monotonic()
            assert estate.owner.client.get("/whoami").status_code == 200
            assert time.monotonic() - started < 20
        finally:
            for connection in slow:
                connection.close()


def _files(folder: Path) -> set[Path]:
    """Those that are there now; folders may go while they are looked through."""
    return {Path(place, name) for place, _, names in os.walk(folder) for name in names}


def _raw(platform: RunningPlatform, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", platform.settings.api.port), timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


class TestQueryParameters:
    def test_one_that_a_route_does_not_know_is_refused_by_name_with_those_that_it_takes(
        self, client: httpx.Client
    ) -> None:
        said = problem(client.get("/datasets?limt=5"))
        assert said["status"] == 422
        assert [error["field"] for error in said["errors"]] == ["limt"]
        assert "it takes cursor, limit; did you mean 'limit'?" in said["detail"]

    def test_a_route_without_any_says_so(self, client: httpx.Client) -> None:
        said = problem(client.get("/whoami?team=other"))
        assert (said["status"], said["detail"]) == (422, "team: is no parameter of this route; it takes none")

    def test_nothing_happens_when_one_is_unknown(self, client: httpx.Client) -> None:
        name = "never-made-by-a-typo"
        assert client.post(f"/experiments?name={name}&descripton=x").status_code == 422
        assert client.get("/experiments", params={"name": name}).json()["items"] == []

    def test_those_that_are_known_are_taken(self, client: httpx.Client) -> None:
        assert client.get("/datasets?limit=5").status_code == 200

    def test_every_list_takes_a_page_size_and_a_cursor(self, platform: RunningPlatform) -> None:
        lists = [
            route
            for route in platform.app.routes
            if isinstance(route, APIRoute) and "Page[" in str(route.response_model)
        ]
        assert len(lists) > 10
        assert [r.path for r in lists if not {"limit", "cursor"} <= set(parameters_of(r))] == []


class TestUnknownRoutes:
    def test_they_are_named_with_where_the_routes_are_listed(self, client: httpx.Client) -> None:
        said = problem(client.get("/modles"))
        assert (said["status"], said["detail"]) == (404, "there is no route GET /api/v1/modles")
        assert "/docs" in said["hint"]

    def test_a_wrong_method_names_those_that_the_path_takes(self, client: httpx.Client) -> None:
        said = problem(client.delete("/whoami"))
        assert (said["status"], said["code"]) == (405, "method_not_allowed")
        assert said["detail"] == "there is no route DELETE /api/v1/whoami: this path takes GET"
