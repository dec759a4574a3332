"""Object storage in S3: what can go wrong between here and there."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_platform.integrations.s3 import S3Storage
from ml_platform.kit.errors import AppError, ConflictError, NotFoundError, UnavailableError
from ml_platform.kit.s3 import S3Address, S3AddressError
from ml_platform.kit.s3.cache import FileCache
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, Bucket, eventually


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", 1 << 30)


@pytest.fixture
def storage(s3: Bucket, cache: FileCache) -> S3Storage:
    return S3Storage(s3.client(), cache)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "data" / "weights").write_bytes(b"\x00\x01" * 500)
    return folder


class TestLayout:
    def test_a_file_is_an_object_and_a_folder_is_one_for_other_tools_too(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        storage.put_file("team_1/reference.parquet", source / "MLmodel")
        storage.put_dir("team_1/model", source)
        keys = s3.keys()
        assert "the/platform/team_1/reference.parquet" in keys
        assert "the/platform/team_1/model/.folder" in keys
        [graph] = [key for key in keys if key.endswith("/MLmodel")]
        generation = graph.removesuffix("/MLmodel")
        assert [key for key in keys if key.startswith(generation + "/")] == [
            f"{generation}/MLmodel",
            f"{generation}/data/weights",
        ]
        assert len(keys) == 4  # and nothing is left of the probe
        assert storage.plain(storage.uri("team_1/model")) == f"s3://{s3.name}/{generation}"

    def test_set_aside_keeps_every_object_for_a_person_to_look_at(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        storage.put_dir("team_1/model", source)
        before = s3.keys()
        aside = storage.set_aside("team_1/model").removeprefix(f"s3://{s3.name}/")
        assert s3.keys() == [key.replace("the/platform/team_1/model", aside) for key in before]


class TestWhatIsHalfDone:
    def test_a_folder_that_was_cut_off_before_any_request_is_not_there_and_can_be_put_again(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        storage.put_file("first", source / "MLmodel")
        cut_off, number = 0, 0
        while True:
            number += 1
            s3.server.refuse = _after(number)
            try:
                storage.put_dir("cut", source)
            except UnavailableError:
                cut_off += 1
                s3.server.refuse = None
                assert not storage.exists("cut")
                with pytest.raises(NotFoundError):
                    storage.path(storage.uri("cut"))
                continue
            finally:
                s3.server.refuse = None
            break
        assert cut_off >= 2
        assert (storage.path(storage.uri("cut")) / "data" / "weights").read_bytes() == b"\x00\x01" * 500

    def test_other_content_may_follow_where_a_folder_was_cut_off(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        s3.server.refuse = lambda method, path: method == "PUT" and path.endswith(".folder")
        try:
            with pytest.raises(UnavailableError):
                storage.put_dir("cut", source)
        finally:
            s3.server.refuse = None
        (source / "MLmodel").write_text("other")
        uri = storage.put_dir("cut", source)
        assert (storage.path(uri) / "MLmodel").read_text() == "other"

    def test_a_writer_that_was_killed_leaves_nothing_that_can_be_seen(
        self, storage: S3Storage, s3: Bucket, source: Path, tmp_path: Path
    ) -> None:
        (source / "data" / "large").write_bytes(os.urandom(30_000_000))
        storage.put_file("first", source / "MLmodel")
        s3.server.requests.clear()
        spawn = multiprocessing.get_context("spawn")
        writer = spawn.Process(target=_put, args=(s3.uri, str(source), str(tmp_path / "other-cache")))
        writer.start()
        eventually(lambda: any("/cut/" in path and m in {"PUT", "POST"} for m, path in s3.server.requests))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        if not storage.exists("cut"):
            with pytest.raises(NotFoundError):
                storage.path(storage.uri("cut"))
        uri = storage.put_dir("cut", source)
        assert (storage.path(uri) / "data" / "large").stat().st_size == 30_000_000


def _after(number: int) -> Callable[[str, str], bool]:
    """Refuses all writes but the first ones."""
    left = iter(range(number))
    return lambda method, _path: method == "PUT" and next(left, None) is None


def _put(uri: str, source: str, cache: str) -> None:
    from ml_platform.kit.s3.client import S3Client

    S3Storage(S3Client(S3Address.parse(uri)), FileCache(Path(cache), 1 << 30)).put_dir("cut", Path(source))


class TestChangedInTheBucket:
    def test_another_object_under_the_key_is_told_by_its_digest(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        before = storage.sha256(uri)
        s3.client().put("a", b"forged")
        assert storage.sha256(uri) != before

    def test_content_that_is_not_what_its_writer_said_is_refused(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        s3.client().put("a", b"rotten", sha256="0" * 64)
        with pytest.raises(ConflictError, match="is not what was stored"):
            storage.path(uri)

    def test_a_file_of_a_folder_that_was_changed_is_refused_and_one_that_went_is_gone(
        self, storage: S3Storage, s3: Bucket, source: Path, tmp_path: Path
    ) -> None:
        uri = storage.put_dir("m", source)
        [weights] = [info for info in s3.client().objects("m") if info.key.endswith("weights")]
        s3.client().put(weights.key, b"\x00\x02" * 500)
        elsewhere = S3Storage(s3.client(), FileCache(tmp_path / "elsewhere", 1 << 30))
        with pytest.raises(ConflictError, match="is not what was stored"):
            elsewhere.path(uri)
        s3.client().delete([weights.key])
        with pytest.raises(NotFoundError):
            elsewhere.path(uri)

    @pytest.mark.parametrize(
        "index",
        [
            b"",
            b"[" * 100_000,
            b"{}",
            b'{"format":2,"files":{}}',
            b'{"format":1,"files":{"../../escape":{"sha256":"%b","size":1,"object":"a"}}}' % (b"0" * 64),
            b'{"format":1,"files":{"a":{"sha256":"%b","size":1,"object":"../../a"}}}' % (b"0" * 64),
            b'{"format":1,"files":{"/etc/passwd":{"sha256":"%b","size":1,"object":"a"}}}' % (b"0" * 64),
        ],
    )
    def test_a_forged_index_is_refused(
        self, storage: S3Storage, s3: Bucket, tmp_path: Path, index: bytes
    ) -> None:
        s3.client().put("m/.folder", index)
        with pytest.raises(ConflictError):
            storage.path(storage.uri("m"))
        assert not list(tmp_path.rglob("escape"))


class TestStoreThatIsAway:
    def test_is_unavailable_within_a_time_limit_and_says_so_for_everything(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        with s3.server.away():
            self.refuses_everything(storage, uri, source)
        assert storage.path(uri).read_text() == "flavors: {}"

    def test_so_is_one_that_hangs(self, storage: S3Storage, s3: Bucket, source: Path) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        with s3.server.hanging():
            self.refuses_everything(storage, uri, source)
        assert storage.path(uri).read_text() == "flavors: {}"

    def refuses_everything(self, storage: S3Storage, uri: str, source: Path) -> None:
        began = time.monotonic()
        for attempt in (
            lambda: storage.path(uri),
            lambda: storage.sha256(uri),
            lambda: storage.exists("a"),
            lambda: storage.delete("a"),
            lambda: storage.put_file("b", source / "MLmodel"),
            lambda: storage.put_dir("c", source),
        ):
            with pytest.raises(UnavailableError) as refused:
                attempt()
            assert refused.value.status == 503
        assert time.monotonic() - began < 120

    def test_wrong_credentials_are_said_without_a_word_of_them(
        self,
        s3: Bucket,
        cache: FileCache,
        source: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASOMEBODYELSE")
        storage = S3Storage(s3.client(), cache)
        with caplog.at_level(logging.DEBUG), pytest.raises(AppError) as refused:
            storage.put_file("a", source / "MLmodel")
        assert "InvalidAccessKeyId" in refused.value.detail
        assert refused.value.hint is not None
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__
        said = f"{refused.value!r} {refused.value.hint} {caplog.text}"
        assert not any(secret in said for secret in ("AKIASOMEBODYELSE", ACCESS_KEY, SECRET_KEY))

    def test_a_store_that_overwrites_is_not_written_to(
        self, storage: S3Storage, s3: Bucket, source: Path
    ) -> None:
        s3.server.keeps_conditions = False
        try:
            with pytest.raises(UnavailableError, match="overwrites what must not be"):
                storage.put_file("a", source / "MLmodel")
        finally:
            s3.server.keeps_conditions = True
        assert s3.keys() == []
        storage.put_file("a", source / "MLmodel")


class TestCache:
    def test_what_is_here_is_not_fetched_again(self, storage: S3Storage, s3: Bucket, source: Path) -> None:
        uri = storage.put_dir("m", source)
        first = storage.path(uri)
        s3.server.requests.clear()
        assert storage.path(uri) == first
        assert not [path for _, path in s3.server.requests if path.endswith(("weights", "MLmodel"))]

    def test_a_copy_that_was_changed_here_is_fetched_again(self, storage: S3Storage, source: Path) -> None:
        uri, folder = storage.put_file("a", source / "MLmodel"), storage.put_dir("m", source)
        for changed in (storage.path(uri), storage.path(folder) / "MLmodel"):
            changed.chmod(0o644)
            changed.write_text("forged")
        assert storage.path(uri).read_text() == "flavors: {}"
        assert (storage.path(folder) / "MLmodel").read_text() == "flavors: {}"

    def test_takes_no_more_than_it_may_and_keeps_what_was_used_last(self, s3: Bucket, tmp_path: Path) -> None:
        cache = FileCache(tmp_path / "cache", 25_000, in_use_seconds=0)
        storage = S3Storage(s3.client(), cache)
        paths = {}
        for number in range(5):
            content = tmp_path / f"{number}.bin"
            content.write_bytes(os.urandom(10_000))
            paths[number] = storage.path(storage.put_file(content.name, content))
            os.utime(paths[number].parent, (number, number))
        os.utime(paths[0].parent)
        assert cache.sweep() <= 25_000
        assert {number for number, path in paths.items() if path.exists()} == {0, 4}
        again = storage.path(storage.uri("2.bin"))
        assert again.read_bytes() == (tmp_path / "2.bin").read_bytes()

    def test_what_somebody_may_be_reading_stays_even_beyond_that(self, s3: Bucket, tmp_path: Path) -> None:
        cache = FileCache(tmp_path / "cache", 1)
        storage = S3Storage(s3.client(), cache)
        (tmp_path / "a.bin").write_bytes(b"a" * 100)
        path = storage.path(storage.put_file("a.bin", tmp_path / "a.bin"))
        cache.sweep()
        assert path.exists()


class TestAddresses:
    @pytest.mark.parametrize(
        "uri",
        [
            "",
            "s3://",
            "s3:///prefix",
            "s3://Bucket/x",
            "s3://bucket/a/../b",
            "s3://bucket/a//b",
            "s3://bucket/%2e%2e",
            "s3://bucket/a?versionId=1",
            "s3://bucket/a#b",
            "s3://key:secret@bucket/a",
            "https://bucket/a",
            "s3://bucket/a b",
            "s3://bucket/a\x00b",
        ],
    )
    def test_only_plain_ones(self, uri: str) -> None:
        with pytest.raises(S3AddressError):
            S3Address.parse(uri)

    def test_below_is_by_whole_segments(self) -> None:
        root = S3Address.parse("s3://bucket/team")
        assert S3Address.parse("s3://bucket/team/a/b").below(root) == "a/b"
        assert S3Address.parse("s3://bucket/teams/a").below(root) is None
        assert S3Address.parse("s3://other/team/a").below(root) is None
        assert str(S3Address.parse("s3://bucket/team/")) == "s3://bucket/team"
