"""An organisation's own policies, applied to a running platform of their own."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy

from ml_platform.contracts.identity import Permission
from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.kit.db import Database
from ml_platform.services.access import Actor, Resource
from ml_platform.services.policies import PolicySync
from tests.support.crash import eventually
from tests.support.platform import RunningPlatform, running_platform

WRITING = '@id("no-writing") @advice("data are read-only today") forbid (principal, action == Action::"write_data", resource);'
TESTS = """tests:
  - {name: nobody writes, principal: {admin: true}, action: write_data, expect: deny, by: [no-writing]}
"""


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A platform of their own: policies are the whole installation's."""
    with running_platform(tmp_path_factory.mktemp("governed")) as running:
        yield running


@pytest.fixture
def platform(governed: RunningPlatform) -> Iterator[RunningPlatform]:
    yield governed
    apply(governed, {})


def apply(platform: RunningPlatform, files: dict[str, str], **more: Any) -> httpx.Response:
    """Applies a set and waits until it is in force."""
    answer = platform.admin.put("/policies", json={"files": files, **more})
    if answer.status_code == 200:
        wanted = answer.json()["version"]
        eventually(
            lambda: platform.admin.get("/policies").json()["in_force"] == wanted,
            within=30,
            what="the policies",
        )
    return answer


def newest(platform: RunningPlatform) -> int:
    return int(platform.admin.get("/policies").json()["version"])


class TestApplying:
    def test_is_in_force_for_everybody_and_gone_again(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "ml_engineer")
        assert ana.client.post("/datasets", json={"name": "before"}).status_code == 201
        assert apply(platform, {"data.cedar": WRITING}, tests={"t.yaml": TESTS}).status_code == 200
        refused = ana.client.post("/datasets", json={"name": "during"})
        assert refused.status_code == 403
        problem = refused.json()
        assert problem["policies"] == ["no-writing"]
        assert "data are read-only today" in problem["detail"]
        assert platform.admin.post("/datasets", json={"name": "admins-too"}).status_code == 403
        assert apply(platform, {}).status_code == 200
        assert ana.client.post("/datasets", json={"name": "after"}).status_code == 201

    def test_leaves_the_way_back_open_whatever_is_forbidden(self, platform: RunningPlatform) -> None:
        shut = '@id("shut") @advice("closed") forbid (principal, action, resource);'
        assert apply(platform, {"all.cedar": shut}).status_code == 200
        assert platform.admin.post("/datasets", json={"name": "shut"}).status_code == 403
        assert platform.admin.get("/audit/events").status_code == 200
        assert apply(platform, {}).status_code == 200

    def test_of_a_broken_set_changes_nothing_and_names_each_problem(self, platform: RunningPlatform) -> None:
        assert apply(platform, {"data.cedar": WRITING}).status_code == 200
        before = newest(platform)
        answer = apply(platform, {"broken.cedar": "forbid (", "data.cedar": WRITING})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "broken.cedar"
        assert newest(platform) == before
        assert platform.admin.post("/datasets", json={"name": "still-refused"}).status_code == 403

    def test_of_a_set_whose_test_fails_is_refused(self, platform: RunningPlatform) -> None:
        before = newest(platform)
        answer = apply(platform, {"data.cedar": WRITING}, tests={"t.yaml": TESTS.replace("deny", "allow")})
        assert answer.status_code == 422
        assert "1 of 1 tests fail" in answer.json()["detail"]
        assert "expected allow, found deny" in answer.json()["errors"][0]["message"]
        assert newest(platform) == before

    def test_of_the_same_set_again_makes_no_version(self, platform: RunningPlatform) -> None:
        first = apply(platform, {"data.cedar": WRITING}).json()
        assert apply(platform, {"data.cedar": WRITING}).json() == first

    def test_over_another_version_than_the_expected_one_is_a_conflict(
        self, platform: RunningPlatform
    ) -> None:
        apply(platform, {"data.cedar": WRITING})
        answer = apply(platform, {}, expected_version=newest(platform) - 1)
        assert answer.status_code == 409
        assert answer.json()["version"] == newest(platform)
        assert apply(platform, {}, expected_version=newest(platform)).status_code == 200

    def test_is_for_administrators(self, platform: RunningPlatform) -> None:
        lead = platform.new_user(platform.new_team(), "team_lead")
        assert lead.client.put("/policies", json={"files": {}}).status_code == 403
        assert lead.client.post("/policies/validate", json={"files": {}}).status_code == 403

    @pytest.mark.parametrize("name", ["../a.cedar", "A.cedar", "a.txt", ".cedar", "a/b.cedar", "a.cedar\n"])
    def test_takes_plain_file_names_alone(self, platform: RunningPlatform, name: str) -> None:
        assert apply(platform, {name: WRITING}).status_code == 422


