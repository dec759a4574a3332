"""Requests to the platform's own worker: several in one process, each answered for itself."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ml_platform.integrations.modelbuild import children
from ml_platform.integrations.modelbuild.children import ChildLimits, ask_platform_each, workspace
from ml_platform.kit.processes import run_isolated

COLUMN = {"name": "x", "type": "double", "required": True}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"x": [1.0, 2.0, 3.0]}).write_parquet(path)
    return path


def rows(source: Path, target: Path, column: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "op": "rows",
        "source": str(source),
        "limit": None,
        "rows": str(target),
        "columns": [column or COLUMN],
        "layout": "named",
    }


class TestSeveralInOneProcess:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The processes that were started."""
        found: list[Any] = []

        def run(*arguments: Any, **options: Any) -> Any:
            found.append(arguments)
            return run_isolated(*arguments, **options)

        monkeypatch.setattr(children, "run_isolated", run)
        return found

    def test_each_has_its_own_answer_in_their_order(
        self, source: Path, tmp_path: Path, started: list[Any]
    ) -> None:
        with workspace(tmp_path / "work") as folder:
            first, unknown, bad, last = ask_platform_each(
                folder,
                ChildLimits(),
                [
                    rows(source, folder / "a.npz"),
                    {"op": "no-such-thing"},
                    rows(source, folder / "b.npz", {**COLUMN, "name": "y"}),
                    rows(source, folder / "c.npz"),
                ],
            )
            assert len(started) == 1
            assert (first.ok, first.content["rows"]) == (True, 3)
            assert (unknown.ok, unknown.failed) == (False, True)
            assert (bad.ok, bad.failed, bad.reason) == (False, False, "the data have no column 'y'")
            assert (last.ok, last.content["rows"]) == (True, 3)
            with np.load(folder / "c.npz") as arrays:
                assert arrays["v0"].tolist() == [1.0, 2.0, 3.0]

    def test_what_ends_the_process_is_each_ones_own_failure(
        self, source: Path, tmp_path: Path, started: list[Any]
    ) -> None:
        with workspace(tmp_path / "work") as folder:
            found = ask_platform_each(
                folder,
                ChildLimits(timeout=0.01),
                [rows(source, folder / "a.npz"), rows(source, folder / "b.npz")],
            )
        assert len(started) == 3, "together, and then each alone"
        assert [(answer.ok, answer.failed) for answer in found] == [(False, True)] * 2
        assert {answer.reason for answer in found} == {"the model did not answer within 0.01 s"}
