"""Versions that are not what was signed here get nowhere, each with its reason."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ml_platform.kit.db import Database
from ml_platform.services.registry import ModelSigner
from ml_platform.services.registry.tables import ModelVersionRow
from tests.cli.running import Mlops
from tests.support.rollouts import Bench


def row_of(bench: Bench, name: str) -> ModelVersionRow:
    with bench.platform.runtime.components.get(Database).read() as session:
        row = session.query(ModelVersionRow).filter_by(model_name=name).order_by(ModelVersionRow.id.desc())
        found = row.first()
        assert found is not None
        session.expunge(found)
        return found


def folder_of(bench: Bench, name: str) -> Path:
    return Path(unquote(urlsplit(row_of(bench, name).source_uri).path))


class TestTheSecurityStage:
    def test_verifies_the_signature_and_says_by_which_key(self, bench: Bench) -> None:
        bench.plant("sound")
        rollout = bench.until(bench.deploy("sound"), "succeeded")
        [security] = [stage["evidence"] for stage in rollout["stages"] if stage["name"] == "security"]
        key = bench.platform.runtime.components.get(ModelSigner).key_sha256
        assert security["signature"]["verified"] is True
        assert (security["signature"]["key_sha256"], security["signature"]["files"]) == (key, 1)

    def test_stops_a_version_that_was_never_signed(self, bench: Bench) -> None:
        bench.plant("unsigned", signed=False)
        rollout = bench.until(bench.deploy("unsigned"), "failed")
        assert rollout["reason"] == "security: unsigned/1 is not signed; register it again"
        assert bench.tools.builds == 0

    def test_stops_one_with_a_file_that_nobody_signed(self, bench: Bench) -> None:
        """The digest that the small tools compare is that of one file, so only the signature finds this."""
        bench.plant("grown")
        (folder_of(bench, "grown") / "extra.py").write_text("print('hello')")
        rollout = bench.until(bench.deploy("grown"), "failed")
        assert "security: the files of grown/1 are not those that were signed: extra.py was added" in str(
            rollout["reason"]
        )

    def test_stops_one_that_carries_the_signature_of_another(self, bench: Bench) -> None:
        bench.plant("first")
        bench.plant("second")
        database = bench.platform.runtime.components.get(Database)
        taken = row_of(bench, "first").artifact_signature
        with database.write() as session:
            row = session.get_one(ModelVersionRow, row_of(bench, "second").id)
            row.artifact_signature = taken
        rollout = bench.until(bench.deploy("second"), "failed")
        assert "the signature is that of 'first/1', not of second/1" in rollout["reason"]


class TestThePlan:
    def test_says_beforehand_that_the_signature_stops_it(self, bench: Bench) -> None:
        bench.plant("unsigned", signed=False)
        plan = bench.engineer.client.post("/models/unsigned/deploy/plan", json={"environment": "staging"})
        assert (plan.status_code, plan.json()["stopped_by"]) == (200, "security")


class TestWithoutThePlatform:
    def test_signature_and_key_are_there_for_who_wants_to_check(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.plant("sound")
        mlops = Mlops(monkeypatch)
        mlops.use(MLOPS_API_URL=bench.platform.url, MLOPS_API_KEY=bench.engineer.token, MLOPS_TEAM=None)
        assert mlops("models", "signing-key", "--file", str(tmp_path / "key.pem")).code == 0
        signer = bench.platform.runtime.components.get(ModelSigner)
        assert (tmp_path / "key.pem").read_text() == signer.public_key
        shown = mlops("models", "signature", "sound", "--file", str(tmp_path / "sound.sig"))
        assert shown.code == 0
        assert '"mediaType"' in (tmp_path / "sound.sig").read_text()
        answer = bench.engineer.client.get("/models/sound/versions/1/signature")
        assert answer.json()["signed_name"] == "sound/1"

    def test_another_teams_signature_is_not_there(self, bench: Bench) -> None:
        bench.plant("sound")
        bench.new_team()
        assert bench.engineer.client.get("/models/sound/versions/1/signature").status_code == 404
