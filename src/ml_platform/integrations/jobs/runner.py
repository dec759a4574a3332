"""The process that looks after one job: `python -m ml_platform.integrations.jobs.runner <job directory>`.

It lives in a session of its own and survives the control plane. It holds the job's claim for all its life,
so there is never a second one, and its last act is to write how the job ended.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any

from ml_platform.integrations.jobs import spec as layout
from ml_platform.integrations.jobs.spec import JobResult, JobSpec, requirements_of, write_atomically
from ml_platform.kit.environments import (
    EnvironmentCache,
    EnvironmentCancelledError,
    EnvironmentFailedError,
    EnvironmentTimeoutError,
)
from ml_platform.kit.processes import Limits, Outcome, become_subreaper, scrubbed_environment, supervise

JOB_MARK = "MLOPS_JOB_ID"
"""Every process of a job carries it, by which those whose runner was killed are found."""


class JobLog:
    """The job's log: takes everything, keeps what fits, and says once that the rest is missing."""

    def __init__(self, path: Path, limit: int) -> None:
        self._file = path.open("ab", buffering=0)
        self._left = limit - path.stat().st_size
        self._limit = limit
        self._fresh_line = True
        self.truncated = False

    def add(self, data: bytes) -> None:
        """The script's own output. Never raises: a full disk must not stop the script."""
        if self.truncated:
            return
        kept = data[: max(self._left, 0)]
        self._write(kept)
        self._left -= len(data)
        if self._left < 0:
            self.truncated = True
            self.say(f"the output is longer than {self._limit} bytes; the rest is not kept")

    def say(self, text: str) -> None:
        """A line of ours."""
        start = b"" if self._fresh_line else b"\n"
        self._write(start + f"mlops: {text}\n".encode(errors="replace"))

    def _write(self, data: bytes) -> None:
        if data:
            with contextlib.suppress(OSError):
                self._file.write(data)
            self._fresh_line = data.endswith(b"\n")


