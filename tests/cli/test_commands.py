"""What people do with the command line, against a real control plane."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import ON_SQLITE
from tests.cli.running import Mlops
from tests.support.platform import Caller, RunningPlatform

pytestmark = ON_SQLITE

_CUSTOMERS = """customer_id,event_timestamp,tenure,contract,churn
c1,2024-01-01T00:00:00Z,3,monthly,1
c2,2024-01-02T00:00:00Z,40,yearly,0
c3,2024-01-03T00:00:00Z,12,monthly,0
"""


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    file = tmp_path / "customers.csv"
    file.write_text(_CUSTOMERS)
    return file


class TestForms:
    def test_table_json_and_yaml_hold_the_same(self, as_ana: Mlops, ana: Caller) -> None:
        table, text = as_ana("whoami"), as_ana("whoami", "--output", "yaml")
        data = as_ana.json("whoami")
        assert data["name"] == ana.name
        assert yaml.safe_load(text.stdout) == data
        assert ana.name in table.stdout
        assert "{" not in table.stdout  # a mapping of plain values is written name=value
        assert table.stderr == text.stderr == ""

    def test_an_empty_list_is_data_in_json_and_a_remark_in_a_table(self, as_ana: Mlops) -> None:
        assert as_ana.json("models", "list") == []
        ran = as_ana("models", "list")
        assert (ran.code, ran.stdout, ran.stderr) == (0, "", "nothing there yet\n")

    @pytest.mark.parametrize(
        "group",
        ["jobs", "models", "deployments", "datasets", "features", "approvals", "alerts"],
    )
    def test_a_fresh_team_has_nothing_of_anything(self, as_ana: Mlops, group: str) -> None:
        assert as_ana.json(group, "list") == []

    def test_the_form_can_be_set_for_all_commands(self, as_ana: Mlops) -> None:
        as_ana.use(MLOPS_OUTPUT="json")
        assert json.loads(as_ana("jobs", "list").stdout) == []

    def test_a_name_cannot_steer_the_terminal(self, as_ana: Mlops) -> None:
        as_ana.json("experiments", "create", "[red]bold[bold]", "--description", "one\ttwo")
        shown = as_ana("experiments", "list").stdout
        assert "[red]bold[bold]" in shown
        assert "\t" not in shown


class TestIdentity:
    def test_a_team_is_set_up(self, mlops: Mlops, platform: RunningPlatform) -> None:
        team, user = platform.new_team(), platform.new_user(platform.new_team(), "viewer").name
        mlops.use(MLOPS_API_URL=platform.url, MLOPS_API_KEY=platform.admin_token, MLOPS_TEAM=team)
        mlops.json("teams", "set-member", team, user, "--role", "data_scientist", "-r", "viewer")
        members = mlops.json("teams", "members", team)
        assert [(m["user_name"], set(m["roles"])) for m in members] == [(user, {"data_scientist", "viewer"})]
        key = mlops.json("keys", "create", "laptop", "--user", user, "--expires-in-days", "30")
        mlops.use(MLOPS_API_KEY=key["token"])
        assert mlops.json("whoami")["team"] == team
        mlops.use(MLOPS_API_KEY=platform.admin_token)
        assert mlops.json("keys", "revoke", key["key_id"], "--yes")["revoked_at"] is not None
        mlops.use(MLOPS_API_KEY=key["token"])
        assert mlops("whoami").code == 4

    def test_a_teams_quota_is_set_and_shown(self, mlops: Mlops, platform: RunningPlatform) -> None:
        team = platform.new_team()
        mlops.use(MLOPS_API_URL=platform.url, MLOPS_API_KEY=platform.admin_token, MLOPS_TEAM=team)
        told = mlops.json("teams", "set-quota", team, "--replicas", "6", "--cpu", "1.5", "--deployments", "0")
        assert (told["max_replicas"], told["max_cpu"], told["max_deployments"]) == (6, 1.5, 0)
        told = mlops.json("teams", "set-quota", team, "--default", "cpu", "--memory-mb", "4096")
        assert (told["max_replicas"], told["max_cpu"], told["max_memory_mb"]) == (6, None, 4096)
        limits = {item["name"]: item for item in mlops.json("teams", "quota")["limits"]}
        assert limits["replicas"] == {"name": "replicas", "limit": 6, "used": 0}
        assert limits["cpu"]["limit"] == platform.settings.quotas.cpu
        assert "memory_mb" in mlops("teams", "quota").stdout
        assert mlops("teams", "set-quota", team).code == 2
        assert mlops("teams", "set-quota", team, "--default", "moons").code == 2

    def test_the_audit_log_is_read_and_verified(self, mlops: Mlops, platform: RunningPlatform) -> None:
        team = platform.new_team()
        mlops.use(MLOPS_API_URL=platform.url, MLOPS_API_KEY=platform.admin_token)
        events = mlops.json("audit", "list", "--action", "team.create", "--limit", "5")
        assert team in {event["after"]["name"] for event in events}
        assert mlops.json("audit", "verify")["verified"] is True


class TestDatasets:
    def test_a_file_becomes_versions(self, as_ana: Mlops, customers: Path, tmp_path: Path) -> None:
        first = as_ana.json("datasets", "upload", "telco", customers)
        assert (first["version"], first["rows"]) == (1, 3)
        customers.write_text(_CUSTOMERS + "c4,2024-01-04T00:00:00Z,5,monthly,1\n")
        assert as_ana.json("datasets", "upload", "telco", customers)["version"] == 2
        assert [v["version"] for v in as_ana.json("datasets", "versions", "telco")] == [2, 1]
        assert as_ana.json("datasets", "show", "telco")["rows"] == 4
        assert as_ana.json("datasets", "show", "telco@1")["rows"] == 3
        rows = as_ana.json("datasets", "head", "telco@1", "-n", "1", "--column", "tenure", "-c", "contract")
        assert rows == [{"tenure": 3, "contract": "monthly"}]
        target = tmp_path / "telco.parquet"
        ran = as_ana("datasets", "download", "telco@1", "--to", target)
        assert (ran.code, ran.stdout) == (0, f"{target}\n")
        assert target.read_bytes()[:4] == b"PAR1"
        assert as_ana("datasets", "download", "telco@1", "--to", target).code == 2
        assert as_ana("datasets", "download", "telco@1", "--to", target, "--overwrite").code == 0

    def test_a_file_that_breaks_the_schema_is_named_and_not_kept(
        self, as_ana: Mlops, customers: Path, tmp_path: Path
    ) -> None:
        as_ana.json("datasets", "upload", "strict", customers)
        bad = tmp_path / "bad.csv"
        bad.write_text(_CUSTOMERS.replace(",40,", ",many,"))
        ran = as_ana("datasets", "validate", "strict", bad, "--output", "json")
        assert ran.code == 1
        assert ran.data["valid"] is False
        assert ran.data["violations"][0]["column"] == "tenure"
        ran = as_ana("datasets", "upload", "strict", bad)
        assert (ran.code, ran.stdout) == (2, "")
        assert "tenure" in ran.stderr
        assert len(as_ana.json("datasets", "versions", "strict")) == 1

    def test_the_schema_goes_out_as_yaml_and_comes_back_edited(self, as_ana: Mlops, customers: Path) -> None:
        as_ana.json("datasets", "upload", "edited", customers)
        text = as_ana("datasets", "schema", "edited").stdout
        assert {column["name"] for column in yaml.safe_load(text)["columns"]} >= {"tenure", "churn"}
        assert as_ana("datasets", "set-schema", "edited", "-", stdin=text).code == 0
        assert as_ana("datasets", "schema", "edited").stdout == text

    @pytest.mark.parametrize("name", ["missing.csv", "table.xlsx"])
    def test_a_file_that_cannot_be_taken_is_named(self, as_ana: Mlops, tmp_path: Path, name: str) -> None:
        if name == "table.xlsx":
            (tmp_path / name).write_bytes(b"PK")
        ran = as_ana("datasets", "upload", "x", tmp_path / name)
        assert (ran.code, ran.stdout) == (2, "")
        assert name in ran.stderr


class TestFeatures:
    def test_from_a_file_to_online_values_and_a_training_set(
        self, as_ana: Mlops, customers: Path, tmp_path: Path
    ) -> None:
        as_ana.json("datasets", "upload", "profile", customers)
        definition = tmp_path / "view.yaml"
        definition.write_text(
            "name: customer_profile\nentities: [customer_id]\ntimestamp_field: event_timestamp\n"
            "features: [tenure, contract]\n"
        )
        assert as_ana("features", "create", definition).code == 2
        made = as_ana.json("features", "create", definition, "--dataset", "profile@1")
        assert [feature["name"] for feature in made["features"]] == ["tenure", "contract"]
        assert as_ana.json("features", "materialize", "customer_profile")["online_entities"] == 3
        online = as_ana.json(
            "features",
            "online",
            "customer_profile",
            "-k",
            "customer_id=c2",
            "-k",
            "customer_id=c1",
            "-f",
            "tenure",
        )
        assert online["tenure"] == [40, 3]
        newer = tmp_path / "newer.csv"
        newer.write_text("customer_id,event_timestamp,tenure,contract\nc2,2024-02-01T00:00:00Z,41,\n")
        pushed = as_ana.json("features", "push", "customer_profile", newer)
        assert pushed == {"feature_view": "customer_profile", "entities": 1}
        assert as_ana.json("features", "online", "customer_profile", "-k", "customer_id=c2") == {
            "customer_id": ["c2"],
            "tenure": [41],
            "contract": [None],
        }
        newer.write_text(newer.read_text().replace("41", "many"))
        refused = as_ana("features", "push", "customer_profile", newer)
        assert (refused.code, refused.stdout) != (0, "")
        assert "tenure: row 0: expected a whole number" in refused.stderr
        joined = as_ana.json(
            "features", "training-set", "profile@1", "-f", "customer_profile:tenure", "--label", "churn"
        )
        assert (joined["rows"], joined["label"]) == (3, "churn")
        assert [t["training_set_id"] for t in as_ana.json("features", "training-sets")] == [
            joined["training_set_id"]
        ]
        assert as_ana("features", "delete", "customer_profile").code == 2
        assert as_ana("features", "delete", "customer_profile", "--yes").code == 0
        assert as_ana.json("features", "list") == []


class TestServices:
    def test_what_answers_is_listed_with_its_health(self, as_ana: Mlops, platform: RunningPlatform) -> None:
        found = yaml.safe_load(as_ana("services").stdout)
        assert found["platform"]["url"] == platform.url
        services = {service["name"]: service for service in found["services"]}
        assert services["control-plane"]["health"] == "ready"
        assert services["mlflow"]["version"].count(".") == 2
        assert services["feature-views"]["health"] == "ready"
        assert services["audit"]["health"] == "forbidden"
        assert {frozenset(service) for service in services.values()} == {
            frozenset({"name", "kind", "url", "protocol", "version", "health"})
        }
