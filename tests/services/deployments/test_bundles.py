"""Bundles that were changed in the storage: none is taken for the one that was built."""

import hashlib
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import onnx
import pytest

from ml_platform.contracts.bundles import decode_manifest, encode_manifest
from ml_platform.kit.db import Database
from ml_platform.services.identity.tables import TeamRow
from tests.support.rollouts import Bench


def build_of(rollout: dict[str, Any]) -> dict[str, Any]:
    return next(stage["evidence"] for stage in rollout["stages"] if stage["name"] == "build")


def path_of(build: dict[str, Any]) -> Path:
    return Path(unquote(urlsplit(build["bundle_uri"]).path))


def overwrite(path: Path, content: bytes) -> None:
    """As somebody does who may write to the storage: what is stored is read-only."""
    path.unlink()
    path.write_bytes(content)


def tamper(bundle: Path, bias: float) -> None:
    """Another graph, and a manifest that lists it."""
    model = onnx.load(bundle / "model.onnx")
    model.graph.initializer[0].double_data[:] = [bias]
    content = model.SerializeToString()
    overwrite(bundle / "model.onnx", content)
    manifest = decode_manifest((bundle / "bundle.json").read_bytes())
    files = {**manifest.files, "model.onnx": hashlib.sha256(content).hexdigest()}
    overwrite(bundle / "bundle.json", encode_manifest(msgspec.structs.replace(manifest, files=files)))


def deployed(bench: Bench, environment: str = "staging") -> tuple[dict[str, Any], dict[str, Any]]:
    """The deployment, and what its build found."""
    accepted = bench.deploy("plain", environment)
    return accepted, build_of(bench.until(accepted, "succeeded"))


def retire(bench: Bench, accepted: dict[str, Any]) -> None:
    answer = bench.engineer.client.post(f"/deployments/{accepted['deployment_id']}/retire")
    assert answer.status_code == 200, answer.text


class TestAnUntouchedBundle:
    def test_what_was_tried_in_staging_is_what_the_next_environment_gets(self, bench: Bench) -> None:
        bench.plant("plain")
        _, first = deployed(bench)
        _, second = deployed(bench, "dev")
        assert (first["reused"], second["reused"]) == (False, True)
        assert second["bundle_digest"] == first["bundle_digest"]
        assert second["bundle_uri"] == first["bundle_uri"]
        assert bench.tools.builds == 1


class TestAChangedBundle:
    @pytest.fixture
    def first(self, bench: Bench) -> tuple[dict[str, Any], dict[str, Any]]:
        bench.plant("plain")
        return deployed(bench)

    def rebuilt(self, bench: Bench) -> dict[str, Any]:
        accepted, build = deployed(bench, "dev")
        assert bench.tools.builds == 2
        assert not build["reused"]
        bench.answers_with(accepted, 2.0)
        return build

    def test_a_changed_graph_with_a_manifest_that_matches_is_built_anew(
        self, bench: Bench, first: tuple[dict[str, Any], dict[str, Any]]
    ) -> None:
        accepted, before = first
        retire(bench, accepted)
        tamper(path_of(before), bias=41.0)
        build = self.rebuilt(bench)
        assert "was changed in the storage" in build["rebuilt_because"]
        assert build["bundle_uri"] == before["bundle_uri"]
        assert build["bundle_digest"] == before["bundle_digest"]
        [aside] = (path_of(before).parent / ".damaged").glob(f"{path_of(before).name}-*")
        changed = onnx.load(aside / "model.onnx")
        assert list(changed.graph.initializer[0].double_data) == [41.0]
        events = bench.platform.admin.get(f"/audit/events?resource={path_of(before).name}").json()["items"]
        [event] = [event for event in events if event["action"] == "bundle.rebuilt"]
        assert event["context"]["moved_to"] == aside.as_uri()
        assert event["context"]["model"] == "plain/1"

    def test_the_one_that_a_live_revision_serves_from_stays_where_it_is(
        self, bench: Bench, first: tuple[dict[str, Any], dict[str, Any]]
    ) -> None:
        accepted, before = first
        overwrite(path_of(before) / "model.onnx", b"rotten")
        build = self.rebuilt(bench)
        assert build["bundle_uri"] != before["bundle_uri"]
        assert (path_of(before) / "model.onnx").read_bytes() == b"rotten"
        bench.answers_with(accepted, 2.0)
        _, third = deployed(bench, "dev")
        assert third["reused"]
        assert third["bundle_uri"] == build["bundle_uri"]

    def test_one_that_is_gone_is_built_again(
        self, bench: Bench, first: tuple[dict[str, Any], dict[str, Any]]
    ) -> None:
        accepted, before = first
        retire(bench, accepted)
        shutil.rmtree(path_of(before))
        assert "cannot be read" in self.rebuilt(bench)["rebuilt_because"]

    def test_one_that_somebody_put_there_beforehand_is_not_taken(
        self, bench: Bench, first: tuple[dict[str, Any], dict[str, Any]]
    ) -> None:
        source = path_of(first[1])
        bench.new_team()
        bench.plant("plain")
        with bench.platform.runtime.components.get(Database).read() as session:
            team_id = session.query(TeamRow).filter_by(name=bench.team).one().id
        forged = source.parents[2] / team_id / "bundles" / source.name
        shutil.copytree(source, forged)
        tamper(forged, bias=41.0)
        build = self.rebuilt(bench)
        assert path_of(build) == forged
        assert "nothing says that it was built here" in build["rebuilt_because"]