class Runner:
    """One job from its claim to its `exit.json`."""

    def __init__(self, folder: Path, environments_root: Path, *, allow_source_builds: bool) -> None:
        self._folder = folder
        self._spec = JobSpec.from_json((folder / layout.SPEC).read_text())
        self._environments = EnvironmentCache(environments_root, allow_source_builds=allow_source_builds)
        self._log = JobLog(folder / layout.LOG, self._spec.log_bytes)
        self._started_at = _now()
        self._environment_seconds = 0.0
        self._stopping = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        become_subreaper()
        try:
            result = self._environment_and_script()
        except Exception as error:
            traceback.print_exc()
            result = self._result("failed", f"the runner failed: {type(error).__name__}: {error}")
        self._log.say(f"{result.state}{': ' + result.reason if result.reason else ''}")
        write_atomically(self._folder / layout.EXIT, dumps(asdict(result), allow_nan=False))

    def _environment_and_script(self) -> JobResult:
        self._enter("environment")
        began = time.monotonic()
        try:
            python = self._environments.ensure(
                requirements_of(self._folder, self._spec),
                log=self._log.say,
                timeout=self._spec.environment_timeout_seconds,
                cancelled=self._unwanted,
            )
        except EnvironmentCancelledError:
            return self._stopped()
        except EnvironmentTimeoutError:
            return self._result("timed_out", "its environment was not ready in time")
        except EnvironmentFailedError as error:
            return self._result("failed", _with_last_line(error))
        finally:
            self._environment_seconds = round(time.monotonic() - began, 3)
        with self._environments.hold(python):
            if self._unwanted():
                return self._stopped()
            # From here on the script may have run, so it is never started again.
            write_atomically(self._folder / layout.STARTED, self._started_at)
            self._enter("script")
            return self._script(python)

    def _script(self, python: Path) -> JobResult:
        spec = self._spec
        outcome = supervise(
            [str(python), spec.script, *spec.args],
            cwd=self._folder / layout.SOURCE,
            env=self._script_environment(python),
            limits=Limits(
                timeout=spec.timeout_seconds,
                memory_bytes=spec.memory_bytes,
                processes=spec.max_processes,
                file_bytes=spec.file_bytes,
            ),
            output=self._log.add,
            cancelled=self._unwanted,
        )
        if outcome.ended == "cancelled":
            return self._stopped(outcome)
        if outcome.ended == "timed_out":
            return self._result("timed_out", f"it ran longer than {spec.timeout_seconds:g} s", outcome)
        reason = _reason(outcome, spec)
        return self._result("failed" if reason else "succeeded", reason, outcome)

    def _script_environment(self, python: Path) -> dict[str, str]:
        source = self._folder / layout.SOURCE
        base = scrubbed_environment(self._folder / layout.HOME, self._spec.env)
        # The project's own packages are found as they would be at its root, also from a nested script.
        importable = [source, *([source / "src"] if (source / "src").is_dir() else [])]
        ours = {
            JOB_MARK: self._spec.job_id,
            "MLOPS_CONFIG": str(self._folder / layout.CONFIG),
            "MLOPS_INPUTS": str(self._folder / layout.INPUTS),
            "MLOPS_OUTPUTS": str(self._folder / layout.OUTPUTS),
            "PATH": os.pathsep.join([str(python.parent), base["PATH"]]),
            "PYTHONPATH": os.pathsep.join(map(str, importable)),
            "PYTHONUNBUFFERED": "1",
            "VIRTUAL_ENV": str(python.parents[1]),
        }
        return base | ours

    def _enter(self, phase: str) -> None:
        content = {"phase": phase, "pid": os.getpid(), "since": _now()}
        write_atomically(self._folder / layout.PHASE, dumps(content))

    def _unwanted(self) -> bool:
        return self._stopping or (self._folder / layout.CANCEL).exists()

    def _stop(self, *_: Any) -> None:
        self._stopping = True

    def _stopped(self, outcome: Outcome | None = None) -> JobResult:
        if self._stopping:
            return self._result("failed", "it was stopped together with the platform", outcome)
        return self._result("cancelled", "somebody cancelled it", outcome)

    def _result(self, state: Any, reason: str | None, outcome: Outcome | None = None) -> JobResult:
        return JobResult(
            state=state,
            exit_code=outcome.exit_code if outcome else None,
            reason=reason,
            started_at=self._started_at,
            finished_at=_now(),
            cpu_seconds=outcome.cpu_seconds if outcome else 0.0,
            max_rss_bytes=outcome.max_rss_bytes if outcome else 0,
            environment_seconds=self._environment_seconds,
            log_truncated=self._log.truncated,
        )


def _reason(outcome: Outcome, spec: JobSpec) -> str | None:
    if outcome.ended == "out_of_memory":
        return f"it used more than its {spec.memory_bytes // 1024**2} MiB of memory"
    if outcome.ended == "too_many_processes":
        return f"it started more than {spec.max_processes} processes"
    code = outcome.exit_code or 0
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the script was ended by {signal.Signals(-code).name}"
        return f"the script was ended by signal {-code}"
    return f"the script exited with code {code}" if code else None


def _with_last_line(error: EnvironmentFailedError) -> str:
    lines = error.log.strip().splitlines()
    return f"{error.detail}: {' '.join(line.strip() for line in lines[-3:])}" if lines else error.detail


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main(arguments: list[str]) -> int:
    """Arguments: the job, the environments, whether to build sources, and, if inherited, the claim."""
    folder, environments_root = Path(arguments[0]), Path(arguments[1])
    claim = (
        int(arguments[3]) if len(arguments) > 3 else os.open(folder / layout.CLAIM, os.O_RDWR | os.O_CREAT)
    )
    os.set_inheritable(claim, False)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 3  # somebody else looks after it
    if (folder / layout.EXIT).exists() or (folder / layout.STARTED).exists():
        return 0
    Runner(folder, environments_root, allow_source_builds=arguments[2:3] == ["source-builds"]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
