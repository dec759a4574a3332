"""Every route against everybody who must not come in: strangers, the wrong role, the wrong team.

The routes come from the application itself. One that is new is tested here without a word being added,
and fails here when it asks for no permission.
"""

import re
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from ml_platform.contracts.identity import Permission, Role
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.services.access import Actor, Authorizer, Resource
from ml_platform.services.identity.tables import KeyRow
from tests.server.estate import ALL_ROLES, BODIES, Estate
from tests.server.table import API, Route
from tests.support.platform import Caller, RunningPlatform

OPEN = {
    *("GET /health/live", "GET /health/ready", "GET /feast/health"),
    *("GET /login", "POST /login", "POST /logout"),
}
NATIVE = " /feast/"  # whose refusals are those of Feast's server
PLATFORM_WIDE = {  # what belongs to no team: who may not manage the platform is refused, whatever is asked for
    "POST /api/v1/users/{user}/deactivate",
    "POST /api/v1/users/{user}/activate",
    "PATCH /api/v1/teams/{team}",
}
PUBLIC = {  # what is the installation's and every member of any team may read
    "GET /api/v1/policies/versions/{policy_version}",
}


def stranger(platform: RunningPlatform, estate: Estate) -> str | None:
    return None


def nonsense(platform: RunningPlatform, estate: Estate) -> str:
    return "Bearer mlops_01j0000000000000000000000_" + "A" * 43


def wrong_scheme(platform: RunningPlatform, estate: Estate) -> str:
    return f"Basic {platform.admin_token}"


def revoked(platform: RunningPlatform, estate: Estate) -> str:
    token, key_id = _key(platform, estate)
    assert estate.owner.client.delete(f"/keys/{key_id}").status_code == 200
    return f"Bearer {token}"


def expired(platform: RunningPlatform, estate: Estate) -> str:
    token, key_id = _key(platform, estate)
    with platform.runtime.components.get(Database).write() as session:
        session.get_one(KeyRow, key_id).expires_at = utc_now() - timedelta(seconds=1)
    return f"Bearer {token}"


def deactivated(platform: RunningPlatform, estate: Estate) -> str:
    gone = platform.new_user(estate.owner.team, *ALL_ROLES)
    assert platform.admin.post(f"/users/{gone.name}/deactivate").status_code == 200
    return f"Bearer {gone.token}"


def _key(platform: RunningPlatform, estate: Estate) -> tuple[str, str]:
    made = estate.owner.client.post("/keys", json={"name": "to be refused"}).json()
    assert platform.client(made["token"]).get("/whoami").status_code == 200
    return made["token"], made["key_id"]


class TestTheTable:
    def test_every_route_asks_for_a_permission(self, routes: list[Route]) -> None:
        assert {route.name for route in routes if not route.permissions} == OPEN

    def test_only_health_and_signing_in_and_out_is_open(self, routes: list[Route]) -> None:
        assert {route.name for route in routes if route.open} == OPEN

    def test_no_route_shadows_another(self, routes: list[Route]) -> None:
        names = [route.name for route in routes]
        assert len(names) == len(set(names))
        assert len(names) > 90

    def test_the_requests_below_are_of_routes_that_exist(self, routes: list[Route]) -> None:
        ours = {name if NATIVE in name else name.replace(" ", f" {API}", 1) for name in BODIES}
        assert ours <= {route.name for route in routes}


