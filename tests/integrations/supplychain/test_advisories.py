"""Advisories out of a local copy: which versions they affect, and what cannot be read says so."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ml_platform.integrations.supplychain import OsvAdvisories, SupplyChainInspector
from ml_platform.kit.errors import UnavailableError


def record(
    identifier: str, *events: dict[str, str], package: str = "mlflow", **changes: Any
) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
        "versions": changes.pop("versions", []),
    }
    return {
        "id": identifier,
        "summary": "reads any file",
        "affected": [affected],
        "database_specific": {"severity": "CRITICAL"},
    } | changes


PATH = record("GHSA-1", {"introduced": "0"}, {"fixed": "2.9.2"})


@pytest.fixture
def copy(tmp_path: Path):
    def make(*records: dict[str, Any]) -> OsvAdvisories:
        file = tmp_path / "advisories.json"
        file.write_text(json.dumps(list(records)))
        return OsvAdvisories(file)

    return make


def ids(advisories: OsvAdvisories, package: str, version: str) -> list[str]:
    return [item.advisory_id for item in advisories.find((package, version))]


class TestFinding:
    @pytest.mark.parametrize(
        ("version", "affected"),
        [("0.1", True), ("2.9.1", True), ("2.9.2rc1", True), ("2.9.2", False), ("3.0", False)],
    )
    def test_before_the_fix(self, copy, version: str, affected: bool) -> None:
        [*found] = copy(PATH).find(("mlflow", version))
        assert bool(found) is affected
        if found:
            assert (found[0].severity, found[0].fixed_in) == ("CRITICAL", "2.9.2")

    def test_again_after_it_came_back(self, copy) -> None:
        events = [{"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"last_affected": "2.3"}]
        advisories = copy(record("GHSA-2", *reversed(events)))
        versions = ["0.9", "1.0", "1.4", "1.5", "1.9", "2.0", "2.3", "2.4"]
        affected = [version for version in versions if ids(advisories, "mlflow", version)]
        assert affected == ["1.0", "1.4", "2.0", "2.3"]

    def test_by_a_list_of_versions_and_whatever_the_name_looks_like(self, copy) -> None:
        advisories = copy(record("PYSEC-1", package="My_Package", versions=["1.0", "1.1"]))
        assert ids(advisories, "my-package", "1.1.0") == ["PYSEC-1"]
        assert ids(advisories, "my.package", "1.2") == []

    def test_withdrawn_ones_and_other_ecosystems_are_none(self, copy) -> None:
        other = record("GHSA-3", {"introduced": "0"})
        other["affected"][0]["package"]["ecosystem"] = "npm"
        advisories = copy(PATH | {"withdrawn": "2024-01-01T00:00:00Z"}, other)
        assert ids(advisories, "mlflow", "1.0") == []

    def test_the_gravest_come_first(self, copy) -> None:
        low = record("A", {"introduced": "0"}, database_specific={"severity": "LOW"})
        unknown = record("B", {"introduced": "0"}, database_specific={})
        assert ids(copy(unknown, low, PATH), "mlflow", "1.0") == ["GHSA-1", "A", "B"]

    def test_odd_versions_are_passed_over(self, copy) -> None:
        assert ids(copy(record("C", {"introduced": "nonsense"}, {"fixed": "1"})), "mlflow", "0.1") == []
        assert ids(copy(PATH), "mlflow", "not-a-version") == []


class TestReading:
    def test_a_directory_json_lines_and_an_archive_are_the_same(self, tmp_path: Path) -> None:
        directory = tmp_path / "osv"
        directory.mkdir()
        (directory / "GHSA-1.json").write_text(json.dumps(PATH))
        (tmp_path / "osv.jsonl").write_text(f"{json.dumps(PATH)}\n\n{json.dumps(PATH | {'id': 'GHSA-9'})}\n")
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("GHSA-1.json", json.dumps(PATH))
        assert ids(OsvAdvisories(directory), "mlflow", "1.0") == ["GHSA-1"]
        assert ids(OsvAdvisories(tmp_path / "osv.jsonl"), "mlflow", "1.0") == ["GHSA-1", "GHSA-9"]
        assert ids(OsvAdvisories(tmp_path / "all.zip"), "mlflow", "1.0") == ["GHSA-1"]

    def test_a_newer_copy_is_read_again(self, copy, tmp_path: Path) -> None:
        advisories = copy()
        assert ids(advisories, "mlflow", "1.0") == []
        copy(PATH)
        os.utime(tmp_path / "advisories.json", (1, 1))
        assert ids(advisories, "mlflow", "1.0") == ["GHSA-1"]

    def test_a_file_that_changes_inside_a_directory_is_read_again(self, tmp_path: Path) -> None:
        directory = tmp_path / "osv"
        directory.mkdir()
        (directory / "all.json").write_text("[]")
        advisories = OsvAdvisories(directory)
        assert ids(advisories, "mlflow", "1.0") == []
        (directory / "all.json").write_text(json.dumps([PATH]))
        assert ids(advisories, "mlflow", "1.0") == ["GHSA-1"]

    def test_a_directory_without_any_is_not_passed_off_as_clean(self, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError):
            OsvAdvisories(tmp_path).find(("mlflow", "1.0"))

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"PK\x03\x04 no archive"])
    def test_what_cannot_be_read_is_not_passed_off_as_clean(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "broken").write_bytes(content)
        for name in ("broken", "nowhere"):
            with pytest.raises(UnavailableError):
                OsvAdvisories(tmp_path / name).find(("mlflow", "1.0"))

    def test_an_archive_that_unpacks_to_too_much_is_refused(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.json", b" " * 9_000_000)
        with pytest.raises(UnavailableError):
            OsvAdvisories(tmp_path / "bomb.zip").find(("mlflow", "1.0"))


class TestRequirements:
    LINES = (
        "mlflow==2.9.1",
        "numpy>=1",
        "scikit_learn == 1.5.0 ; python_version > '3'",
        "-r x",
        "# no",
        "???",
    )

    def test_only_pinned_ones_can_be_looked_up_and_the_others_are_named(self, copy) -> None:
        report = SupplyChainInspector(copy(PATH)).check_advisories(self.LINES)
        assert (report.scanned, report.packages) == (True, 2)
        assert report.not_pinned == ("numpy>=1", "???")
        assert [item.package for item in report.found] == ["mlflow"]

    def test_without_a_source_it_says_so(self) -> None:
        report = SupplyChainInspector().check_advisories(self.LINES)
        assert not report.scanned
        assert "not scanned" in str(report.note)
