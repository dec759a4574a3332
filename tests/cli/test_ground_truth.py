"""`mlops deployments ground-truth` and `quality`, with files as people have them."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ml_platform.kit.clock import rfc3339, utc_now
from tests.cli.conftest import ON_SQLITE
from tests.cli.running import Mlops
from tests.support.monitoring import Watched, features, watch
from tests.support.platform import Caller, RunningPlatform

pytestmark = ON_SQLITE


@pytest.fixture
def watched(platform: RunningPlatform, tmp_path: Path, ana: Caller) -> Watched:
    return watch(platform, tmp_path / "watched", caller=ana, reference=pl.DataFrame(), graph=True)


class TestGroundTruth:
    @pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
    def test_is_read_from_files_and_shows_as_quality(
        self, as_ana: Mlops, watched: Watched, tmp_path: Path, form: str
    ) -> None:
        watched.log(features().head(3))
        records = [{"request_id": f"req-{number}", "label": 0.5} for number in range(3)]
        file = tmp_path / f"labels.{form}"
        if form == "csv":
            file.write_text("request_id,label,instance\n" + "".join(f"req-{n},0.5,0\n" for n in range(3)))
        elif form == "json":
            file.write_text(json.dumps({"records": records}))
        else:
            file.write_text("\n".join(map(json.dumps, records)))
        [made] = as_ana.json("deployments", "ground-truth", "staging/churn", "--file", str(file))
        assert (made["records"], made["repeated"]) == (3, False)
        report = as_ana.json("deployments", "quality", "staging/churn", "--min-rows", "3")
        assert report["matched"] == 3
        table = as_ana("deployments", "quality", watched.deployment_id, "--window", "24h").stdout
        assert "not_enough_data" in table

    def test_by_entity_is_read_from_csv(self, as_ana: Mlops, watched: Watched, tmp_path: Path) -> None:
        moment = rfc3339(utc_now() - timedelta(minutes=1))
        file = tmp_path / "labels.csv"
        file.write_text(f"entity.customer_id,time,label\n7590-VHVEG,{moment},Yes\n")
        [made] = as_ana.json("deployments", "ground-truth", "staging/churn", "--file", str(file))
        assert made["records"] == 1

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("a.csv", "request,label\nr,1\n", "column 'request' is none of them"),
            ("a.csv", "request_id\nr\n", "there is no column 'label'"),
            ("a.csv", "request_id,label\n", "holds no records"),
            ("a.json", "{", "Expecting"),
        ],
    )
    def test_says_what_is_wrong_with_a_file(
        self, as_ana: Mlops, tmp_path: Path, name: str, content: str, says: str
    ) -> None:
        file = tmp_path / name
        file.write_text(content)
        ran = as_ana("deployments", "ground-truth", "staging/churn", "--file", str(file))
        assert ran.code == 2
        assert says in " ".join(ran.stderr.split())

    def test_names_the_wrong_record(self, as_ana: Mlops, watched: Watched, tmp_path: Path) -> None:
        file = tmp_path / "labels.csv"
        file.write_text("request_id,label\nr,1\n,2\n")
        ran = as_ana("deployments", "ground-truth", watched.deployment_id, "--file", str(file))
        assert ran.code != 0
        assert "records.1" in ran.stderr
