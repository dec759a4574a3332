"""Labels that arrive later, sent by HTTP, and the quality that follows, on both databases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polars as pl
import pytest

from ml_platform.inference.predictionlog.spool import Record
from ml_platform.kit.clock import rfc3339, utc_now
from ml_platform.sdk import Platform
from ml_platform.sdk.errors import InvalidInputError
from tests.support.monitoring import Watched, features, watch
from tests.support.platform import RunningPlatform


@pytest.fixture
def watched(platform: RunningPlatform, tmp_path: Path) -> Watched:
    return watch(platform, tmp_path, reference=pl.DataFrame(), graph=True)


def predicted(watched: Watched, rows: pl.DataFrame, at: datetime | None = None) -> list[float]:
    """Logs one request a row, `req-0` and on; answers the predictions."""
    watched.log(rows, at)
    return [charge * 0.01 for charge in rows["monthly_charges"]]


def tell(watched: Watched, records: list[dict[str, Any]]) -> httpx.Response:
    return watched.caller.client.post(f"{watched.path}/ground-truth", json={"records": records})


def quality(watched: Watched, **params: Any) -> dict[str, Any]:
    answer = watched.caller.client.get(f"{watched.path}/quality", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def uploads(watched: Watched) -> list[dict[str, Any]]:
    return list(watched.caller.client.get(f"{watched.path}/ground-truth").json()["items"])


def audited(watched: Watched) -> list[dict[str, Any]]:
    answer = watched.platform.admin.get(
        "/audit/events", params={"resource": watched.deployment_id, "action": "ground_truth.upload"}
    )
    return list(answer.json()["items"])


class TestUploading:
    def test_makes_quality_of_labels_by_request(self, watched: Watched) -> None:
        answers = predicted(watched, features().head(200))
        made = tell(
            watched, [{"request_id": f"req-{i}", "label": value + 0.5} for i, value in enumerate(answers)]
        )
        assert made.status_code == 201, made.text
        assert (made.json()["records"], made.json()["repeated"]) == (200, False)
        report = quality(watched)
        assert (report["labels"], report["matched"], report["ambiguous"]) == (200, 200, 0)
        [revision] = report["revisions"]
        assert (revision["revision_id"], revision["model_name"]) == (watched.revision_id, "churn")
        assert (revision["status"], revision["predictions"], revision["labelled"]) == ("measured", 200, 200)
        assert revision["metrics"] == pytest.approx({"rmse": 0.5, "mae": 0.5, "mean_error": -0.5})

    def test_too_few_labels_are_not_enough_data(self, watched: Watched) -> None:
        predicted(watched, features().head(200))
        tell(watched, [{"request_id": f"req-{i}", "label": 1.0} for i in range(99)])
        [revision] = quality(watched)["revisions"]
        assert (revision["status"], revision["labelled"], revision["metrics"]) == ("not_enough_data", 99, {})
        assert "at least 100 are needed" in revision["reason"]
        assert quality(watched, min_rows=99)["revisions"][0]["status"] == "measured"
        assert quality(watched, window="1m")["revisions"] == []

    def test_finds_predictions_by_entity_and_time(self, watched: Watched) -> None:
        now = utc_now()
        for hours, charge in ((9, 10.0), (6, 20.0), (3, 30.0)):
            _log_of_customer(watched, now - timedelta(hours=hours), charge)
        labels = [{"entity": {"customer_id": 17}, "time": rfc3339(now - timedelta(hours=5)), "label": 1.2}]
        assert tell(watched, labels).status_code == 201
        report = quality(watched, min_rows=1)
        assert (report["matched"], report["revisions"][0]["labelled"]) == (1, 1)
        assert report["revisions"][0]["metrics"]["mean_error"] == pytest.approx(0.2 - 1.2)

    def test_of_the_same_records_again_changes_nothing(self, watched: Watched) -> None:
        predicted(watched, features().head(100))
        records = [{"request_id": f"req-{i}", "label": 1.0} for i in range(100)]
        first = tell(watched, records).json()
        with ThreadPoolExecutor(4) as pool:
            again = [answer.json() for answer in pool.map(lambda _: tell(watched, records), range(4))]
        assert {answer["upload_id"] for answer in again} == {first["upload_id"]}
        assert all(answer["repeated"] for answer in again)
        assert [upload["upload_id"] for upload in uploads(watched)] == [first["upload_id"]]
        assert [event["after"]["records"] for event in audited(watched)] == [100]
        assert quality(watched)["labels"] == 100

    def test_at_the_same_moment_is_one_upload(self, watched: Watched) -> None:
        records = [{"request_id": "req-1", "label": 1.0}]
        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(lambda _: tell(watched, records), range(6)))
        assert [answer.status_code for answer in made] == [201] * 6
        assert [answer.json()["repeated"] for answer in made].count(False) == 1
        assert (len(uploads(watched)), len(audited(watched))) == (1, 1)

    def test_corrects_what_was_said_before(self, watched: Watched) -> None:
        answers = predicted(watched, features().head(100))
        tell(watched, [{"request_id": f"req-{i}", "label": 0} for i in range(100)])
        tell(watched, [{"request_id": f"req-{i}", "label": value} for i, value in enumerate(answers)])
        assert quality(watched)["revisions"][0]["metrics"]["mae"] == pytest.approx(0)

    def test_counts_nothing_that_was_not_committed(self, watched: Watched, monkeypatch: Any) -> None:
        """As after a crash between the file and its row: the file alone says nothing, the next try completes it."""
        predicted(watched, features().head(100))
        records = [{"request_id": f"req-{i}", "label": 1.0} for i in range(100)]
        made = tell(watched, records).json()
        storage = watched.platform.settings.home / "storage" / "ground-truth"
        files = {
            path: path.read_bytes() for path in storage.rglob("*.parquet") if watched.caller.team in str(path)
        }
        assert len(files) == 1
        _forget_upload(watched, made["upload_id"])
        assert quality(watched)["labels"] == 0
        assert tell(watched, records).json()["repeated"] is False
        assert quality(watched)["labels"] == 100
        assert {path: path.read_bytes() for path in files} == files


class TestRefusals:
    @pytest.mark.parametrize(
        ("record", "field", "why"),
        [
            ({"label": 1}, "records.1", "give either request_id"),
            ({"label": 1, "request_id": "r", "entity": {"a": 1}, "time": "2026-01-01T00:00:00Z"}, "records.1", "either"),
            ({"label": 1, "entity": {"a": 1}}, "records.1", "time: missing"),
            ({"label": 1, "entity": {"a": 1}, "time": "2026-01-01T00:00:00"}, "records.1.time", "timezone"),
            ({"label": 1, "entity": {"a": 1}, "time": "0001-01-01T00:00:00+14:00"}, "records.1.time", "greater"),
            ({"label": 1, "entity": {"a": 1}, "time": "9999-12-31T23:59:59-14:00"}, "records.1.time", "less"),
            ({"label": 1, "entity": {}, "time": "2026-01-01T00:00:00Z"}, "records.1.entity", "at least 1"),
            ({"request_id": "r"}, "records.1.label", "required"),
            ({"label": None, "request_id": "r"}, "records.1.label", "valid"),
            ({"label": [1], "request_id": "r"}, "records.1.label", "valid"),
            ({"label": 1, "request_id": "a b"}, "records.1.request_id", "pattern"),
            ({"label": 1, "request_id": "r", "instance": -1}, "records.1.instance", "greater"),
            ({"label": 1, "request_id": "r", "more": 1}, "records.1.more", "not permitted"),
        ],
    )  # fmt: skip
    def test_name_the_wrong_record_and_store_nothing(
        self, watched: Watched, record: dict[str, Any], field: str, why: str
    ) -> None:
        answer = tell(watched, [{"request_id": "fine", "label": 1}, record])
        assert answer.status_code == 422, answer.text
        assert any(
            error["field"].startswith(field) and why in error["message"] for error in answer.json()["errors"]
        )
        assert uploads(watched) == []
        assert audited(watched) == []

    def test_bound_an_upload(self, watched: Watched) -> None:
        assert tell(watched, []).status_code == 422
        assert tell(watched, [{"request_id": "r", "label": 1}] * 10_001).status_code == 422

    @pytest.mark.parametrize("window", ["", "0d", "7", "7w", "400d", "-1d"])
    def test_name_a_window_that_is_none(self, watched: Watched, window: str) -> None:
        answer = watched.caller.client.get(f"{watched.path}/quality", params={"window": window})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] in ("window", "query.window")


class TestTheSdk:
    @pytest.fixture
    def deployment(self, watched: Watched) -> Iterator[Any]:
        with Platform(watched.platform.url, watched.caller.token) as here:
            yield here.deployments.get(watched.deployment_id)

    def test_logs_records_in_parts_and_reads_the_quality(self, watched: Watched, deployment: Any) -> None:
        answers = predicted(watched, features())
        records = [
            {"request_id": f"req-{i}", "label": value, "instance": None} for i, value in enumerate(answers)
        ]
        made = deployment.log_ground_truth(records)
        assert [upload.records for upload in made] == [5_000, len(records) - 5_000]
        assert all(upload.repeated for upload in deployment.log_ground_truth(records))
        report = deployment.quality("1d", min_rows=7_000)
        assert report.matched == len(records)
        assert report.revisions[0].metrics["rmse"] == pytest.approx(0)

    def test_takes_a_data_frame(self, watched: Watched, deployment: Any) -> None:
        predicted(watched, features().head(100))
        frame = pl.DataFrame(
            {"request_id": [f"req-{i}" for i in range(100)], "label": [0.0] * 100}
        ).to_pandas()
        assert deployment.log_ground_truth(frame)[0].records == 100

    def test_names_the_wrong_record(self, deployment: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"records\.1\.label"):
            deployment.log_ground_truth([{"request_id": "r", "label": 1}, {"request_id": "r", "label": {}}])


def _log_of_customer(watched: Watched, at: datetime, charge: float) -> None:
    row = features().head(1).with_columns(monthly_charges=pl.lit(charge))
    writer = watched.segment(row.head(0), at)
    record = Record(
        f"of-{charge}",
        int(at.timestamp() * 1e6),
        900,
        200,
        [{"customer_id": "17"}],
        row.rows(),
        [charge * 0.01],
        None,
    )
    writer.append(watched.header(), [msgspec.msgpack.encode(record)])
    writer.close()
    watched.roll()


def _forget_upload(watched: Watched, upload_id: str) -> None:
    from sqlalchemy import delete

    from ml_platform.kit.db import Database
    from ml_platform.services.monitoring.tables import GroundTruthRow

    with watched.platform.runtime.components.get(Database).write() as session:
        session.execute(delete(GroundTruthRow).where(GroundTruthRow.id == upload_id))