class TestStrangers:
    @pytest.mark.parametrize("who", [stranger, nonsense, wrong_scheme, revoked, expired, deactivated])
    def test_are_refused_by_every_route(
        self,
        platform: RunningPlatform,
        estate: Estate,
        routes: list[Route],
        who: Callable[[RunningPlatform, Estate], str | None],
    ) -> None:
        header = who(platform, estate)
        headers = {"authorization": header} if header else {}
        wrong = []
        with httpx.Client(base_url=platform.url, headers=headers, timeout=60) as client:
            for route in routes:
                if route.open:
                    continue
                answer = client.request(route.method, estate.path(route), **estate.request(route))
                if not _is_refusal(route, answer, 401, "unauthenticated"):
                    wrong.append((route.name, answer.status_code, answer.text[:200]))
        assert not wrong

    def test_learn_not_even_which_paths_there_are(self, platform: RunningPlatform) -> None:
        for path in ("/", "/nothing", "/api", f"{API}/nothing", "/api/v2/teams", "/health", "/metrics/x"):
            for method in ("GET", "POST", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
                assert httpx.request(method, platform.url + path).status_code == 401, (method, path)

    def test_are_refused_before_their_body_is_looked_at(self, platform: RunningPlatform) -> None:
        for body in (b"{", b'{"a":1,"a":2}', b"[" * 100_000, b"x" * 3_000_000):
            answer = httpx.post(
                f"{platform.url}{API}/teams", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 401

    def test_get_no_answer_that_was_given_to_a_key_before_it_was_revoked(
        self, platform: RunningPlatform, estate: Estate
    ) -> None:
        token, key_id = _key(platform, estate)
        client, headers = platform.client(token), {"idempotency-key": key_id}
        request = {"json": {"name": f"experiment {key_id}"}, "headers": headers}
        assert client.post("/experiments", **request).status_code == 201
        assert client.post("/experiments", **request).headers["idempotent-replayed"] == "true"
        estate.owner.client.delete(f"/keys/{key_id}")
        assert client.post("/experiments", **request).status_code == 401


class TestBrowsers:
    @pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/mlflow/", "/mlflow", f"{API}/teams", "/"])
    @pytest.mark.parametrize("cookies", [{}, {"mlops_session": "gone"}], ids=["no session", "old session"])
    def test_are_told_how_to_sign_in(
        self, platform: RunningPlatform, path: str, cookies: dict[str, str]
    ) -> None:
        with httpx.Client(base_url=platform.url, cookies=cookies) as browser:
            answer = browser.get(path, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("text/html")
        assert "mlops login --web" in answer.text

    def test_read_the_docs_once_signed_in(self, platform: RunningPlatform, estate: Estate) -> None:
        code = estate.owner.client.post("/sign-in-links").json()["url"].partition("#code=")[2]
        with httpx.Client(base_url=platform.url, headers={"accept": "text/html"}) as browser:
            assert browser.post("/login", json={"code": code}).status_code == 204
            page = browser.get("/docs")
            assert page.status_code == 200
            assert browser.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert "/api/v1/experiments/{experiment}/train" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:|//)""", page.text)
        assert "<script" not in page.text


class TestTheWrongRole:
    @pytest.mark.parametrize("permission", list(Permission))
    def test_every_other_role_together_is_not_enough(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route], permission: Permission
    ) -> None:
        mine = [route for route in routes if permission in route.permissions]
        if not mine:
            assert permission in {  # asked for inside of services
                Permission.DEPLOY_PRODUCTION,
                Permission.MANAGE_KEYS,
            }
            return
        caller = _without(platform, estate, permission)
        wrong = []
        for route in mine:
            answer = caller.request(route.method, platform.url + estate.path(route), **estate.request(route))
            told = answer.json().get("permission") == permission or (
                NATIVE in route.name and f"may not {permission}" in answer.text
            )
            if not _is_refusal(route, answer, 403, "forbidden") or not told:
                wrong.append((route.name, answer.status_code, answer.text[:200]))
        assert not wrong


def _without(platform: RunningPlatform, estate: Estate, permission: Permission) -> httpx.Client:
    """A client with every role that does not have this permission."""
    authorizer = platform.runtime.components.get(Authorizer)
    roles = []
    for role in Role:
        actor = Actor("a", "a", team_id="t", memberships={"t": frozenset({role})})
        if not authorizer.decide(actor, permission, Resource("team", "t", "t")).allowed:
            roles.append(role.value)
    if permission is Permission.READ:  # every member reads: only a key that was narrowed to nothing does not
        assert not roles
        made = estate.owner.client.post("/keys", json={"name": "nothing", "roles": []}).json()
        return platform.client(made["token"])
    return platform.new_user(estate.owner.team, *roles).client


class TestAnotherTeam:
    def test_finds_nothing_by_any_path(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route], outsider: Caller
    ) -> None:
        wrong = []
        for route in routes:
            if not route.parameters or route.name in PLATFORM_WIDE | PUBLIC:
                continue
            answer = outsider.client.request(
                route.method, platform.url + estate.path(route), **estate.request(route)
            )
            if not _is_problem(answer, 404, "not_found"):
                wrong.append((route.name, answer.status_code, answer.text[:200]))
        for name in ("get-online-features", "push", "write-to-online-store"):  # by a body: no parameters
            request = BODIES[f"POST /feast/{name}"]
            answer = outsider.client.post(f"{platform.url}/feast/{name}", **request)
            if answer.status_code != 404 or answer.headers["content-type"] != "application/json":
                wrong.append((name, answer.status_code, answer.text[:200]))
        assert not wrong

    def test_is_not_found_when_it_names_the_team(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route], outsider: Caller
    ) -> None:
        client = platform.client(outsider.token, team=estate.owner.team)
        for route in routes:
            if not route.open:
                answer = client.request(route.method, platform.url + estate.path(route))
                assert _is_refusal(route, answer, 404, "not_found"), (route.name, answer.text)

    def test_sees_nothing_of_it_in_any_list(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route], outsider: Caller
    ) -> None:
        lists = [r for r in routes if r.method == "GET" and not r.parameters and r.path.startswith(API)]
        assert len(lists) > 10
        for route in lists:
            if Permission.SYNC_INFERENCE in route.permissions:
                continue  # the snapshot holds every team's deployments: see below
            answer = outsider.client.get(platform.url + route.path)
            assert answer.status_code == 200, (route.name, answer.text)
            seen = {mark for mark in estate.marks if mark in answer.text}
            assert not seen, route.name

    def test_cannot_reach_it_by_a_body_either(self, estate: Estate, outsider: Caller) -> None:
        own = outsider.client.post("/experiments", json={"name": "own"}).json()["experiment_id"]
        asked = [
            ("/models/deploy", BODIES["POST /models/deploy"]["json"]),
            ("/feature-views", BODIES["POST /feature-views"]["json"]),
            ("/training-sets", BODIES["POST /training-sets"]["json"]),
            ("/models/own/versions", {"run_id": estate.values["run_id"]}),
            (f"/experiments/{own}/train", {"source": estate.values["job_id"].replace("job", "src")}),
            (
                f"/experiments/{own}/train",
                {"source": {"train.py": ""}, "inputs": {"x": "dataset:customers@1"}},
            ),
            (
                f"/experiments/{own}/train",
                {
                    "source": {"train.py": ""},
                    "inputs": {"x": f"training_set:{estate.values['training_set_id']}"},
                },
            ),
        ]
        for path, body in asked:
            answer = outsider.client.post(path, json=body)
            assert answer.status_code in (404, 422), (path, body, answer.text)
            assert not {mark for mark in estate.marks if mark in answer.text} - set(_texts(body)), path


