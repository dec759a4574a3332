"""The suite's own runner: what it runs again, and what it says of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAKY = """
import pathlib
def test_of_luck():
    seen = pathlib.Path(__file__).with_name("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("not yet")
"""
BROKEN = "def test_of_truth():\n    raise AssertionError('never')\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.run_tests", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class TestRunning:
    @pytest.mark.parametrize("arguments", [[], ["--processes", "2"]])
    def test_what_passes_alone_is_flaky_and_said_to_be(self, project: Path, arguments: list[str]) -> None:
        (project / "test_it.py").write_text(FLAKY)
        done = run(project, *arguments, "test_it.py")
        assert done.returncode == 0, done.stdout
        assert "FLAKY" in done.stdout
        assert done.stdout.rstrip().endswith("test_it.py::test_of_luck")

    def test_what_fails_twice_fails(self, project: Path) -> None:
        (project / "test_it.py").write_text(FLAKY + BROKEN)
        done = run(project, "test_it.py")
        assert done.returncode == 1
        assert "1 failed, 1 passed" in done.stdout.rpartition("run once more")[2]

    def test_more_than_a_handful_is_not_run_again(self, project: Path) -> None:
        for number in range(6):
            (project / f"test_{number}.py").write_text(FLAKY.replace("seen", f"seen{number}"))
        done = run(project)
        assert done.returncode == 1
        assert "run once more" not in done.stdout

    def test_what_cannot_be_collected_fails(self, project: Path) -> None:
        (project / "test_it.py").write_text("import nothing_of_this_name\n")
        assert run(project).returncode == 2
