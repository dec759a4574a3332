"""Versions of datasets as Delta tables, on real files."""

import threading
from datetime import UTC, datetime

import polars as pl
import pytest
from deltalake import DeltaTable

from ml_platform.integrations.delta import (
    DatasetNameError,
    DeltaDatasetStore,
    UnknownColumnsError,
    VersionConflictError,
)
from ml_platform.kit.errors import NotFoundError


@pytest.fixture
def store(tmp_path):
    return DeltaDatasetStore(tmp_path / "storage")


def frame(n=5, offset=0):
    return pl.DataFrame({"id": range(offset, offset + n), "name": [f"n{i}" for i in range(n)]})


class TestWriteVersion:
    def test_the_first_version_is_one_and_is_the_delta_version_too(self, store):
        assert store.write_version("team", "ds_1", frame(), 0, idempotency_token="a") == 1
        assert DeltaTable(store.uri("team", "ds_1")).version() == 1

    def test_rows_keep_their_order_however_the_frame_is_cut(self, store):
        many = pl.concat([frame(40_000, i * 40_000) for i in range(10)], rechunk=False)
        store.write_version("team", "ds_1", many, 0, idempotency_token="a")
        assert store.read("team", "ds_1").equals(many)

    def test_a_repeated_token_writes_nothing_and_gives_the_first_answer(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        store.write_version("team", "ds_1", frame(3), 1, idempotency_token="b")
        assert store.write_version("team", "ds_1", frame(), 0, idempotency_token="a") == 1
        assert [info.version for info in store.history("team", "ds_1")] == [2, 1]

    def test_a_stale_expectation_is_refused_and_says_what_is_newest(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        with pytest.raises(VersionConflictError, match="1 is") as caught:
            store.write_version("team", "ds_1", frame(), 0, idempotency_token="b")
        assert (caught.value.expected, caught.value.current) == (0, 1)

    def test_of_writers_at_the_same_moment_exactly_one_wins(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="first")
        start, outcomes = threading.Barrier(4), []

        def write(number):
            start.wait()
            try:
                outcomes.append(
                    store.write_version("team", "ds_1", frame(number + 1), 1, idempotency_token=str(number))
                )
            except VersionConflictError:
                outcomes.append("conflict")

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert sorted(outcomes, key=str) == [2, "conflict", "conflict", "conflict"]
        assert store.latest_version("team", "ds_1") == 2

    def test_the_same_request_twice_at_once_is_one_version(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="first")
        start, outcomes = threading.Barrier(3), []

        def write():
            start.wait()
            outcomes.append(store.write_version("team", "ds_1", frame(2), 1, idempotency_token="same"))

        threads = [threading.Thread(target=write) for _ in range(3)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert outcomes == [2, 2, 2]
        assert len(store.history("team", "ds_1")) == 2

    def test_a_version_may_have_other_columns_and_old_ones_stay_readable(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        other = pl.DataFrame({"x": [1.5], "at": [datetime(2024, 1, 1, tzinfo=UTC)]})
        store.write_version("team", "ds_1", other, 1, idempotency_token="b")
        assert store.read("team", "ds_1", 1).equals(frame())
        assert store.read("team", "ds_1", 2).columns == ["x", "at"]

    def test_old_versions_survive_the_checkpoint_that_delta_makes(self, store):
        for version in range(12):
            store.write_version("team", "ds_1", frame(version + 1), version, idempotency_token=str(version))
        table = DeltaTable(store.uri("team", "ds_1"))
        table.create_checkpoint()
        table.cleanup_metadata()
        assert store.read("team", "ds_1", 1).height == 1
        assert len(store.history("team", "ds_1")) == 12


class TestRead:
    def test_only_the_asked_columns_and_rows_come(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        assert store.read("team", "ds_1", columns=["name"], limit=2).to_dict(as_series=False) == {
            "name": ["n0", "n1"]
        }

    def test_unknown_columns_are_named(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        with pytest.raises(UnknownColumnsError, match="'nope'") as caught:
            store.read("team", "ds_1", columns=["id", "nope"])
        assert caught.value.unknown == ["nope"]
        assert [f.field for f in caught.value.fields] == ["nope"]

    @pytest.mark.parametrize("version", [0, -1, 2, 10**9])
    def test_a_version_that_does_not_exist_is_not_found(self, store, version):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        with pytest.raises(NotFoundError):
            store.read("team", "ds_1", version)

    def test_another_team_does_not_find_it(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        with pytest.raises(NotFoundError):
            store.read("other", "ds_1")

    @pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "a\x00", "x" * 200, "ä", "s3://b"])
    def test_names_that_leave_the_root_are_refused(self, store, name):
        with pytest.raises(DatasetNameError):
            store.read("team", name)
        with pytest.raises(DatasetNameError):
            store.read(name, "ds_1")


class TestToParquet:
    def test_a_version_becomes_one_file_with_nothing_left_beside_it(self, store, tmp_path):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        out = tmp_path / "out"
        out.mkdir()
        path = store.to_parquet("team", "ds_1", 1, out / "v1.parquet")
        assert pl.read_parquet(path).equals(frame())
        assert [p.name for p in out.iterdir()] == ["v1.parquet"]


class TestHistory:
    def test_it_tells_rows_and_time_newest_first(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        store.write_version("team", "ds_1", frame(3), 1, idempotency_token="b")
        newest, oldest = store.history("team", "ds_1")
        assert (newest.version, newest.rows, newest.idempotency_token) == (2, 3, "b")
        assert (oldest.version, oldest.rows) == (1, 5)
        assert newest.created_at.tzinfo is not None


class TestDelete:
    def test_a_deleted_dataset_is_gone_and_deleting_again_is_quiet(self, store):
        store.write_version("team", "ds_1", frame(), 0, idempotency_token="a")
        store.delete("team", "ds_1")
        store.delete("team", "ds_1")
        assert store.latest_version("team", "ds_1") == 0
