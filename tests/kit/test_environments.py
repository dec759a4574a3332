import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ml_platform.kit.environments import (
    EnvironmentCache,
    EnvironmentCancelledError,
    EnvironmentFailedError,
    EnvironmentTimeoutError,
    RequirementsRefusedError,
    find_uv,
    normalise_requirements,
)

SMALL = "six==1.17.0\n"


@pytest.fixture
def cache(tmp_path: Path) -> EnvironmentCache:
    return EnvironmentCache(tmp_path / "envs")


def version_of_six(python: Path) -> str:
    code = "import six; print(six.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def environments_in(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if not path.name.startswith(".")]


class TestNormalising:
    def test_order_comments_case_and_blanks_do_not_count(self) -> None:
        first = normalise_requirements("Six == 1.17.0  # why\n\n# nothing\nnumpy>=2 ; python_version > '3.9'")
        second = normalise_requirements('numpy >=2; python_version>"3.9"\r\nsix==1.17.0')
        assert first == second

    def test_hashes_and_continued_lines_are_taken(self) -> None:
        text = f"six==1.17.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
        assert normalise_requirements(text) == [
            f"six==1.17.0 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}"
        ]

    @pytest.mark.parametrize(
        "line",
        [
            "-r other.txt",
            "-e .",
            "--index-url https://evil.example/simple",
            "--extra-index-url=https://evil.example",
            "-i https://evil.example",
            "--find-links /tmp",
            "six --index-url https://evil.example",
            "six @ https://evil.example/six.whl",
            "six @ file:///etc/passwd",
            "file:///tmp/six.whl",
            "file:six",
            "git+https://evil.example/six.git",
            "git+ssh://git@evil.example/six",
            "https://evil.example/six.tar.gz",
            "./six",
            "../six",
            "/tmp/six.whl",
            "~/six",
            "..\\six",
            "C:\\six",
            ".",
            "six==1.17.0\x00",
            "six\x1b[31m",
            "six six",
            "six==1.17.0 --hash=md5:abc",
            "${HOME}",
            "six\ud800",
            "\u202esix",
        ],
    )
    def test_everything_but_packages_is_refused_with_its_line(self, line: str) -> None:
        with pytest.raises(RequirementsRefusedError, match="line 3") as error:
            normalise_requirements(f"numpy\n# comment\n{line}\n")
        assert error.value.code == "requirements_refused"

    def test_a_name_like_a_file_is_never_a_path(self) -> None:
        assert normalise_requirements("six.whl") == ["six-whl"]

    def test_size_and_number_are_bounded(self) -> None:
        with pytest.raises(RequirementsRefusedError, match="bytes"):
            normalise_requirements("#" * 70_000)
        with pytest.raises(RequirementsRefusedError, match="more than 500"):
            normalise_requirements("\n".join(f"package-{i}" for i in range(501)))


class TestEnsuring:
    def test_it_is_built_once_and_then_only_found(self, cache: EnvironmentCache, tmp_path: Path) -> None:
        lines: list[str] = []
        python = cache.ensure(SMALL, log=lines.append)
        assert version_of_six(python) == "1.17.0"
        assert any("six==1.17.0" in line for line in lines)
        lines.clear()
        assert cache.ensure("SIX==1.17.0 # the same", log=lines.append) == python
        assert cache.ensure("", ["six==1.17.0"]) == python
        assert lines == []
        assert cache.ensure("") != python
        assert len(environments_in(tmp_path / "envs")) == 2

    def test_many_at_once_build_it_once(self, tmp_path: Path) -> None:
        lines: list[str] = []
        pythons: set[Path] = set()

        def ensure() -> None:
            pythons.add(EnvironmentCache(tmp_path / "envs").ensure(SMALL, log=lines.append))

        threads = [threading.Thread(target=ensure) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pythons) == 1
        assert sum("Creating virtual environment" in line for line in lines) == 1

    def test_a_package_that_does_not_exist_fails_with_its_name(
        self, cache: EnvironmentCache, tmp_path: Path
    ) -> None:
        with pytest.raises(EnvironmentFailedError) as error:
            cache.ensure("no-such-package-of-ours-xyz==1.0")
        assert error.value.code == "environment_failed"
        assert "no-such-package-of-ours-xyz" in error.value.log
        assert environments_in(tmp_path / "envs") == []
        assert list((tmp_path / "envs" / ".building").iterdir()) == []

    def test_time_out_and_cancellation_leave_nothing(self, tmp_path: Path) -> None:
        slow = tmp_path / "uv"
        slow.write_text("#!/bin/sh\nsleep 600\n")
        slow.chmod(0o755)
        cache = EnvironmentCache(tmp_path / "envs", slow)
        with pytest.raises(EnvironmentTimeoutError):
            cache.ensure(SMALL, timeout=0.2)
        with pytest.raises(EnvironmentCancelledError):
            cache.ensure(SMALL, cancelled=lambda: True)
        assert environments_in(tmp_path / "envs") == []
        assert list((tmp_path / "envs" / ".building").iterdir()) == []

    def test_killed_half_way_it_is_built_anew(self, cache: EnvironmentCache, tmp_path: Path) -> None:
        root = tmp_path / "envs"
        slow = tmp_path / "uv"
        slow.write_text(f'#!/bin/sh\necho $$ > "{tmp_path}/group"\n"{find_uv()}" "$@"\nsleep 600\n')
        slow.chmod(0o755)
        code = (
            "from pathlib import Path; from ml_platform.kit.environments import EnvironmentCache;"
            f"EnvironmentCache(Path({str(root)!r}), Path({str(slow)!r})).ensure({SMALL!r})"
        )
        builder = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        deadline = time.monotonic() + 30
        while not list(root.glob(".building/*/env/bin/python")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(builder.pid, signal.SIGKILL)
        builder.wait()
        os.killpg(int((tmp_path / "group").read_text()), signal.SIGKILL)
        assert environments_in(root) == []
        assert version_of_six(cache.ensure(SMALL)) == "1.17.0"
        assert list(root.glob(".building/*")) == []

    def test_one_whose_python_is_gone_is_built_anew(self, cache: EnvironmentCache) -> None:
        python = cache.ensure(SMALL)
        python.unlink()
        assert version_of_six(cache.ensure(SMALL)) == "1.17.0"

    def test_the_builder_sees_none_of_our_secrets(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLOPS_SECRET", "do-not-tell")
        shows = tmp_path / "uv"
        shows.write_text("#!/bin/sh\nenv\nexit 1\n")
        shows.chmod(0o755)
        with pytest.raises(EnvironmentFailedError) as error:
            EnvironmentCache(tmp_path / "envs", shows).ensure(SMALL)
        assert "PATH=" in error.value.log
        assert "do-not-tell" not in error.value.log


class TestPruning:
    def test_old_ones_go_unless_kept_or_in_use(self, cache: EnvironmentCache) -> None:
        old, kept, used = cache.ensure(""), cache.ensure(SMALL), cache.ensure("six==1.16.0")
        for python in (old, kept, used):
            os.utime(python.parents[1] / ".used", (0, 0))
        fresh = cache.ensure("six==1.15.0")
        with cache.hold(used):
            assert cache.prune(3600, keep=[kept]) == [old.parents[1].name]
        assert not old.exists()
        assert kept.exists()
        assert used.exists()
        assert fresh.exists()
        assert cache.prune(3600, keep=[kept]) == [used.parents[1].name]
        assert cache.ensure("").exists()
