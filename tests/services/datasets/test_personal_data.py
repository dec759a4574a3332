"""Personal data in datasets over the API: found when a version is made, shown, and judged by people."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.integrations.personaldata.people import People
from tests.support.platform import Caller, RunningPlatform

VIEW = {
    "name": "profile",
    "dataset": "people@1",
    "entities": [{"name": "customer_id"}],
    "timestamp_field": "seen_at",
    "features": [{"name": "contact"}, {"name": "tenure"}],
}
CHURN = Path(__file__).parents[3] / "examples" / "churn"


@pytest.fixture
def engineer(platform: RunningPlatform) -> Caller:
    return platform.new_user(platform.new_team(), "ml_engineer")


def people(rows: int = 200) -> pl.DataFrame:
    drawn = People(rows)
    return pl.DataFrame(
        {
            "customer_id": [f"C{number:07d}" for number in range(rows)],
            "contact": drawn.emails(),
            "card": drawn.cards(),
            "birth_date": ["1980-01-02"] * rows,
            "tenure": list(range(rows)),
            "phone_service": ["Yes", "No"] * (rows // 2),
        }
    )


def upload(caller: Caller, frame: pl.DataFrame, name: str = "people", form: str = "csv") -> dict[str, Any]:
    caller.client.post("/datasets", json={"name": name})
    content = frame.write_csv().encode()
    answer = caller.client.post(f"/datasets/{name}/versions?format={form}", content=content)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def report(caller: Caller, name: str = "people", **query: int) -> dict[str, Any]:
    answer = caller.client.get(f"/datasets/{name}/personal-data", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def told(findings: list[dict[str, Any]], status: str = "found") -> dict[str, str]:
    """Column and kind of the findings with this status of which something follows, or that are wrong."""
    return {
        f["column"]: f["kind"]
        for f in findings
        if f["status"] == status and (f["counts"] or status == "wrong")
    }


def mark(caller: Caller, column: str, kind: str, verdict: str, **more: Any) -> Any:
    body = {"column": column, "kind": kind, "verdict": verdict, "reason": "I looked", **more}
    return caller.client.put("/datasets/people/personal-data", json=body)


class TestFinding:
    def test_a_version_says_which_columns_hold_what(self, engineer: Caller) -> None:
        made = upload(engineer, people())
        expected = {
            "customer_id": "person_id",
            "contact": "email",
            "card": "payment_card",
            "birth_date": "birth_date",
        }
        assert told(made["personal_data"]) == expected
        assert told(report(engineer)["findings"]) == expected
        assert told(engineer.client.get("/datasets/people/versions/1").json()["personal_data"]) == expected
        [listed] = engineer.client.get("/datasets/people/versions").json()["items"]
        assert listed["personal_data"] == made["personal_data"]

    def test_how_sure_it_is_and_of_how_much(self, engineer: Caller) -> None:
        upload(engineer, people())
        found = report(engineer)
        assert (found["complete"], found["sampled_rows"]) == (True, 200)
        email = next(f for f in found["findings"] if f["kind"] == "email")
        assert (email["group"], email["found_by"], email["share"]) == ("direct", "values", 1.0)
        assert email["confidence"] > 0.9

    def test_no_value_leaves_by_it(self, engineer: Caller) -> None:
        frame = people()
        upload(engineer, frame)
        text = engineer.client.get("/datasets/people/versions/1").text
        assert not [value for value in (*frame["contact"], *frame["card"]) if value in text]
        columns = engineer.client.get("/datasets/people/versions/1").json()["profile"]["columns"]
        assert columns["card"]["count"] == 200
        assert columns["card"]["min"] is None
        assert columns["tenure"]["max"] == 199

    def test_a_file_that_is_only_checked_is_not_examined(self, engineer: Caller) -> None:
        upload(engineer, people())
        answer = engineer.client.post("/datasets/people/validate", content=people(10).write_csv().encode())
        assert answer.json()["valid"]
        assert report(engineer)["version"] == 1

    def test_of_the_churn_data_only_the_id_and_the_gender_are_found(
        self, engineer: Caller, tmp_path: Path
    ) -> None:
        subprocess.run(
            [sys.executable, "-m", "churn_mlops.data.export", "--out", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(CHURN / "src")},
            check=True,
            timeout=120,
            capture_output=True,
        )
        engineer.client.post("/datasets", json={"name": "churn"})
        content = (tmp_path / "customers.parquet").read_bytes()
        answer = engineer.client.post("/datasets/churn/versions?format=parquet", content=content)
        assert answer.status_code == 201, answer.text
        found = answer.json()["personal_data"]
        assert {f["column"]: f["kind"] for f in found} == {"customer_id": "person_id", "female": "gender"}
        assert {f["group"] for f in found} == {"pseudonym", "quasi"}

    @pytest.mark.slow
    def test_a_million_rows_are_sampled(self, engineer: Caller) -> None:
        few = People(1_000)
        frame = pl.DataFrame({"contact": few.emails(), "ip": few.ips(), "note": few.addresses()})
        big = pl.concat([frame] * 1_000)
        engineer.client.post("/datasets", json={"name": "people"})
        path = "/datasets/people/versions?format=parquet"
        answer = engineer.client.post(path, content=_parquet(big), timeout=170)
        assert answer.status_code == 201, answer.text
        assert told(answer.json()["personal_data"]) == {
            "contact": "email",
            "ip": "ip_address",
            "note": "address",
        }
        assert report(engineer)["sampled_rows"] == 2_000


class TestSayingOtherwise:
    def test_a_wrong_finding_is_marked_with_a_reason(
        self, platform: RunningPlatform, engineer: Caller
    ) -> None:
        upload(engineer, people())
        answer = mark(engineer, "card", "payment_card", "wrong")
        assert answer.status_code == 200, answer.text
        [wrong] = [f for f in answer.json()["findings"] if f["status"] == "wrong"]
        assert (wrong["column"], wrong["marked_by"], wrong["reason"]) == ("card", engineer.name, "I looked")
        assert not wrong["counts"]
        admin = platform.client(platform.admin_token, team=engineer.team)
        events = admin.get("/audit/events", params={"action": "dataset.personal_data.mark"}).json()["items"]
        mine = [e for e in events if e["actor_name"] == engineer.name]
        assert mine[0]["after"] == {
            "column": "card", "kind": "payment_card", "verdict": "wrong", "reason": "I looked", "version": 1,
        }  # fmt: skip

    def test_its_values_are_in_the_profile_again(self, engineer: Caller) -> None:
        upload(engineer, people())
        mark(engineer, "card", "payment_card", "wrong")
        columns = engineer.client.get("/datasets/people/versions/1").json()["profile"]["columns"]
        assert columns["card"]["min"] is not None

    def test_a_column_is_tagged_by_hand(self, engineer: Caller) -> None:
        upload(engineer, people())
        findings = mark(engineer, "tenure", "special_category", "personal").json()["findings"]
        assert told(findings, "tagged") == {"tenure": "special_category"}
        [tagged] = [f for f in findings if f["status"] == "tagged"]
        assert (tagged["found_by"], tagged["confidence"], tagged["share"]) == ("person", 1.0, None)

    def test_and_taken_back(self, engineer: Caller) -> None:
        upload(engineer, people())
        before = report(engineer)["findings"]
        mark(engineer, "card", "payment_card", "wrong")
        assert mark(engineer, "card", "payment_card", "as_found").json()["findings"] == before
        assert mark(engineer, "card", "payment_card", "as_found").status_code == 200

    def test_it_holds_for_later_versions(self, engineer: Caller) -> None:
        upload(engineer, people())
        mark(engineer, "contact", "email", "wrong")
        mark(engineer, "tenure", "person_id", "personal")
        later = upload(engineer, people().with_columns(tenure=pl.col("tenure") + 5))
        assert told(later["personal_data"], "wrong") == {"contact": "email"}
        assert told(later["personal_data"], "tagged") == {"tenure": "person_id"}

    def test_until_more_of_the_values_look_like_it(self, engineer: Caller) -> None:
        mentioned = pl.lit("see ") + pl.col("contact")
        note = (
            pl.when(pl.int_range(200) < 20).then(mentioned).otherwise(pl.lit("note ") + pl.col("customer_id"))
        )
        few = people().with_columns(contact=note)
        upload(engineer, few.drop("card"))
        assert mark(engineer, "contact", "email", "wrong").status_code == 200
        assert told(report(engineer)["findings"], "wrong")["contact"] == "email"
        later = upload(engineer, people().drop("card"))
        assert told(later["personal_data"])["contact"] == "email"

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"column": "height"}, "column"),
            ({"column": "tenure", "verdict": "wrong"}, "kind"),
            ({"kind": "shoe_size"}, "kind"),
            ({"verdict": "maybe"}, "verdict"),
            ({"reason": ""}, "reason"),
            ({"column": "x" * 201}, "column"),
            ({"colour": "red"}, "colour"),
        ],
    )
    def test_nonsense_is_refused_naming_the_field(
        self, engineer: Caller, change: dict[str, str], field: str
    ) -> None:
        upload(engineer, people())
        body = {"column": "contact", "kind": "email", "verdict": "wrong", "reason": "so"} | change
        answer = engineer.client.put("/datasets/people/personal-data", json=body)
        assert answer.status_code == 422, answer.text
        assert field in answer.text

    def test_what_is_not_there_is_not_found(self, engineer: Caller) -> None:
        upload(engineer, people())
        assert mark(engineer, "contact", "email", "wrong", version=9).status_code == 404
        assert engineer.client.get("/datasets/people/personal-data?version=9").status_code == 404
        assert engineer.client.get("/datasets/nobody/personal-data").status_code == 404

    def test_it_needs_the_right_to_write_data(self, platform: RunningPlatform, engineer: Caller) -> None:
        upload(engineer, people())
        viewer = platform.new_user(engineer.team, "data_scientist")
        assert mark(viewer, "contact", "email", "wrong").status_code == 403
        assert told(report(viewer)["findings"])["contact"] == "email"


class TestFeatureViews:
    def test_carry_the_kinds_of_their_source_columns(self, engineer: Caller) -> None:
        upload(engineer, people().with_columns(seen_at=pl.lit("2026-01-01T00:00:00Z")))
        made = engineer.client.post("/feature-views", json=VIEW)
        assert made.status_code == 201, made.text
        view = engineer.client.get("/feature-views/profile").json()
        assert view == engineer.client.get("/feature-views").json()["items"][0]
        assert [e["personal_data"] for e in view["entities"]] == [["person_id"]]
        assert {f["name"]: f["personal_data"] for f in view["features"]} == {
            "contact": ["email"],
            "tenure": [],
        }
        mark(engineer, "contact", "email", "wrong")
        view = engineer.client.get("/feature-views/profile").json()
        assert {f["name"]: f["personal_data"] for f in view["features"]} == {"contact": [], "tenure": []}


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
