"""Object storage on the local disk."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.storage import LocalStorage, StorageKeyError


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "data" / "weights").write_bytes(b"\x00\x01")
    return folder


class TestFiles:
    def test_what_is_put_is_found_by_its_uri(self, storage: LocalStorage, source: Path) -> None:
        uri = storage.put_file("team_1/sources/a.bin", source / "data" / "weights")
        assert uri.startswith("file:///")
        assert storage.path(uri).read_bytes() == b"\x00\x01"
        assert storage.sha256(uri) == hashlib.sha256(b"\x00\x01").hexdigest()
        assert storage.exists("team_1/sources/a.bin")
        assert uri == storage.uri("team_1/sources/a.bin")

    def test_the_same_again_changes_nothing_and_other_content_is_refused(
        self, storage: LocalStorage, source: Path
    ) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        assert storage.put_file("a", source / "MLmodel") == uri
        with pytest.raises(ConflictError):
            storage.put_file("a", source / "data" / "weights")
        assert storage.path(uri).read_text() == "flavors: {}"

    def test_many_at_once_store_one(self, storage: LocalStorage, source: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            uris = set(pool.map(lambda _: storage.put_file("a", source / "MLmodel"), range(16)))
        assert len(uris) == 1
        assert list((storage.path(uris.pop()).parent / ".incoming").iterdir()) == []

    def test_a_link_is_not_followed(self, storage: LocalStorage, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to("/etc/passwd")
        with pytest.raises(OSError, match="symbolic links"):
            storage.put_file("a", link)
        assert not storage.exists("a")


class TestFolders:
    def test_what_is_put_is_a_copy(self, storage: LocalStorage, source: Path) -> None:
        uri = storage.put_dir("team_1/models/churn/1", source)
        (source / "MLmodel").write_text("changed")
        assert (storage.path(uri) / "MLmodel").read_text() == "flavors: {}"
        assert (storage.path(uri) / "data" / "weights").read_bytes() == b"\x00\x01"
        with pytest.raises(ConflictError):
            storage.put_dir("team_1/models/churn/1", source)

    def test_many_at_once_store_one(self, storage: LocalStorage, source: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            uris = set(pool.map(lambda _: storage.put_dir("m", source), range(16)))
        assert sorted(path.name for path in storage.path(uris.pop()).iterdir()) == ["MLmodel", "data"]

    def test_a_link_inside_is_refused(self, storage: LocalStorage, source: Path) -> None:
        (source / "link").symlink_to("/etc/passwd")
        with pytest.raises(StorageKeyError):
            storage.put_dir("m", source)
        assert not storage.exists("m")

    def test_deleted_is_gone_and_again_is_no_error(self, storage: LocalStorage, source: Path) -> None:
        uri = storage.put_dir("m", source)
        storage.delete("m")
        storage.delete("m")
        with pytest.raises(NotFoundError):
            storage.path(uri)


class TestKeys:
    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "a\\b", "a b", "a\x00", "x" * 1000]
    )
    def test_only_plain_paths(self, storage: LocalStorage, source: Path, key: str) -> None:
        with pytest.raises(StorageKeyError):
            storage.put_file(key, source / "MLmodel")

    @pytest.mark.parametrize(
        "uri", ["file:///etc/passwd", "/etc/passwd", "s3://bucket/key", "file://host/x", "file:///", "a"]
    )
    def test_only_uris_of_this_storage(self, storage: LocalStorage, uri: str) -> None:
        with pytest.raises(StorageKeyError):
            storage.path(uri)

    def test_no_uri_climbs_out(self, storage: LocalStorage, source: Path) -> None:
        uri = storage.put_file("a", source / "MLmodel")
        with pytest.raises(StorageKeyError):
            storage.path(uri[:-1] + "../model/MLmodel")
