"""`mlops policies`: what needs the platform, and what does not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Mlops
from tests.support.platform import RunningPlatform, running_platform

POLICY = """@id("no-writing")
@advice("data are read-only today")
forbid (principal, action == Action::"write_data", resource);
"""
TESTS = """tests:
  - name: nobody writes
    principal: {admin: true}
    action: write_data
    expect: deny
    by: [no-writing]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "policies"
    place.mkdir()
    (place / "data.cedar").write_text(POLICY)
    (place / "data.yaml").write_text(TESTS)
    return place


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("governed")) as running:
        yield running


class TestOffline:
    def test_tests_need_no_platform(self, mlops: Mlops, folder: Path) -> None:
        found = mlops.json("policies", "test", folder)
        assert found["valid"]
        assert [result["policies"] for result in found["tests"]] == [["no-writing"]]

    def test_a_failing_one_is_shown_and_ends_with_1(self, mlops: Mlops, folder: Path) -> None:
        (folder / "data.yaml").write_text(TESTS.replace("deny", "allow"))
        ran = mlops("policies", "test", folder)
        assert ran.code == 1
        assert "FAILED" in ran.stdout
        assert "expected allow, found deny" in ran.stdout
        assert "1 policies, 1 tests, 1 failed" in ran.stderr

    def test_a_broken_policy_is_named_with_its_file(self, mlops: Mlops, folder: Path) -> None:
        (folder / "other.cedar").write_text(POLICY.replace("write_data", "predict").replace("no-w", "w"))
        ran = mlops("policies", "test", folder)
        assert ran.code == 1
        assert "other.cedar: writing: policies of an organisation have no say in predict" in ran.stderr

    def test_a_folder_that_is_none_is_wrong_input(self, mlops: Mlops, tmp_path: Path) -> None:
        assert mlops("policies", "test", tmp_path / "nowhere").code == 2

    def test_without_what_evaluates_them_it_says_what_to_install(self, folder: Path) -> None:
        program = (
            "import sys\n"
            "sys.modules['cedarpy'] = None\n"  # as where it is not installed
            f"sys.argv = ['mlops', 'policies', 'test', {str(folder)!r}]\n"
            "from ml_platform.cli.main import main\n"
            "main()\n"
        )
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert ran.returncode == 1
        assert "pip install 'ml-platform[policies]'" in ran.stderr


class TestWithAPlatform:
    def test_a_set_goes_from_validation_to_history_and_back(
        self, mlops: Mlops, governed: RunningPlatform, folder: Path, tmp_path: Path
    ) -> None:
        mlops.use(MLOPS_API_URL=governed.url, MLOPS_API_KEY=governed.admin_token)
        assert mlops.json("policies", "validate", folder)["valid"]
        applied = mlops.json("policies", "apply", folder, "--note", "an audit", "--yes")
        assert (applied["version"], applied["policies"]) == (1, ["no-writing"])
        assert mlops.json("policies", "history")[0]["note"] == "an audit"
        saved = tmp_path / "saved"
        assert mlops("policies", "show", "--save", saved).code == 0
        assert (saved / "data.cedar").read_text() == POLICY
        assert (saved / "data.yaml").read_text() == TESTS
        assert mlops("policies", "show", "--save", saved).code == 2
        assert "entity Resource" in mlops("policies", "show", "--schema").stdout
        listed = mlops("policies", "list")
        assert "no-writing" in listed.stdout
        (folder / "data.yaml").write_text(TESTS.replace("deny", "allow"))
        refused = mlops("policies", "apply", folder, "--yes")
        assert refused.code == 2
        assert "nobody writes" in refused.stderr
        assert mlops("policies", "apply", folder, "--expected-version", "7", "--yes").code == 2

    def test_applying_asks_first(self, mlops: Mlops, folder: Path) -> None:
        assert mlops("policies", "apply", folder).code == 2
