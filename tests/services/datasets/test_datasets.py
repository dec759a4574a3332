"""Datasets over the API: uploads, schemas, versions, bad files."""

import io
import threading

import polars as pl
import pytest

from tests.support.platform import Caller, RunningPlatform

CSV = b"customer,age,plan\na,31,basic\nb,45,pro\nc,28,basic\n"


@pytest.fixture
def engineer(platform: RunningPlatform) -> Caller:
    return platform.new_user(platform.new_team(), "ml_engineer")


def make(caller: Caller, name: str = "customers") -> str:
    assert caller.client.post("/datasets", json={"name": name}).status_code == 201
    return f"/datasets/{name}/versions"


class TestUploading:
    def test_a_file_becomes_version_1_with_schema_and_profile(self, engineer: Caller) -> None:
        answer = engineer.client.post(make(engineer), content=CSV)
        body = answer.json()
        assert answer.status_code == 201, body
        assert (body["version"], body["rows"], body["columns"]) == (1, 3, 3)
        types = {column["name"]: column["type"] for column in body["schema"]["columns"]}
        assert types == {"customer": "string", "age": "long", "plan": "string"}
        assert body["profile"]["rows"] == 3 or body["profile"]

    def test_versions_stay_readable(self, engineer: Caller) -> None:
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        engineer.client.post(path, content=CSV + b"d,50,pro\n")
        rows = [engineer.client.get(f"{path}/{v}/rows").json()["rows"] for v in (1, 2)]
        assert [len(r) for r in rows] == [3, 4]
        assert engineer.client.get("/datasets/customers").json()["latest_version"] == 2
        listed = engineer.client.get(path).json()["items"]
        assert [item["version"] for item in listed] == [2, 1]

    def test_parquet_and_json_lines_are_read_too(self, engineer: Caller) -> None:
        path = make(engineer)
        frame = pl.read_csv(CSV)
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        assert (
            engineer.client.post(f"{path}?format=parquet", content=buffer.getvalue()).json()["version"] == 1
        )
        lines = frame.write_ndjson().encode()
        assert engineer.client.post(f"{path}?format=jsonl", content=lines).json()["version"] == 2

    def test_the_download_is_the_version(self, engineer: Caller) -> None:
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        frame = pl.read_parquet(engineer.client.get(f"{path}/1/download").content)
        assert frame.equals(pl.read_csv(CSV))

    def test_the_same_idempotency_key_makes_one_version(self, engineer: Caller) -> None:
        path = make(engineer)
        headers = {"idempotency-key": "upload-1"}
        answers = [engineer.client.post(path, content=CSV, headers=headers) for _ in range(2)]
        assert [a.json()["version"] for a in answers] == [1, 1]

    def test_two_at_once_make_two_versions_or_one_conflict(self, engineer: Caller) -> None:
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        statuses: list[int] = []

        def upload(extra: bytes) -> None:
            statuses.append(engineer.client.post(path, content=CSV + extra).status_code)

        threads = [threading.Thread(target=upload, args=(f"x{n},40,pro\n".encode(),)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) <= {201, 409}
        made = engineer.client.get(path).json()["items"]
        assert len(made) == 1 + statuses.count(201)


class TestBadFiles:
    @pytest.mark.parametrize(
        ("content", "form"),
        [
            (b"", "csv"),
            (b"a,b\n1,2,3\n", "csv"),
            (b"a,a\n1,2\n", "csv"),
            (b"a,b\n", "csv"),
            (b"\xff\xfe\x00\x01", "csv"),
            (b"PAR1 this is not parquet PAR1", "parquet"),
            (b'{"a": 1}\n{"a": ', "jsonl"),
        ],
    )
    def test_are_refused_with_a_reason_and_leave_nothing(
        self, engineer: Caller, content: bytes, form: str
    ) -> None:
        path = make(engineer)
        answer = engineer.client.post(f"{path}?format={form}", content=content)
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"]
        assert engineer.client.get("/datasets/customers").json()["latest_version"] == 0
        assert engineer.client.get(path).json()["items"] == []

    def test_that_break_the_schema_are_refused_naming_the_column(self, engineer: Caller) -> None:
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        for bad, column in (
            (b"customer,age,plan\na,old,basic\n", "age"),
            (b"customer,plan\na,basic\n", "age"),
            (b"customer,age,plan,city\na,1,basic,Rome\n", "city"),
            (b"customer,age,plan\na,-5,basic\n", "age"),
        ):
            answer = engineer.client.post(path, content=bad)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_data"), answer.text
            assert column in {error["field"] for error in answer.json()["errors"]}, answer.text
        assert engineer.client.get("/datasets/customers").json()["latest_version"] == 1

    def test_unknown_columns_are_named(self, engineer: Caller) -> None:
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        answer = engineer.client.get(f"{path}/1/rows", params={"columns": ["age", "height"]})
        assert answer.status_code == 422
        assert "height" in answer.json()["detail"]


class TestValidating:
    def test_reports_without_storing(self, engineer: Caller) -> None:
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        good = engineer.client.post("/datasets/customers/validate", content=CSV).json()
        assert good == {"valid": True, "rows": 3, "violations": []}
        bad = engineer.client.post(
            "/datasets/customers/validate", content=b"customer,age,plan\na,-1,basic\n"
        ).json()
        assert [v["column"] for v in bad["violations"]] == ["age"]
        assert engineer.client.get("/datasets/customers").json()["latest_version"] == 1

    def test_an_edited_schema_is_enforced(self, engineer: Caller) -> None:
        path = make(engineer)
        schema = engineer.client.post(path, content=CSV).json()["schema"]
        age = next(column for column in schema["columns"] if column["name"] == "age")
        age["maximum"] = 40
        assert engineer.client.put("/datasets/customers/schema", json={"schema": schema}).status_code == 200
        assert engineer.client.post(path, content=CSV).status_code == 422

    def test_a_wrong_schema_is_refused(self, engineer: Caller) -> None:
        make(engineer)
        answer = engineer.client.put("/datasets/customers/schema", json={"schema": {"columns": "all"}})
        assert answer.status_code == 422


class TestAccess:
    def test_a_data_scientist_reads_and_does_not_write(self, platform: RunningPlatform) -> None:
        team = platform.new_team()
        engineer, ana = platform.new_user(team, "ml_engineer"), platform.new_user(team, "data_scientist")
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        assert ana.client.get(f"{path}/1/rows").status_code == 200
        assert ana.client.post(path, content=CSV).status_code == 403
        viewer = platform.new_user(team, "viewer")
        assert viewer.client.get("/datasets/customers").status_code == 200
        assert viewer.client.get(f"{path}/1/rows").status_code == 403

    def test_another_team_finds_nothing(self, platform: RunningPlatform, engineer: Caller) -> None:
        path = make(engineer)
        engineer.client.post(path, content=CSV)
        stranger = platform.new_user(platform.new_team(), "ml_engineer")
        for url in ("/datasets/customers", f"{path}/1", f"{path}/1/rows", f"{path}/1/download"):
            assert stranger.client.get(url).status_code == 404
        assert stranger.client.post(path, content=CSV).status_code == 404
