import gzip
import io
import tarfile
from pathlib import Path

import pytest

from ml_platform.integrations.jobs.archive import extract
from ml_platform.integrations.jobs.spec import JobRefusedError


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        info.size = len(data) if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def refused(tmp_path: Path, target: Path, data: bytes, **limits: int) -> str:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(data)
    with pytest.raises(JobRefusedError) as error:
        extract(archive, target, **limits)
    return error.value.detail


class TestExtracting:
    @pytest.mark.parametrize(
        "name", ["/etc/x", "../x", "a/../../x", "a\\..\\x", "a\nb", "/".join("a" * 40), "a/..", "\x01"]
    )
    def test_a_path_that_is_not_plain(self, tmp_path: Path, target: Path, name: str) -> None:
        assert "not allowed" in refused(tmp_path, target, member(name))
        assert not (tmp_path / "x").exists()

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    )
    def test_a_link_or_a_device(self, tmp_path: Path, target: Path, kind: bytes) -> None:
        assert "no file or folder" in refused(tmp_path, target, member("a", kind, "/etc/passwd"))

    def test_a_bomb_is_refused_before_it_unpacks(self, tmp_path: Path, target: Path) -> None:
        data = member("zeros", data=bytes(50_000_000))
        assert len(data) < 100_000
        assert "more than 1000000 bytes" in refused(tmp_path, target, data, max_bytes=1_000_000)
        assert list(target.iterdir()) == []

    def test_a_header_that_claims_gigabytes(self, tmp_path: Path, target: Path) -> None:
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, 3 * 1024**3
        data = gzip.compress(info.tobuf() + bytes(10_000_000))
        assert "header" in refused(tmp_path, target, data)

    def test_too_many_files(self, tmp_path: Path, target: Path) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for index in range(11):
                archive.addfile(tarfile.TarInfo(f"f{index}"))
        assert "more than 10 files" in refused(tmp_path, target, buffer.getvalue(), max_members=10)

    @pytest.mark.parametrize(
        "data",
        [b"", b"PK\x03\x04", b"\x1f\x8b broken", member("a")[:40]],
        ids=["nothing", "a zip", "damaged", "cut off"],
    )
    def test_what_is_no_tar_gz(self, tmp_path: Path, target: Path, data: bytes) -> None:
        assert refused(tmp_path, target, data)

    def test_a_file_that_comes_twice_or_under_a_file(self, tmp_path: Path, target: Path) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("a"))
            archive.addfile(tarfile.TarInfo("a/b"))
        assert refused(tmp_path, target, buffer.getvalue())

    def test_a_good_one_keeps_its_folders_and_programs(self, tmp_path: Path, target: Path) -> None:
        source = tmp_path / "project"
        (source / "src" / "pkg").mkdir(parents=True)
        (source / "src" / "pkg" / "train.py").write_text("print(1)")
        (source / "run.sh").write_text("#!/bin/sh")
        (source / "run.sh").chmod(0o755)
        archive = tmp_path / "a.tar.gz"
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(source, arcname=".")
        extract(archive, target)
        assert (target / "src" / "pkg" / "train.py").read_text() == "print(1)"
        assert (target / "run.sh").stat().st_mode & 0o100
