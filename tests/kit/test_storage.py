"""Object storage: what holds for every adapter."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ml_platform.integrations.s3 import S3Storage
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.s3.cache import FileCache
from ml_platform.kit.storage import LocalStorage, ObjectStorage, StorageKeyError
from tests.support.s3 import Bucket


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "local":
        return LocalStorage(tmp_path / "storage")
    bucket: Bucket = request.getfixturevalue("s3")
    return S3Storage(bucket.client(), FileCache(tmp_path / "cache", 1 << 30))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "data" / "weights").write_bytes(b"\x00\x01")
    return folder


class TestFiles:
    def test_what_is_put_is_found_by_its_uri(self, storage: ObjectStorage, source: Path) -> None:
        uri = storage.put_file("team_1/sources/a.bin", source / "data" / "weights")
        assert uri.startswith(("file:///", "s3://"))
        assert storage.path(uri).read_bytes() == b"\x00\x01"
        assert storage.sha256(uri) == hashlib.sha256(b"\x00\x01").hexdigest()
        assert storage.exists("team_1/sources/a.bin")
        assert uri == storage.uri("team_1/sources/a.bin")

    def test_the_same_again_changes_nothing_and_other_content_is_refused(
        self, storage: ObjectStorage, source: Path
    ) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        assert storage.put_file("a", source / "MLmodel") == uri
        with pytest.raises(ConflictError):
            storage.put_file("a", source / "data" / "weights")
        assert storage.path(uri).read_text() == "flavors: {}"

    def test_many_at_once_store_one(self, storage: ObjectStorage, source: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            uris = set(pool.map(lambda _: storage.put_file("a", source / "MLmodel"), range(16)))
        assert len(uris) == 1
        assert storage.path(uris.pop()).read_text() == "flavors: {}"

    def test_of_many_different_ones_at_once_one_stands_and_the_others_are_told(
        self, storage: ObjectStorage, tmp_path: Path
    ) -> None:
        sources = [tmp_path / f"source-{number}" for number in range(12)]
        for source in sources:
            source.write_text(source.name)

        def put(source: Path) -> str | None:
            try:
                storage.put_file("a", source)
            except ConflictError:
                return None
            return source.name

        with ThreadPoolExecutor(8) as pool:
            [won] = [name for name in pool.map(put, sources) if name is not None]
        assert storage.path(storage.uri("a")).read_text() == won

    def test_an_empty_file_and_one_of_many_pieces_come_back_as_they_were(
        self, storage: ObjectStorage, tmp_path: Path
    ) -> None:
        for number, size in enumerate((0, 8 * 1024 * 1024 + 1, 20_000_003)):
            source = tmp_path / "source.bin"
            source.write_bytes(random.Random(size).randbytes(size))
            uri = storage.put_file(f"sizes/{number}/source.bin", source)
            assert storage.path(uri).read_bytes() == source.read_bytes()
            assert storage.path(uri).name == "source.bin"

    def test_a_link_is_not_followed(self, storage: ObjectStorage, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to("/etc/passwd")
        with pytest.raises(OSError, match="symbolic links"):
            storage.put_file("a", link)
        assert not storage.exists("a")


class TestFolders:
    def test_what_is_put_is_a_copy(self, storage: ObjectStorage, source: Path) -> None:
        uri = storage.put_dir("team_1/models/churn/1", source)
        (source / "MLmodel").write_text("changed")
        assert (storage.path(uri) / "MLmodel").read_text() == "flavors: {}"
        assert (storage.path(uri) / "data" / "weights").read_bytes() == b"\x00\x01"
        with pytest.raises(ConflictError):
            storage.put_dir("team_1/models/churn/1", source)

    def test_many_at_once_store_one(self, storage: ObjectStorage, source: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            uris = set(pool.map(lambda _: storage.put_dir("m", source), range(16)))
        assert sorted(path.name for path in storage.path(uris.pop()).iterdir()) == ["MLmodel", "data"]

    def test_of_many_different_ones_at_once_one_stands_unmixed(
        self, storage: ObjectStorage, tmp_path: Path
    ) -> None:
        sources = [tmp_path / f"folder-{number}" for number in range(6)]
        for source in sources:
            source.mkdir()
            for name in ("a", "b", "c"):
                (source / name).write_text(source.name)

        def put(source: Path) -> str | None:
            try:
                storage.put_dir("m", source)
            except ConflictError:
                return None
            return source.name

        with ThreadPoolExecutor(6) as pool:
            [won] = [name for name in pool.map(put, sources) if name is not None]
        stored = storage.path(storage.uri("m"))
        assert {path.name: path.read_text() for path in stored.iterdir()} == {"a": won, "b": won, "c": won}

    def test_names_may_hold_what_a_path_may_hold(self, storage: ObjectStorage, tmp_path: Path) -> None:
        names = [
            "with space",
            "ünïcödé",
            "per%20cent",
            "#?&",
            ".hidden",
            "back\\slash",
            "a+b=c@d",
            "new\nline",
            "~t",
        ]
        source = tmp_path / "odd"
        for name in names:
            (source / name).mkdir(parents=True)
            (source / name / name).write_text(name)
        stored = storage.path(storage.put_dir("odd", source))
        assert {path.name: path.read_text() for path in stored.rglob("*") if path.is_file()} == {
            name: name for name in names
        }

    def test_a_folder_and_a_file_do_not_share_a_key(self, storage: ObjectStorage, source: Path) -> None:
        storage.put_dir("folder", source)
        storage.put_file("file", source / "MLmodel")
        with pytest.raises((ConflictError, OSError)):
            storage.put_file("folder", source / "MLmodel")
        with pytest.raises((ConflictError, OSError)):
            storage.put_dir("file", source)
        assert storage.path(storage.uri("file")).read_text() == "flavors: {}"
        assert (storage.path(storage.uri("folder")) / "MLmodel").read_text() == "flavors: {}"

    def test_what_is_stored_again_after_it_was_deleted_is_the_new_one(
        self, storage: ObjectStorage, source: Path
    ) -> None:
        uri = storage.put_dir("m", source)
        assert (storage.path(uri) / "MLmodel").read_text() == "flavors: {}"
        storage.delete("m")
        (source / "MLmodel").write_text("new")
        storage.put_dir("m", source)
        assert (storage.path(uri) / "MLmodel").read_text() == "new"

    def test_a_link_inside_is_refused(self, storage: ObjectStorage, source: Path) -> None:
        (source / "link").symlink_to("/etc/passwd")
        with pytest.raises(StorageKeyError):
            storage.put_dir("m", source)
        assert not storage.exists("m")

    def test_set_aside_is_out_of_the_way_and_not_lost(self, storage: ObjectStorage, source: Path) -> None:
        for key, put, content in (
            ("f", storage.put_file, source / "MLmodel"),
            ("m", storage.put_dir, source),
        ):
            uri = put(f"team/{key}", content)
            put(f"team/{key}-2", content)
            aside = storage.set_aside(f"team/{key}")
            assert aside.rpartition("/")[0] == uri.rpartition("/")[0] + "/.damaged"
            with pytest.raises(NotFoundError):
                storage.path(uri)
            assert put(f"team/{key}", content) == uri
            assert storage.exists(f"team/{key}-2")
            with pytest.raises(StorageKeyError):
                storage.path(aside)

    def test_deleted_is_gone_and_again_is_no_error(self, storage: ObjectStorage, source: Path) -> None:
        uri = storage.put_dir("m", source)
        storage.put_dir("n", source)
        storage.delete("m")
        storage.delete("m")
        with pytest.raises(NotFoundError):
            storage.path(uri)
        assert not storage.exists("m")
        assert storage.exists("n")


class TestKeys:
    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "a\\b", "a b", "a\x00", "x" * 1000]
    )
    def test_only_plain_paths(self, storage: ObjectStorage, source: Path, key: str) -> None:
        with pytest.raises(StorageKeyError):
            storage.put_file(key, source / "MLmodel")

    @pytest.mark.parametrize(
        "uri",
        [
            "file:///etc/passwd",
            "/etc/passwd",
            "s3://bucket/key",
            "s3://",
            "s3://bucket",
            "file://host/x",
            "file:///",
            "a",
            "",
        ],
    )
    def test_only_uris_of_this_storage(self, storage: ObjectStorage, uri: str) -> None:
        with pytest.raises(StorageKeyError):
            storage.path(uri)

    def test_no_uri_climbs_out(self, storage: ObjectStorage, source: Path) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        with pytest.raises(StorageKeyError):
            storage.path(uri[:-1] + "../model/MLmodel")
        for tail in ("/../a", "/./a", "%2e%2e/a", "?versionId=1", "#a", "//a"):
            with pytest.raises((StorageKeyError, NotFoundError)):
                storage.path(uri + tail)
