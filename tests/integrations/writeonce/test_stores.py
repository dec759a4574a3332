"""What both stores promise: whole files that stay, and what each does on its own."""

import os
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ml_platform.integrations.writeonce import ArchiveDirectory, LockedBucket
from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.s3 import S3Address, S3Connection
from ml_platform.services.audit import WriteOnceStore
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, Bucket

NAME = "segments/00000000000000000001.jsonl.gz"


def later(days: float = 2557) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def bucket(given: Bucket, mode: str = "COMPLIANCE") -> LockedBucket:
    connection = S3Connection(silence_seconds=2, retry_seconds=2, retries=1)
    return LockedBucket(S3Address.parse(given.uri), connection, mode=mode)


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WriteOnceStore:
    if request.param == "directory":
        return ArchiveDirectory(tmp_path / "archive")
    return bucket(request.getfixturevalue("locked_s3"))


class TestAnyStore:
    def test_keeps_what_was_put_first(self, store: WriteOnceStore) -> None:
        assert store.read(NAME) is None
        assert store.put(NAME, b"one", later())
        for content in (b"one", b"another"):
            assert not store.put(NAME, content, later())
            assert store.read(NAME) == b"one"

    def test_takes_any_bytes(self, store: WriteOnceStore) -> None:
        for number, content in enumerate((b"", b"\x00\xff" * 99_999, b"\r\n")):
            assert store.put(f"checkpoints/{number}", content, later())
            assert store.read(f"checkpoints/{number}") == content


class TestADirectory:
    def test_has_whole_files_that_nobody_writes_and_no_drafts(self, tmp_path: Path) -> None:
        store = ArchiveDirectory(tmp_path / "archive")
        store.put(NAME, b"one", later())
        store.put(NAME, b"two", later())
        [file] = (tmp_path / "archive" / "segments").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o444
        assert (store.location, store.mode) == (str(tmp_path / "archive"), None)

    def test_sweeps_what_a_kill_left_behind_and_nothing_that_is_being_written(self, tmp_path: Path) -> None:
        folder = tmp_path / "archive" / "segments"
        folder.mkdir(parents=True)
        for name, age in ((".old", 7200), (".new", 0)):
            (folder / name).write_bytes(b"half")
            os.utime(folder / name, (time.time() - age,) * 2)
        ArchiveDirectory(tmp_path / "archive").put(NAME, b"one", later())
        assert sorted(path.name for path in folder.iterdir()) == [".new", Path(NAME).name]

    def test_that_refuses_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        store = ArchiveDirectory(tmp_path / "file" / "below")
        for refused in (lambda: store.put(NAME, b"", later()), lambda: store.read(NAME)):
            with pytest.raises(UnavailableError, match="does not take files"):
                refused()


class TestABucket:
    @pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
    def test_locks_each_object_in_the_request_that_writes_it(self, locked_s3: Bucket, mode: str) -> None:
        until = later()
        store = bucket(locked_s3, mode)
        assert (store.location, store.mode) == (locked_s3.uri, mode)
        assert store.put(NAME, b"one", until)
        answer = httpx.head(_url(locked_s3, NAME), headers=_authorized())
        assert answer.headers["x-amz-object-lock-mode"] == mode
        kept = datetime.fromisoformat(answer.headers["x-amz-object-lock-retain-until-date"])
        assert kept == until.replace(microsecond=0)

    def test_that_has_no_lock_is_not_written_to(self, s3: Bucket) -> None:
        store = bucket(s3)
        with pytest.raises(UnavailableError) as refused:
            store.put(NAME, b"one", later())
        assert "Object Lock" in (refused.value.hint or "")
        assert s3.keys() == []

    def test_whose_object_lost_its_lock_is_no_archive(self, locked_s3: Bucket) -> None:
        key = f"the/platform/{NAME}"
        locked_s3.client(f"s3://{locked_s3.name}").put(key, b"one")
        with pytest.raises(UnavailableError, match="does not lock"):
            bucket(locked_s3).put(NAME, b"one", later())

    def test_that_is_away_hangs_or_refuses_says_so_and_names_no_key(self, locked_s3: Bucket) -> None:
        store, server = bucket(locked_s3), locked_s3.server
        said = []
        with server.away(), pytest.raises(UnavailableError) as error:
            store.put(NAME, b"one", later())
        said.append(str(error.value))
        server.failing = True
        try:
            with pytest.raises(UnavailableError) as error:
                store.put(NAME, b"one", later())
        finally:
            server.failing = False
        said.append(str(error.value))
        for text in said:
            assert locked_s3.name in text
            assert ACCESS_KEY not in text
            assert SECRET_KEY not in text
        assert store.put(NAME, b"one", later())

    def test_of_another_key_is_refused_with_what_to_permit(
        self, locked_s3: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASOMEBODYELSE")
        with pytest.raises(UnavailableError) as refused:
            bucket(locked_s3).put(NAME, b"one", later())
        assert "s3:PutObjectRetention" in (refused.value.hint or "")


def _url(given: Bucket, name: str) -> str:
    return f"{given.server.url}/{given.name}/the/platform/{name}"


def _authorized() -> dict[str, str]:
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/eu-central-1/s3/x"}
