"""Teams, members and what their roles permit."""

from tests.support.platform import RunningPlatform


class TestCreatingATeam:
    def test_an_administrator_creates_one(self, platform: RunningPlatform) -> None:
        name = platform.new_team()
        names = [team["name"] for team in platform.admin.get("/teams?limit=500").json()["items"]]
        assert name in names

    def test_the_same_name_twice_is_a_conflict(self, platform: RunningPlatform) -> None:
        answer = platform.admin.post("/teams", json={"name": platform.new_team()})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")

    def test_a_data_scientist_may_not_and_is_told_why(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        answer = ana.client.post("/teams", json={"name": "own-team"})
        assert answer.status_code == 403
        assert "an administrator does this" in answer.json()["detail"]
        assert "administrator" in answer.json()["hint"]

    def test_a_refusal_names_the_roles_that_may(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        written = ana.client.post("/datasets", json={"name": "customers"})
        assert (written.status_code, written.json()["code"]) == (403, "forbidden")
        assert "who may: ml_engineer, team_lead;" in written.json()["hint"]
        listed = ana.client.get("/audit/events")
        assert "who may: team_lead, auditor;" in listed.json()["hint"]

    def test_a_wrong_name_and_an_unknown_field_are_named(self, platform: RunningPlatform) -> None:
        answer = platform.admin.post("/teams", json={"name": "Not A Slug", "colour": "red"})
        assert answer.status_code == 422
        assert {error["field"] for error in answer.json()["errors"]} == {"name", "colour"}

    def test_the_same_idempotency_key_creates_it_once(self, platform: RunningPlatform) -> None:
        name = platform.new_team()[::-1].strip("-")
        headers = {"idempotency-key": name}
        first = platform.admin.post("/teams", json={"name": name}, headers=headers)
        second = platform.admin.post("/teams", json={"name": name}, headers=headers)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert second.headers["idempotent-replayed"] == "true"

    def test_an_idempotency_key_of_another_request_is_refused(self, platform: RunningPlatform) -> None:
        headers = {"idempotency-key": platform.new_team()}
        assert platform.admin.post("/teams", json={"name": headers["idempotency-key"] + "a"}, headers=headers)
        answer = platform.admin.post("/teams", json={"name": "another"}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


class TestMembers:
    def test_a_lead_gives_roles_in_their_own_team(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        lead, other = platform.new_user(team, "team_lead"), platform.new_user(team, "viewer")
        answer = lead.client.put(f"/teams/{team}/members/{other.name}", json={"roles": ["ml_engineer"]})
        assert answer.json()["roles"] == ["ml_engineer"]
        assert "deploy_production" in other.client.get("/whoami").json()["permissions"]

    def test_a_lead_gives_no_role_to_themselves(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        lead = platform.new_user(team, "team_lead")
        answer = lead.client.put(
            f"/teams/{team}/members/{lead.name}", json={"roles": ["team_lead", "board_chair"]}
        )
        assert answer.status_code == 403

    def test_another_team_is_not_found(self, platform: RunningPlatform) -> None:
        lead = platform.new_user(platform.new_team(), "team_lead")
        other = platform.new_team()
        answer = lead.client.put(f"/teams/{other}/members/{lead.name}", json={"roles": ["viewer"]})
        assert answer.status_code == 404
        assert lead.client.get(f"/teams/{other}/members").status_code == 404
        assert lead.client.get("/whoami", headers={"mlops-team": other}).status_code == 404

    def test_without_roles_a_user_leaves_the_team(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        gone = platform.new_user(team, "ml_engineer")
        platform.admin.put(f"/teams/{team}/members/{gone.name}", json={"roles": []})
        assert gone.client.get("/whoami").status_code == 404


class TestKeys:
    def test_a_revoked_key_is_refused_at_once(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        key = ana.client.post("/keys", json={"name": "second"}).json()
        client = platform.client(key["token"])
        assert client.get("/whoami").status_code == 200
        assert ana.client.delete(f"/keys/{key['key_id']}").status_code == 200
        answer = client.get("/whoami")
        assert (answer.status_code, answer.json()["detail"]) == (401, "this key was revoked")

    def test_a_narrowed_key_does_no_more_than_it_says(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist", "prediction_client")
        key = ana.client.post("/keys", json={"name": "app", "roles": ["prediction_client"]}).json()
        assert set(platform.client(key["token"]).get("/whoami").json()["permissions"]) == {"read", "predict"}

    def test_a_key_with_a_role_that_its_owner_lacks_is_refused(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        answer = ana.client.post("/keys", json={"name": "more", "roles": ["team_lead"]})
        assert answer.status_code == 422

    def test_the_token_is_shown_once_and_stored_nowhere(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "data_scientist")
        assert ana.token not in ana.client.get("/keys").text
        for file in platform.settings.home.rglob("*"):
            if file.is_file() and file.suffix != ".key":
                assert ana.token.encode() not in file.read_bytes(), file

    def test_a_key_is_not_made_for_a_user_of_another_team(self, platform: RunningPlatform) -> None:
        lead = platform.new_user(platform.new_team(), "team_lead")
        stranger = platform.new_user(platform.new_team(), "viewer")
        answer = lead.client.post("/keys", json={"name": "theirs", "user": stranger.name})
        assert answer.status_code == 404

    def test_wrong_tokens_are_401(self, platform: RunningPlatform) -> None:
        for header in ("Bearer nonsense", "Bearer", "Basic abc", "Bearer mlops_x_y", ""):
            answer = platform.client().get("/whoami", headers={"authorization": header})
            assert answer.status_code == 401, header
            assert answer.headers["www-authenticate"] == "Bearer"


class TestBrowserSignIn:
    def test_a_link_opens_one_session(self, platform: RunningPlatform) -> None:
        ana = platform.new_user(platform.new_team(), "viewer")
        url = ana.client.post("/sign-in-links").json()["url"]
        code = url.partition("#code=")[2]
        browser = platform.client()
        login = platform.url + "/login"
        assert "script-src 'sha256-" in browser.get(login).headers["content-security-policy"]
        answer = browser.post(login, json={"code": code})
        assert answer.status_code == 204
        assert {"httponly", "samesite=lax"} <= {
            part.strip().lower() for part in answer.headers["set-cookie"].split(";")
        }
        assert browser.get("/whoami").json()["name"] == ana.name
        assert platform.client().post(login, json={"code": code}).status_code == 401

    def test_a_session_changes_nothing_without_the_csrf_header(self, platform: RunningPlatform) -> None:
        lead = platform.new_user(platform.new_team(), "team_lead")
        code = lead.client.post("/sign-in-links").json()["url"].partition("#code=")[2]
        browser = platform.client()
        browser.post(platform.url + "/login", json={"code": code})
        assert browser.post("/keys", json={"name": "x"}).status_code == 403
        assert browser.post("/keys", json={"name": "x"}, headers={"x-mlops-csrf": "1"}).status_code == 201
