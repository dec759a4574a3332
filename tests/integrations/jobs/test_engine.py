import fcntl
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from ml_platform.integrations.jobs import engine as engine_module
from ml_platform.integrations.jobs import spec as layout
from ml_platform.integrations.jobs.engine import LocalJobEngine
from ml_platform.integrations.jobs.spec import (
    JobConflictError,
    JobNotFoundError,
    JobRefusedError,
)
from ml_platform.kit.environments import EnvironmentCache
from tests.integrations.jobs.conftest import Submit, alive, archive_of, finished, spec_of, until

MIB = 1024**2


def _number_after(word: str, engine: LocalJobEngine) -> str | None:
    """The number that a script has printed behind a word, once the line is complete."""
    found = re.search(rf"{word} (\d+)\n", engine.read_log("job_1").text)
    return found[1] if found else None


class TestARun:
    def test_a_script_finds_its_config_inputs_and_arguments_and_leaves_outputs(
        self, tmp_path: Path, engine: LocalJobEngine
    ) -> None:
        table = tmp_path / "customers.parquet"
        table.write_bytes(b"PAR1 rows")
        script = """
import json, os, sys, pathlib, helper
config = json.load(open(os.environ["MLOPS_CONFIG"]))
rows = pathlib.Path(os.environ["MLOPS_INPUTS"], "customers.parquet").read_bytes()
out = pathlib.Path(os.environ["MLOPS_OUTPUTS"])
(out / "metrics.json").write_text(json.dumps({"auc": 0.5, "rows": len(rows)}))
(out / "model").mkdir(); (out / "model" / "m.txt").write_text("hello")
print(config["depth"], sys.argv[1:], helper.NAME, os.environ["TRACKING"], pathlib.Path.cwd().name)
print("to stderr", file=sys.stderr)
"""
        data = archive_of({"nested/train.py": script, "helper.py": "NAME = 'helper'"})
        spec = spec_of(
            tmp_path, "job_1", data,
            script="nested/train.py", args=("--fast", "1"), config={"depth": 3},
            env={"TRACKING": "http://x"}, inputs={"customers": table},
        )  # fmt: skip
        engine.prepare(spec)
        assert engine.poll("job_1").status == "prepared"
        engine.launch("job_1")
        state = finished(engine)
        assert state.result is not None
        assert (state.result.state, state.result.exit_code, state.result.reason) == ("succeeded", 0, None)
        assert state.result.cpu_seconds > 0
        assert state.result.max_rss_bytes > 5 * MIB
        assert state.result.started_at < state.result.finished_at
        log = engine.read_log("job_1").text
        assert "3 ['--fast', '1'] helper http://x source" in log
        assert "to stderr" in log
        outputs = engine.outputs("job_1")
        assert outputs.metrics == {"auc": 0.5, "rows": 9.0}
        assert [file.path for file in outputs.files] == ["metrics.json", "model/m.txt"]

    def test_a_script_sees_nothing_of_our_environment(
        self, submit: Submit, engine: LocalJobEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLOPS_SECRET", "do-not-tell")
        monkeypatch.setenv("UV_INDEX_PRIVATE_PASSWORD", "do-not-tell")
        submit("import os, pathlib; print(sorted(os.environ)); print(pathlib.Path.home())")
        finished(engine)
        log = engine.read_log("job_1").text
        assert "MLOPS_SECRET" not in log
        assert "UV_INDEX" not in log
        assert "/job_1/home" in log

    def test_a_cached_environment_costs_little(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit("print('x')")
        result = finished(engine).result
        assert result is not None
        assert result.environment_seconds < 10  # made anew it would be downloaded and unpacked

    def test_the_log_is_there_while_it_runs(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit("import time; print('first'); time.sleep(60)")
        until(lambda: "first" in engine.read_log("job_1").text)
        assert not engine.read_log("job_1").eof
        assert engine.poll("job_1").phase == "script"
        assert engine.running() == ["job_1"]

    def test_the_log_is_paged_between_characters(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit("print('äöü€😀' * 50)")
        finished(engine)
        offset, text, eof = 0, "", False
        while not eof:
            page = engine.read_log("job_1", offset, 7)
            assert page.next_offset > offset or page.eof
            offset, text, eof = page.next_offset, text + page.text, page.eof
        assert "äöü€😀" * 50 in text
        assert "�" not in text


class TestScriptsThatMisbehave:
    def test_a_crash_gives_its_code_and_its_traceback(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit("raise SystemExit(7)")
        result = finished(engine).result
        assert result is not None
        assert (result.state, result.exit_code) == ("failed", 7)
        assert result.reason == "the script exited with code 7"

    def test_a_signal_is_named(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        result = finished(engine).result
        assert result is not None
        assert result.reason == "the script was ended by SIGSEGV"

    def test_one_that_hangs_and_ignores_signals_is_ended_in_time(
        self, submit: Submit, engine: LocalJobEngine
    ) -> None:
        submit(
            "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)",
            timeout_seconds=0.5,
        )
        result = finished(engine).result
        assert result is not None
        assert result.state == "timed_out"
        assert "longer than 0.5 s" in (result.reason or "")

    def test_endless_output_is_cut_and_never_blocks(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit(
            "import sys\nfor _ in range(400): sys.stdout.write('x' * 99999 + '\\n')\nprint('end')",
            log_bytes=200_000,
        )
        result = finished(engine).result
        assert result is not None
        assert result.state == "succeeded"
        assert result.log_truncated
        page = engine.read_log("job_1", 0, MIB)
        assert page.next_offset < 201_000
        assert page.text.count("the rest is not kept") == 1

    def test_too_much_memory_in_its_children_ends_it(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit(
            """
import subprocess, sys
hog = "import time; a = bytearray(90_000_000); a[::4096] = b'x' * len(a[::4096]); time.sleep(60)"
for child in [subprocess.Popen([sys.executable, "-c", hog]) for _ in range(3)]: child.wait()
""",
            memory_bytes=150 * MIB,
        )
        result = finished(engine).result
        assert result is not None
        assert result.reason == "it used more than its 150 MiB of memory"
        assert result.max_rss_bytes > 150 * MIB

    def test_a_fork_bomb_is_ended_whole(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit(
            "import os, time\nfor _ in range(7): os.fork()\ntime.sleep(600)",
            max_processes=40,
        )
        result = finished(engine).result
        assert result is not None
        assert (result.state, result.reason) == ("failed", "it started more than 40 processes")
        assert _marked("job_1") == []

    def test_one_that_sets_itself_apart_is_ended_with_the_script(
        self, submit: Submit, engine: LocalJobEngine
    ) -> None:
        submit(
            """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("daemon", os.getpid(), flush=True)
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(0.3)
"""
        )
        result = finished(engine).result
        assert result is not None
        assert result.state == "succeeded"
        daemon = int(engine.read_log("job_1").text.split("daemon ")[1].split()[0])
        assert not alive(daemon)

    def test_requirements_that_do_not_exist_fail_with_their_name(
        self, submit: Submit, engine: LocalJobEngine
    ) -> None:
        submit("print(1)", requirements="no-such-package-of-ours-xyz==1.0")
        state = finished(engine)
        assert state.result is not None
        assert not state.script_started
        assert state.result.state == "failed"
        assert "no-such-package-of-ours-xyz" in (state.result.reason or "")

    def test_metrics_that_are_no_numbers_are_refused_by_name(
        self, submit: Submit, engine: LocalJobEngine
    ) -> None:
        submit("import os; open(os.environ['MLOPS_OUTPUTS'] + '/metrics.json', 'w').write('{\"auc\": NaN}')")
        finished(engine)
        outputs = engine.outputs("job_1")
        assert outputs.metrics == {}
        assert "'auc'" in (outputs.metrics_error or "")

    def test_links_in_the_outputs_are_not_followed(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit(
            "import os; o = os.environ['MLOPS_OUTPUTS']\n"
            "os.symlink('/etc/passwd', o + '/metrics.json'); os.symlink('/etc', o + '/etc')"
        )
        finished(engine)
        outputs = engine.outputs("job_1")
        assert outputs.files == ()
        assert outputs.metrics == {}
        assert outputs.metrics_error is not None


class TestCancelling:
    def test_a_running_job_stops_with_its_children(self, submit: Submit, engine: LocalJobEngine) -> None:
        submit(
            "import subprocess, sys, time\n"
            "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "print('child', c.pid); time.sleep(600)"
        )
        child = int(until(lambda: _number_after("child", engine)))
        engine.cancel("job_1")
        result = finished(engine).result
        assert result is not None
        assert result.state == "cancelled"
        assert not alive(child)
        engine.cancel("job_1")
        assert engine.poll("job_1").result == result

    def test_a_job_that_was_not_launched_never_runs(self, tmp_path: Path, engine: LocalJobEngine) -> None:
        engine.prepare(spec_of(tmp_path, "job_1", archive_of({"train.py": "print(1)"})))
        engine.cancel("job_1")
        engine.launch("job_1")
        state = engine.poll("job_1")
        assert state.result is not None
        assert state.result.state == "cancelled"
        assert not state.script_started


class TestLaunchingOnce:
    SCRIPT = "import os\nwith open(os.environ['MLOPS_CONFIG'] + '.ran', 'a') as f: f.write('x')"

    def ran(self, engine: LocalJobEngine, tmp_path: Path, job_id: str = "job_1") -> str:
        return (tmp_path / "jobs" / job_id / "config.json.ran").read_text()

    def test_many_launches_at_once_run_it_once(
        self, tmp_path: Path, engine: LocalJobEngine, environments_root: Path
    ) -> None:
        engine.prepare(spec_of(tmp_path, "job_1", archive_of({"train.py": self.SCRIPT})))
        engines = [LocalJobEngine(tmp_path / "jobs", environments_root) for _ in range(4)]
        threads = [threading.Thread(target=e.launch, args=("job_1",)) for e in engines * 3]
        threads += [threading.Thread(target=e.poll, args=("job_1",)) for e in engines * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert finished(engine).status == "finished"
        engine.launch("job_1")
        assert finished(engine).status == "finished"
        assert self.ran(engine, tmp_path) == "x"

    def test_killed_before_any_line_of_launch_it_still_runs_exactly_once(
        self, tmp_path: Path, engine: LocalJobEngine
    ) -> None:
        line, completed = 0, False
        while not completed:
            line += 1
            job_id = f"job_{line}"
            engine.prepare(spec_of(tmp_path, job_id, archive_of({"train.py": self.SCRIPT})))
            pid = os.fork()
            if pid == 0:
                _die_at_line(line, "launch", "_start_runner", "_gate")
                engine.launch(job_id)
                os._exit(0)
            completed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            engine.launch(job_id)
        assert line > 10
        for number in range(1, line + 1):
            assert finished(engine, f"job_{number}").status == "finished"
            assert self.ran(engine, tmp_path, f"job_{number}") == "x"

    def test_killed_before_any_line_of_prepare_it_can_be_prepared_again(
        self, tmp_path: Path, engine: LocalJobEngine
    ) -> None:
        line, completed = 0, False
        while not completed:
            line += 1
            spec = spec_of(tmp_path, f"job_{line}", archive_of({"train.py": "", "b/c.txt": "c"}))
            pid = os.fork()
            if pid == 0:
                _die_at_line(line)
                engine.prepare(spec)
                os._exit(0)
            completed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            engine.prepare(spec)
            folder = tmp_path / "jobs" / spec.job_id
            assert (folder / "source" / "b" / "c.txt").read_text() == "c"
            assert (folder / layout.SPEC).read_text() == spec.to_json()
            assert list((tmp_path / "jobs").glob(".preparing*")) == []
        assert line > 20

    def test_the_same_job_prepared_twice_is_one_and_another_is_a_conflict(
        self, tmp_path: Path, engine: LocalJobEngine
    ) -> None:
        spec = spec_of(tmp_path, "job_1", archive_of({"train.py": ""}))
        engine.prepare(spec)
        engine.prepare(spec)
        with pytest.raises(JobConflictError):
            engine.prepare(spec_of(tmp_path, "job_1", archive_of({"train.py": "1"})))


class TestARunnerThatIsKilled:
    def test_the_job_is_lost_its_processes_are_ended_and_it_never_runs_again(
        self, submit: Submit, engine: LocalJobEngine, tmp_path: Path
    ) -> None:
        submit(
            """
import os, time
print("script", os.getpid(), flush=True)
if os.fork() == 0:
    os.setsid()
    print("daemon", os.getpid(), flush=True)
time.sleep(600)
"""
        )
        pids = [int(until(lambda name=name: _number_after(name, engine))) for name in ("script", "daemon")]
        phase = json.loads((tmp_path / "jobs" / "job_1" / layout.PHASE).read_text())
        os.kill(phase["pid"], signal.SIGKILL)
        state = finished(engine)
        assert (state.status, state.script_started) == ("lost", True)
        for pid in pids:
            until(lambda pid=pid: not alive(pid))
        engine.launch("job_1")
        assert engine.poll("job_1").status == "lost"
        assert engine.read_log("job_1").eof

    def test_killed_while_the_environment_is_made_it_may_be_launched_again(
        self, tmp_path: Path, engine: LocalJobEngine, environments_root: Path
    ) -> None:
        script = "import six; print('six', six.__version__)"
        data = archive_of({"train.py": script, "req.txt": "six==1.17.0  # small\n"})
        spec = spec_of(tmp_path, "job_1", data, requirements_file="req.txt")
        engine.prepare(spec)
        # Somebody else is building the same environment, so the runner waits in that phase.
        cache = EnvironmentCache(environments_root)
        key = cache.key("six==1.17.0")
        with (environments_root / ".locks" / f"{key}.build").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            engine.launch("job_1")
            until((tmp_path / "jobs" / "job_1" / layout.PHASE).exists)
            pid = json.loads((tmp_path / "jobs" / "job_1" / layout.PHASE).read_text())["pid"]
            os.kill(pid, signal.SIGKILL)
            state = finished(engine)
            assert (state.status, state.script_started) == ("lost", False)
        engine.launch("job_1")
        state = finished(engine)
        assert state.result is not None
        assert state.result.state == "succeeded", engine.read_log("job_1").text
        assert "six 1.17.0" in engine.read_log("job_1").text

    def test_the_runner_survives_the_process_that_launched_it(
        self, tmp_path: Path, engine: LocalJobEngine
    ) -> None:
        engine.prepare(
            spec_of(
                tmp_path, "job_1", archive_of({"train.py": "import time; time.sleep(0.5); print('done')"})
            )
        )
        pid = os.fork()
        if pid == 0:
            engine.launch("job_1")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        result = finished(engine).result
        assert result is not None
        assert result.state == "succeeded"

    def test_a_runner_that_is_asked_to_stop_says_so(
        self, submit: Submit, engine: LocalJobEngine, tmp_path: Path
    ) -> None:
        submit("import time; print('here'); time.sleep(600)")
        until(lambda: "here" in engine.read_log("job_1").text)
        phase = json.loads((tmp_path / "jobs" / "job_1" / layout.PHASE).read_text())
        os.kill(phase["pid"], signal.SIGTERM)
        result = finished(engine).result
        assert result is not None
        assert (result.state, result.reason) == ("failed", "it was stopped together with the platform")


class TestCleaningUp:
    def test_an_ended_job_is_gone_and_a_running_one_stays(
        self, submit: Submit, engine: LocalJobEngine, tmp_path: Path
    ) -> None:
        submit("import time; print('here'); time.sleep(600)")
        until(lambda: "here" in engine.read_log("job_1").text)
        with pytest.raises(JobConflictError):
            engine.cleanup("job_1")
        engine.cancel("job_1")
        finished(engine)
        engine.cleanup("job_1")
        engine.cleanup("job_1")
        with pytest.raises(JobNotFoundError):
            engine.poll("job_1")
        assert [p.name for p in (tmp_path / "jobs").iterdir()] == [".gates"]


class TestJobsThatAreRefused:
    @pytest.mark.parametrize("script", ["../train.py", "/etc/x.py", "missing.py", "train.sh", "", "a\0.py"])
    def test_a_script_outside_the_source(self, tmp_path: Path, engine: LocalJobEngine, script: str) -> None:
        with pytest.raises(JobRefusedError):
            engine.prepare(spec_of(tmp_path, "job_1", archive_of({"train.py": ""}), script=script))
        assert list((tmp_path / "jobs").glob("*job_1*")) == []

    def test_a_wrong_digest(self, tmp_path: Path, engine: LocalJobEngine) -> None:
        spec = spec_of(tmp_path, "job_1", archive_of({"train.py": ""}))
        spec.source.write_bytes(archive_of({"train.py": "evil"}))
        with pytest.raises(JobRefusedError, match="SHA-256"):
            engine.prepare(spec)

    def test_hostile_requirements_name_their_line(self, tmp_path: Path, engine: LocalJobEngine) -> None:
        data = archive_of({"train.py": "", "requirements.txt": "six\n--index-url https://evil\n"})
        with pytest.raises(JobRefusedError, match="line 2"):
            engine.prepare(spec_of(tmp_path, "job_1", data, requirements_file="requirements.txt"))

    @pytest.mark.parametrize("job_id", ["", "..", "a/b", ".hidden", "x" * 200, "a\n"])
    def test_an_id_that_is_no_name(self, tmp_path: Path, engine: LocalJobEngine, job_id: str) -> None:
        with pytest.raises(JobRefusedError):
            engine.poll(job_id)

    def test_an_input_that_is_not_there(self, tmp_path: Path, engine: LocalJobEngine) -> None:
        data = archive_of({"train.py": ""})
        with pytest.raises(JobRefusedError, match="'rows'"):
            engine.prepare(spec_of(tmp_path, "job_1", data, inputs={"rows": tmp_path / "none.parquet"}))


def _die_at_line(number: int, *functions: str) -> None:
    """Kills this process just before the given line of the engine that it reaches."""
    files = {engine_module.__file__, layout.__file__}
    seen = 0

    def trace(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename not in files or (functions and frame.f_code.co_name not in functions):
            return None
        if event == "line":
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def _marked(job_id: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MLOPS_JOB_ID") == job_id:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