class TestTheOwner:
    """The control: what others are refused is there, and these requests are good ones."""

    def test_is_let_in_by_every_route(
        self, platform: RunningPlatform, estate: Estate, routes: list[Route]
    ) -> None:
        order = ["GET", "PUT", "PATCH", "POST", "DELETE"]
        harmless = [
            route for route in routes if route.path.startswith(API) and route.name not in PLATFORM_WIDE
        ]
        wrong = []
        for route in sorted(harmless, key=lambda route: order.index(route.method)):
            if Permission.MANAGE_PLATFORM in route.permissions:
                continue
            answer = estate.owner.client.request(
                route.method, platform.url + estate.path(route), **estate.request(route)
            )
            if answer.status_code in (401, 403, 404, 405) or answer.status_code >= 500:
                wrong.append((route.name, answer.status_code, answer.text[:300]))
        excused = {
            "POST /api/v1/models/{name}/versions",  # its run logged no model
            "GET /api/v1/deployments/{deployment_id}/drift",  # no report yet
            "GET /api/v1/deployments/{deployment_id}/manifest",  # nothing was built yet
            "GET /api/v1/deployments/{deployment_id}/metrics",  # no inference server runs here
            "POST /api/v1/deployments/{deployment_id}/predict",  # no inference server runs here
            "POST /api/v1/deployments/{deployment_id}/restore",  # nothing was live yet
            "POST /api/v1/approvals/{approval_id}/review",  # the owner broke the glass just before
        }
        left = [entry for entry in wrong if entry[0] not in excused]
        assert not left, "\n".join(map(str, left))


class TestNarrowedKeys:
    def test_open_no_way_to_what_their_owner_may(self, platform: RunningPlatform, estate: Estate) -> None:
        made = platform.admin.post("/keys", json={"name": "app", "roles": ["prediction_client"]}).json()
        client = platform.client(made["token"])
        for path, body in (("/keys", {"name": "more"}), ("/sign-in-links", None)):
            answer = client.post(path, json=body)
            assert _is_problem(answer, 403, "forbidden"), answer.text

    def test_secrets_are_not_kept_for_a_second_answer(self, estate: Estate) -> None:
        headers = {"idempotency-key": estate.values["alert_id"]}
        first = estate.owner.client.post("/keys", json={"name": "once"}, headers=headers)
        again = estate.owner.client.post("/keys", json={"name": "once"}, headers=headers)
        assert (first.status_code, again.status_code) == (201, 409), again.headers
        assert first.json()["token"] not in again.text


def _is_refusal(route: Route, answer: httpx.Response, status: int, code: str) -> bool:
    """A problem, or below other protocols' paths what they have instead."""
    if NATIVE not in route.name:
        return _is_problem(answer, status, code)
    native = answer.headers["content-type"] == "application/json" and set(answer.json()) == {"detail"}
    return native and answer.status_code == status and bool(answer.json()["detail"])


def _is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    if answer.status_code != status or answer.headers["content-type"] != "application/problem+json":
        return False
    body = answer.json()
    return bool(body["code"] == code and body["status"] == status and body["detail"] and body["request_id"])


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [str(value), str(value).rpartition(":")[2]]