class TestWhatIsKept:
    def test_every_version_with_its_files(self, platform: RunningPlatform) -> None:
        version = apply(platform, {"data.cedar": WRITING}, tests={"t.yaml": TESTS}, note="an audit").json()
        apply(platform, {})
        kept = platform.admin.get(f"/policies/versions/{version['version']}").json()
        assert kept["files"] == {"data.cedar": WRITING}
        assert kept["tests"] == {"t.yaml": TESTS}
        assert (kept["note"], kept["policies"]) == ("an audit", ["no-writing"])
        history = platform.admin.get("/policies/versions").json()["items"]
        numbers = [item["version"] for item in history]
        assert numbers == sorted(numbers, reverse=True)
        assert platform.admin.get("/policies/versions/1000000").status_code == 404

    def test_an_audit_event_with_before_and_after(self, platform: RunningPlatform) -> None:
        version = apply(platform, {"data.cedar": WRITING}, note="an audit").json()["version"]
        params = {"action": "policies.apply", "resource": str(version)}
        [event] = platform.admin.get("/audit/events", params=params).json()["items"]
        assert event["after"]["policies"] == ["no-writing"]
        assert event["before"] is None or event["before"]["version"] == version - 1
        assert event["context"]["note"] == "an audit"
        assert WRITING not in json.dumps(event)

    def test_everybody_sees_what_is_in_force(self, platform: RunningPlatform) -> None:
        apply(platform, {"data.cedar": WRITING})
        viewer = platform.new_user(platform.new_team(), "viewer")
        shown = {item["policy_id"]: item for item in viewer.client.get("/policies").json()["policies"]}
        assert shown["no-writing"]["origin"] == "organisation"
        assert shown["no-writing"]["actions"] == ["write_data"]
        assert shown["viewers-read"]["origin"] == "platform"
        assert "entity Resource" in viewer.client.get("/policies/schema").json()["cedar_schema"]


class TestTheLastGoodVersion:
    """A version may not be readable by a process: another release wrote it, or somebody changed the row."""

    def spoil(self, platform: RunningPlatform, version: int, text: str) -> None:
        with platform.runtime.components.get(Database).write() as session:
            session.execute(
                sqlalchemy.text("UPDATE policy_sets SET files = :files WHERE version = :version"),
                {"files": json.dumps({"data.cedar": text}), "version": version},
            )

    def test_stays_in_force_and_is_said_to(self, platform: RunningPlatform) -> None:
        good = apply(platform, {"data.cedar": WRITING}).json()["version"]
        database = platform.runtime.components.get(Database)
        with database.write() as session:
            session.execute(
                sqlalchemy.text(
                    "INSERT INTO policy_sets SELECT version + 1, digest, :files, tests, policy_ids, note,"
                    " applied_by, applied_by_name, applied_at FROM policy_sets WHERE version = :version"
                ),
                {"files": json.dumps({"data.cedar": "forbid ("}), "version": good},
            )

        def told() -> dict[str, Any]:
            found: dict[str, Any] = platform.admin.get("/policies").json()
            return found if found["problem"] else {}

        shown = eventually(told, within=30, what="the problem")
        assert (shown["in_force"], shown["version"]) == (good, good + 1)
        assert platform.admin.post("/datasets", json={"name": "still-refused-2"}).status_code == 403
        assert apply(platform, {}).status_code == 200
        assert platform.admin.get("/policies").json()["problem"] is None

    def test_is_found_by_a_process_that_starts(self, platform: RunningPlatform) -> None:
        good = apply(platform, {"data.cedar": WRITING}).json()["version"]
        bad = apply(platform, {}).json()["version"]
        self.spoil(platform, bad, "forbid (")
        started = CedarAuthorizer()
        PolicySync(platform.runtime.components.get(Database), started).refresh()
        assert started.version == good
        self.spoil(platform, bad, WRITING)

    def test_when_there_is_none_closes_what_policies_have_a_say_in(self) -> None:
        authorizer = CedarAuthorizer()
        authorizer.close("version 3 cannot be read")
        admin = Actor("usr_1", "root", admin=True, team_id="t")
        denied = authorizer.decide(admin, Permission.DEPLOY_PRODUCTION, Resource("team", "t", "t"))
        assert not denied.allowed
        assert "version 3" in denied.reason
        assert authorizer.decide(admin, Permission.MANAGE_PLATFORM, Resource("team", "t", "t")).allowed
        assert authorizer.use(4, {}) is None
        assert authorizer.decide(admin, Permission.DEPLOY_PRODUCTION, Resource("team", "t", "t")).allowed
