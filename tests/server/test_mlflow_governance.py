"""MLflow's own client meets the policies of our API, and leaves its traces in our audit log."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml_platform.integrations.cedar import CedarAuthorizer
from ml_platform.kit.db import Database
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.mlflow_governance import OPERATIONS
from ml_platform.services.access import Authorizer
from ml_platform.services.identity.tables import KeyRow
from ml_platform.services.registry.tables import ModelVersionRow
from tests.support.platform import Caller, RunningPlatform
from tests.support.rollouts import plant

API = "/mlflow/api/2.0/mlflow"


class Registry:
    """A team with the model `churn`: version 1 is registered with the platform, version 2 with MLflow alone."""

    def __init__(self, platform: RunningPlatform, root: Path) -> None:
        self.platform = platform
        self.team = platform.new_team("back-door")
        self.ana = platform.new_user(self.team, "ml_engineer", "auditor")
        self.logged_model = self._log_model()
        for _ in range(2):
            source = f"models:/{self.logged_model}"
            self.done(
                "POST", "model-versions/create", name="churn", source=source, model_id=self.logged_model
            )
        parts = platform.runtime.components
        plant(parts.get(Database), parts.get(ObjectStorage), root, self.team, "churn")
        with parts.get(Database).write() as session:
            row = session.query(ModelVersionRow).filter_by(model_name="churn", team_id=self.team_id).one()
            row.mlflow_source = self.logged_model

    @property
    def team_id(self) -> str:
        [team] = [t for t in self.ana.client.get("/teams").json()["items"] if t["name"] == self.team]
        return str(team["team_id"])

    def _log_model(self) -> str:
        self.done("POST", "registered-models/create", name="churn")
        made = self.done("POST", "logged-models", experiment_id="0", name="model")["model"]["info"]
        self.place = made["artifact_uri"].removeprefix("mlflow-artifacts:/")
        path = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{self.place}/MLmodel"
        assert self.http("PUT", path, content=b"flavors: {}").status_code == 200
        self.done(
            "PATCH",
            f"logged-models/{made['model_id']}",
            model_id=made["model_id"],
            status="LOGGED_MODEL_READY",
        )
        return str(made["model_id"])

    def http(self, method: str, path: str, who: Caller | None = None, **options: Any) -> httpx.Response:
        token = (who or self.ana).token
        return httpx.request(
            method,
            self.platform.url + path,
            headers={"authorization": f"Bearer {token}"},
            timeout=60,
            **options,
        )

    def call(self, method: str, operation: str, who: Caller | None = None, **body: Any) -> httpx.Response:
        return self.http(method, f"{API}/{operation}", who, json=body)

    def done(self, method: str, operation: str, **body: Any) -> dict[str, Any]:
        answer = self.call(method, operation, **body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refused(self, method: str, operation: str, policy: str, **body: Any) -> None:
        answer = self.call(method, operation, **body)
        assert answer.status_code == 403, answer.text
        assert answer.json()["error_code"] == "PERMISSION_DENIED"
        assert policy in answer.json()["message"]

    def aliases(self) -> dict[str, int]:
        return dict(self.ana.client.get("/models/churn").json()["aliases"])

    def events(self, action: str) -> list[dict[str, Any]]:
        """Oldest first."""
        answer = self.ana.client.get("/audit/events", params={"action": action})
        assert answer.status_code == 200, answer.text
        return list(reversed(answer.json()["items"]))


@pytest.fixture
def registry(platform: RunningPlatform, tmp_path: Path) -> Registry:
    return Registry(platform, tmp_path)


@pytest.fixture
def house_rule(registry: Registry) -> Iterator[str]:
    """Nothing is changed about the production alias, nor about anything that is locked, in this team."""
    found = registry.platform.runtime.components.get(Authorizer)
    assert isinstance(found, CedarAuthorizer)
    text = f"""@id("locked") @advice("locked until the audit is over")
        forbid (principal, action == Action::"train_model", resource)
        when {{
          resource.team.name == "{registry.team}" && context.operation != "request"
        }};""".replace("when {", "when { resource.team has name &&")
    assert found.check({"house.cedar": text}, {}).valid
    assert found.use(1, {"house.cedar": text}) is None
    yield "locked"
    assert found.use(0, {}) is None


class TestAliases:
    def test_set_with_mlflows_client_are_ours_too_and_recorded(self, registry: Registry) -> None:
        registry.done("POST", "registered-models/alias", name="churn", alias="production", version="1")
        assert registry.aliases() == {"production": 1}
        begun, done = registry.events("mlflow.alias.set")
        assert (begun["context"]["outcome"], done["context"]["outcome"]) == ("begun", "done")
        assert begun["resource_id"] == "churn@production"
        assert begun["context"]["policies"] == ["engineers-run-production"]
        assert begun["actor_name"] == registry.ana.name
        assert len(registry.events("model.alias.set")) == 1
        registry.done("DELETE", "registered-models/alias", name="churn", alias="production")
        assert registry.aliases() == {}
        assert len(registry.events("model.alias.delete")) == 1

    def test_never_lead_to_a_version_that_the_platform_does_not_know(self, registry: Registry) -> None:
        for version in ("2", "02", "+2"):
            registry.refused(
                "POST",
                "registered-models/alias",
                "aliases-name-registered-versions",
                name="churn",
                alias="production",
                version=version,
            )
        assert registry.aliases() == {}

    @pytest.mark.parametrize("alias", ["champion", "Champion", "CHAMPION"])
    def test_that_mark_the_champion_are_the_platforms(self, registry: Registry, alias: str) -> None:
        policy = "champions-prove-themselves"
        registry.refused("POST", "registered-models/alias", policy, name="churn", alias=alias, version="1")
        registry.refused("DELETE", "registered-models/alias", policy, name="churn", alias=alias)

    def test_that_mlflow_refuses_are_recorded_as_failed_and_not_mirrored(self, registry: Registry) -> None:
        registry.done("POST", "registered-models/create", name="other")
        answer = registry.call("POST", "registered-models/alias", name="other", alias="a", version="9")
        assert answer.status_code == 404
        assert [event["context"]["outcome"] for event in registry.events("mlflow.alias.set")] == [
            "begun",
            "failed",
        ]

    def test_are_not_for_the_key_of_a_job(self, registry: Registry) -> None:
        job = registry.platform.new_user(registry.team, "training_job")
        with registry.platform.runtime.components.get(Database).write() as session:
            for key in session.query(KeyRow).filter_by(name="test"):
                if job.token.startswith(f"mlops_{key.id.removeprefix('key_')}"):
                    key.purpose = "job"
        answer = registry.call(
            "POST", "registered-models/alias", job, name="churn", alias="production", version="1"
        )
        assert answer.status_code == 403
        assert "jobs-leave-names-and-versions" in answer.json()["message"]


class TestVersions:
    def test_that_are_registered_stay_however_their_number_is_spelt(self, registry: Registry) -> None:
        policy = "registered-versions-stay"
        for version in ("1", "01", "+1", " 1"):
            registry.refused("DELETE", "model-versions/delete", policy, name="churn", version=version)
        registry.refused("DELETE", "registered-models/delete", policy, name="churn")
        registry.refused("POST", "registered-models/rename", policy, name="churn", new_name="gone")
        assert (
            registry.done("POST", "model-versions/set-tag", name="churn", version="1", key="a", value="b")
            == {}
        )

    def test_of_a_registered_model_have_no_stages(self, registry: Registry) -> None:
        for version in ("1", "2"):
            registry.refused(
                "POST",
                "model-versions/transition-stage",
                "registered-versions-stay",
                name="churn",
                version=version,
                stage="Production",
                archive_existing_versions=True,
            )

    def test_that_are_mlflows_alone_are_deleted_and_recorded(self, registry: Registry) -> None:
        registry.done("DELETE", "model-versions/delete", name="churn", version="2")
        assert [event["context"]["outcome"] for event in registry.events("mlflow.version.delete")] == [
            "begun",
            "done",
        ]

    @pytest.mark.parametrize("key", ["mlops.approved", " MLOPS.gate", "mlops.registration"])
    def test_get_no_tag_of_the_platforms(self, registry: Registry, key: str) -> None:
        policy = "platform-tags-are-the-platforms"
        registry.refused(
            "POST", "model-versions/set-tag", policy, name="churn", version="1", key=key, value="yes"
        )
        registry.refused("DELETE", "model-versions/delete-tag", policy, name="churn", version="1", key=key)
        registry.refused("POST", "registered-models/set-tag", policy, name="churn", key=key, value="yes")
        tags = [{"key": "fine", "value": "1"}, {"key": key, "value": "yes"}]
        registry.refused("POST", "registered-models/create", policy, name="new", tags=tags)
        assert registry.events("mlflow.model.create")[-1]["resource_id"] == "churn", "nothing was begun"


class TestFiles:
    def test_of_a_registered_version_are_not_written_again(self, registry: Registry) -> None:
        for api in ("api", "ajax-api"):
            base = f"/mlflow/{api}/2.0/mlflow-artifacts/artifacts"
            for name in ("MLmodel", "new/file", "%4Dlmodel"):
                answer = registry.http("PUT", f"{base}/{registry.place}/{name}", content=b"other")
                assert answer.status_code == 403, answer.text
                assert "registered-files-stay" in answer.json()["message"]
        path = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{registry.place}/MLmodel"
        assert registry.http("GET", path).content == b"flavors: {}"
        registry.refused("DELETE", f"logged-models/{registry.logged_model}", "registered-files-stay")

    def test_of_others_are(self, registry: Registry) -> None:
        made = registry.done("POST", "logged-models", experiment_id="0", name="another")["model"]["info"]
        place = made["artifact_uri"].removeprefix("mlflow-artifacts:/")
        path = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{place}/MLmodel"
        for content in (b"one", b"two"):
            assert registry.http("PUT", path, content=content).status_code == 200
        registry.done("DELETE", f"logged-models/{made['model_id']}")


class TestAnOrganisationsPolicies:
    def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        version = {"name": "churn", "version": "1"}
        tag = {"key": "a", "value": "b"}
        return [
            ("POST", "registered-models/create", {"name": "new"}),
            ("PATCH", "registered-models/update", {"name": "churn", "description": "x"}),
            ("POST", "registered-models/set-tag", {"name": "churn", **tag}),
            ("DELETE", "registered-models/delete-tag", {"name": "churn", "key": "a"}),
            ("POST", "registered-models/alias", {**version, "alias": "production"}),
            ("DELETE", "registered-models/alias", {"name": "churn", "alias": "production"}),
            (
                "POST",
                "model-versions/create",
                {"name": "churn", "source": "models:/m-" + secrets.token_hex(16)},
            ),
            ("PATCH", "model-versions/update", {**version, "description": "x"}),
            ("DELETE", "model-versions/delete", {"name": "churn", "version": "2"}),
            ("POST", "model-versions/set-tag", {**version, **tag}),
            ("DELETE", "model-versions/delete-tag", {**version, "key": "a"}),
            ("POST", "registered-models/rename", {"name": "mlflows-own", "new_name": "other"}),
            ("DELETE", "registered-models/delete", {"name": "mlflows-own"}),
            (
                "POST",
                "model-versions/transition-stage",
                {"name": "mlflows-own", "version": "1", "stage": "Staging"},
            ),
        ]

    def test_hold_for_every_write_and_leave_nothing_begun(self, registry: Registry, house_rule: str) -> None:
        tried = self.calls()
        assert len(tried) == len(OPERATIONS)
        before = len(registry.events("mlflow.*"))
        for method, operation, body in tried:
            registry.refused(method, operation, house_rule, **body)
            ajax = registry.http(method, f"/mlflow/ajax-api/2.0/mlflow/{operation}", json=body)
            assert ajax.status_code == 403, operation
            assert "locked until the audit is over" in ajax.json()["message"]
        assert len(registry.events("mlflow.*")) == before
        assert registry.aliases() == {}

    def test_are_the_same_for_our_own_api(self, registry: Registry, house_rule: str) -> None:
        answer = registry.ana.client.put("/models/churn/aliases/production", json={"version": 1})
        assert (answer.status_code, answer.json()["policies"]) == (403, [house_rule])

    def test_are_met_by_the_installed_client(
        self, registry: Registry, house_rule: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import mlflow

        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", registry.ana.token)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        url = f"{registry.platform.url}/mlflow"
        client = mlflow.MlflowClient(url, url)
        with pytest.raises(mlflow.exceptions.MlflowException, match=f"forbidden by {house_rule}") as refused:
            client.set_registered_model_alias("churn", "production", "1")
        assert refused.value.error_code == "PERMISSION_DENIED"
