import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ml_platform.kit.processes import (
    Limits,
    Outcome,
    Tail,
    kill_where_environment,
    run_isolated,
    scrubbed_environment,
)

MIB = 1024**2


def run(folder: Path, code: str, limits: Limits | None = None, **settings) -> tuple[Outcome, str]:
    (folder / "tmp").mkdir(exist_ok=True)
    environment = scrubbed_environment(folder, settings.pop("env", None))
    return run_isolated(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        limits=limits or Limits(timeout=60),
        **settings,
    )


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def until_dead(pid: int) -> None:
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.02)


class TestRunning:
    def test_code_output_and_use_come_back(self, tmp_path: Path) -> None:
        outcome, output = run(
            tmp_path,
            "import sys; sum(range(3_000_000)); print('out'); print('err', file=sys.stderr); sys.exit(3)",
        )
        assert (outcome.ended, outcome.exit_code) == ("exited", 3)
        assert "out" in output
        assert "err" in output
        assert outcome.cpu_seconds > 0
        assert outcome.max_rss_bytes > 5 * MIB

    def test_a_signal_is_a_negative_code(self, tmp_path: Path) -> None:
        outcome, _ = run(tmp_path, "import os; os.kill(os.getpid(), 11)")
        assert outcome.exit_code == -signal.SIGSEGV

    def test_the_environment_holds_nothing_of_ours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLOPS_SECRET", "do-not-tell")
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:1")
        _, output = run(tmp_path, "import os; print(dict(os.environ))", env={"MINE": "1"})
        assert "do-not-tell" not in output
        assert "proxy.example" in output
        assert "'MINE': '1'" in output
        assert f"'HOME': '{tmp_path}'" in output

    def test_only_the_end_of_a_long_output_is_kept(self, tmp_path: Path) -> None:
        outcome, output = run(
            tmp_path, "for _ in range(300): print('x' * 99999)\nprint('the end')", output_bytes=1000
        )
        assert outcome.exit_code == 0
        assert output.startswith("[...] ")
        assert output.endswith("the end\n")
        assert len(output) < 1100

    def test_a_program_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No such file"):
            run_isolated(["/no/such/program"], cwd=tmp_path, env={}, limits=Limits(timeout=5))


class TestLimits:
    def test_time(self, tmp_path: Path) -> None:
        outcome, _ = run(tmp_path, "import time; time.sleep(600)", Limits(timeout=0.3))
        assert outcome.ended == "timed_out"
        assert outcome.wall_seconds < 30

    def test_memory_of_the_tree(self, tmp_path: Path) -> None:
        code = "import time; a = bytearray(200_000_000); a[::4096] = b'x' * len(a[::4096]); time.sleep(600)"
        outcome, _ = run(tmp_path, code, Limits(timeout=60, memory_bytes=100 * MIB))
        assert outcome.ended == "out_of_memory"

    def test_memory_that_forked_processes_share_counts_once(self, tmp_path: Path) -> None:
        code = (
            "import os, time\na = bytearray(60_000_000); a[::4096] = b'x' * len(a[::4096])\n"
            "[os.fork() for _ in range(3)]\ntime.sleep(1.5)"
        )
        outcome, _ = run(tmp_path, code, Limits(timeout=60, memory_bytes=200 * MIB))
        assert (outcome.ended, outcome.exit_code) == ("exited", 0)
        assert outcome.max_rss_bytes > 200 * MIB

    def test_processes(self, tmp_path: Path) -> None:
        code = "import os, time\nfor _ in range(6): os.fork()\ntime.sleep(600)"
        outcome, _ = run(tmp_path, code, Limits(timeout=60, processes=20))
        assert outcome.ended == "too_many_processes"

    def test_file_size_and_open_files_and_core(self, tmp_path: Path) -> None:
        code = (
            "import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE), "
            "resource.getrlimit(resource.RLIMIT_NOFILE))\nopen('big', 'wb').write(bytes(2_000_000))"
        )
        outcome, output = run(tmp_path, code, Limits(timeout=60, file_bytes=1_000_000, open_files=100))
        assert "(0, 0) (100, 100)" in output
        assert outcome.exit_code != 0
        assert (tmp_path / "big").stat().st_size <= 1_000_000


class TestTheWholeTree:
    DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(600)
    os._exit(0)
os.wait()
"""

    def test_a_daemon_that_left_its_session_is_ended(self, tmp_path: Path) -> None:
        outcome, output = run(tmp_path, self.DAEMON + "time.sleep(0.3)")
        assert outcome.exit_code == 0
        assert not alive(int(output))

    def test_when_the_caller_is_killed_all_of_it_ends(self, tmp_path: Path) -> None:
        mark = tmp_path / "pid"
        inner = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
        code = (
            "import sys; from pathlib import Path; from ml_platform.kit.processes import *;"
            f"run_isolated([sys.executable, '-c', {inner!r}], cwd=Path('.'), env={{}}, limits=Limits(timeout=600))"
        )
        caller = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 20
        while not (mark.exists() and mark.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        caller.kill()
        caller.wait()
        until_dead(int(mark.read_text()))

    def test_it_works_from_many_threads(self, tmp_path: Path) -> None:
        found: list[str] = []
        threads = [
            threading.Thread(target=lambda i=i: found.append(run(tmp_path, f"print({i})")[1]))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == ["0\n", "1\n", "2\n", "3\n"]

    def test_what_carries_a_mark_is_found_and_ended(self) -> None:
        mark = f"mark-{os.getpid()}"
        marked = subprocess.Popen(["sleep", "600"], env={"JOB": mark, "PATH": os.environ["PATH"]})
        other = subprocess.Popen(["sleep", "600"], env={"JOB": "other", "PATH": os.environ["PATH"]})
        try:
            deadline = time.monotonic() + 10
            # Between fork and exec a child still shows our own environment.
            while kill_where_environment("JOB", mark) == 0:
                assert time.monotonic() < deadline
            assert marked.wait(10) == -signal.SIGKILL
            assert other.poll() is None
        finally:
            other.kill()
            other.wait()


class TestTail:
    def test_it_keeps_the_end_and_counts_all(self) -> None:
        tail = Tail(10)
        for _ in range(100):
            tail.add(b"0123456789abc")
        assert tail.total == 1300
        assert tail.text() == "[...] 3456789abc"
