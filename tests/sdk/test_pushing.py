"""`platform.features.push`: the forms in which rows come, and what is refused."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ml_platform import Platform
from ml_platform.sdk.errors import InvalidInputError, NotFoundError
from tests.support.platform import RunningPlatform

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"customer": "007", "at": "2026-03-01T00:00:00Z", "tenure": 4, "ratio": 0.5, "plan": "a, b"},
    {"customer": "c", "at": "2026-03-01T00:00:00Z", "tenure": None, "ratio": 2.0, "plan": "12"},
]
CSV = 'customer,at,tenure,ratio,plan\n007,2026-03-01T00:00:00Z,4,0.5,"a, b"\nc,2026-03-01T00:00:00Z,,2,12\n'


@pytest.fixture
def ana(platform: RunningPlatform, tmp_path: Path) -> Iterator[Platform]:
    caller = platform.new_user(platform.new_team(), "ml_engineer")
    with Platform(platform.url, caller.token) as found:
        history = tmp_path / "history.csv"
        history.write_text("customer,at,tenure,ratio,plan\nx,2024-01-01T00:00:00Z,1,0.1,free\n")
        data = found.data.upload("customers", history)
        found.features.create(data, {"name": "profile", "entities": ["customer"], "timestamp_field": "at"})
        yield found


def as_it_is(_: Path) -> Any:
    return ROWS


def columns(_: Path) -> Any:
    return {name: [row[name] for row in ROWS] for name in ROWS[0]}


def pandas(_: Path) -> Any:
    frame = pd.DataFrame(ROWS).astype({"tenure": "Int64"})
    return frame.assign(at=pd.to_datetime(frame["at"]))


def polars(_: Path) -> Any:
    return pl.DataFrame(ROWS).with_columns(at=pl.lit(NOW))


def a_csv_file(folder: Path) -> Any:
    (folder / "rows.csv").write_text(CSV)
    return folder / "rows.csv"


def a_jsonl_file(folder: Path) -> Any:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return str(folder / "rows.jsonl")


def a_parquet_file(folder: Path) -> Any:
    polars(folder).write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


class TestPush:
    @pytest.mark.parametrize("form", [as_it_is, columns, polars, a_csv_file, a_jsonl_file])
    def test_takes_rows_in_every_form(self, ana: Platform, tmp_path: Path, form: Any) -> None:
        pushed = ana.features.push("profile", form(tmp_path))
        assert (pushed.feature_view, pushed.entities) == ("profile", 2)
        found = ana.features.get("profile").online({"customer": "007"}, {"customer": "c"})
        assert found["tenure"] == [4, None]
        assert found["ratio"] == [0.5, 2.0]
        assert found["plan"] == ["a, b", "12"]

    @pytest.mark.parametrize("form", [pandas, a_parquet_file])
    def test_takes_tables_of_pandas(self, ana: Platform, tmp_path: Path, form: Any) -> None:
        rows = form(tmp_path)
        if form is a_parquet_file:
            pl.read_parquet(rows).filter(pl.col("tenure").is_not_null()).write_parquet(rows)
        else:
            rows = rows.dropna()
        assert ana.features.push("profile", rows).entities == 1
        assert ana.features.get("profile").online({"customer": "007"})["tenure"] == [4]

    def test_many_rows_go_in_parts(self, ana: Platform) -> None:
        rows = [{**ROWS[0], "customer": f"c{number}", "tenure": number} for number in range(20_500)]
        assert ana.features.push("profile", rows).entities == 20_500
        found = ana.features.get("profile").online({"customer": "c0"}, {"customer": "c20499"})
        assert found["tenure"] == [0, 20_499]

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            ([], "there are none"),
            ({"customer": ["a"], "tenure": []}, "equally long"),
            ([1], "mapping"),
            ([{**ROWS[0], "tenure": "4"}], "tenure: row 0"),
            ([{**ROWS[0], "ratio": float("nan")}], "NaN"),
            ([{**ROWS[0], "height": 1}], "height"),
        ],
    )
    def test_refuses_what_does_not_fit(self, ana: Platform, rows: Any, words: str) -> None:
        with pytest.raises(InvalidInputError, match=words):
            ana.features.push("profile", rows)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "first line"),
            ("a,a\n1,2\n", "first line"),
            ("a,b\n1\n", "row 0 has 1 values"),
            (CSV.replace(",4,", ",four,"), "tenure: row 0"),
            (CSV.replace(",0.5,", ",1e999,"), "ratio: row 0"),
        ],
    )
    def test_refuses_files_that_do_not_fit(
        self, ana: Platform, tmp_path: Path, content: str, words: str
    ) -> None:
        file = tmp_path / "rows.csv"
        file.write_text(content)
        with pytest.raises(InvalidInputError, match=words):
            ana.features.push("profile", file)

    def test_says_what_is_not_there(self, ana: Platform, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            ana.features.push("nothing", ROWS)
        with pytest.raises(InvalidInputError, match="is not a file"):
            ana.features.push("profile", tmp_path / "gone.csv")
