"""Runs jobs on this machine, each under a runner of its own that outlives us.

The directory of a job is its only state, so nothing is forgotten when we are killed. Two locks order it:
the job's gate, which every call that looks or changes holds for a moment, and its claim, which the runner
holds for all its life. `launch` takes the claim itself and hands it to the runner that it starts: there is
no moment in which a launched job is held by nobody.
"""

import contextlib
import fcntl
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_platform.integrations.jobs import archive
from ml_platform.integrations.jobs import spec as layout
from ml_platform.integrations.jobs.runner import JOB_MARK
from ml_platform.integrations.jobs.spec import (
    JobConflictError,
    JobNotFoundError,
    JobRefusedError,
    JobResult,
    JobSpec,
    JobState,
    check_job_id,
    read_text,
    requirements_of,
    write_atomically,
)
from ml_platform.kit.environments import RequirementsRefusedError, normalise_requirements
from ml_platform.kit.processes import kill_where_environment, scrubbed_environment

MAX_OUTPUT_FILES = 10_000
MAX_METRICS_BYTES = 1024**2


@dataclass(frozen=True)
class LogPage:
    """A piece of a log. Ask again with `next_offset`; after `eof` there will be nothing more."""

    text: str
    next_offset: int
    eof: bool


@dataclass(frozen=True)
class OutputFile:
    path: str
    size: int


@dataclass(frozen=True)
class JobOutputs:
    """What a script left in `MLOPS_OUTPUTS`; `metrics` are read from its `metrics.json`.

    `metrics_error` says why they could not be taken.
    """

    directory: Path
    files: tuple[OutputFile, ...]
    metrics: dict[str, float]
    metrics_error: str | None = None


class LocalJobEngine:
    """Jobs as processes of this machine; any number of engines may stand on one directory.

    Args:
        root: where the jobs' directories stand.
        environments_root: the cache of environments.
        allow_source_builds: whether requirements without a wheel may be built, which runs their code
            before the job's limits hold.
    """

    def __init__(self, root: Path, environments_root: Path, *, allow_source_builds: bool = False) -> None:
        self._root = root
        self._environments_root = environments_root
        self._allow_source_builds = allow_source_builds
        self._runners: list[subprocess.Popen[bytes]] = []
        for directory in (root, root / ".gates"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def prepare(self, spec: JobSpec) -> None:
        """Checks and unpacks a job; doing it again with the same job does nothing.

        Raises:
            JobRefusedError: the archive, the script, the requirements or an input cannot be taken.
            JobConflictError: another job stands under this id.
        """
        with self._gate(spec.job_id):
            folder = self._root / spec.job_id
            text = spec.to_json()
            if folder.exists():
                if read_text(folder / layout.SPEC) != text:
                    raise JobConflictError(f"there is another job {spec.job_id!r}")
                return
            for leftover in self._root.glob(f".preparing-{spec.job_id}.*"):
                _remove(leftover)
            scratch = Path(tempfile.mkdtemp(prefix=f".preparing-{spec.job_id}.", dir=self._root))
            try:
                _fill(scratch, spec, text)
                scratch.rename(folder)
            finally:
                _remove(scratch)

    def requirements(self, job_id: str) -> str:
        """The text of what the job's environment is made of."""
        folder = self._folder(job_id)
        return requirements_of(folder, JobSpec.from_json(read_text(folder / layout.SPEC) or ""))

    def launch(self, job_id: str) -> None:
        """Starts the job's runner unless it has one or had its turn.

        Called twice, at once, or again after a crash, the script runs once at most: a job whose script
        was started is never started again, see `JobState`.
        """
        with self._gate(job_id):
            folder = self._folder(job_id)
            if (folder / layout.EXIT).exists() or (folder / layout.STARTED).exists():
                return
            claim = os.open(folder / layout.CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._start_runner(folder, claim)
            except BlockingIOError:
                return
            finally:
                # Only closed, never unlocked: the runner's copy keeps the lock.
                os.close(claim)

    def poll(self, job_id: str) -> JobState:
        """Where the job stands. What a lost job left running is ended here."""
        folder = self._folder(job_id)
        self._reap_runners()
        with self._gate(job_id):
            if self._result(folder) is None and self._is_claimed(folder):
                phase = json.loads(read_text(folder / layout.PHASE) or "{}").get("phase", "environment")
                return JobState("running", phase=phase, script_started=(folder / layout.STARTED).exists())
            # A runner writes its last word and then lets go, so it is asked again after the claim.
            result = self._result(folder)
            started = (folder / layout.STARTED).exists()
            if result is not None:
                return JobState("finished", result=result, script_started=started)
            if started:
                kill_where_environment(JOB_MARK, job_id)
            if started or (folder / layout.PHASE).exists():
                return JobState("lost", script_started=started)
            return JobState("prepared")

    def cancel(self, job_id: str) -> None:
        """Asks the job to stop; one that was not launched is over at once. Harmless when it has ended."""
        folder = self._folder(job_id)
        with self._gate(job_id):
            (folder / layout.CANCEL).touch()
            idle = not self._is_claimed(folder) and not (folder / layout.STARTED).exists()
            if idle and self._result(folder) is None:
                now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                result = JobResult("cancelled", None, "somebody cancelled it before it began", now, now)
                write_atomically(folder / layout.EXIT, json.dumps(asdict(result)))

    def read_log(self, job_id: str, offset: int = 0, limit: int = 65_536) -> LogPage:
        """The log from byte `offset` on, at most `limit` bytes, cut between characters."""
        folder = self._folder(job_id)
        over = self.poll(job_id).status in ("finished", "lost")
        try:
            with (folder / layout.LOG).open("rb") as log:
                log.seek(max(offset, 0))
                data = log.read(max(limit, 4))
                more = bool(log.read(1))
        except FileNotFoundError:
            data, more = b"", False
        if more or not over:
            data = data[: len(data) - _incomplete(data)]
        return LogPage(data.decode(errors="replace"), max(offset, 0) + len(data), over and not more)

    def outputs(self, job_id: str) -> JobOutputs:
        """The files and the metrics that the script left; links are not followed."""
        directory = self._folder(job_id) / layout.OUTPUTS
        files: list[OutputFile] = []
        for parent, _, names in os.walk(directory, followlinks=False):
            for name in sorted(names):
                path = Path(parent) / name
                if path.is_file() and not path.is_symlink() and len(files) < MAX_OUTPUT_FILES:
                    files.append(OutputFile(path.relative_to(directory).as_posix(), path.stat().st_size))
        metrics, error = _read_metrics(directory / "metrics.json")
        return JobOutputs(directory, tuple(files), metrics, error)

    def running(self) -> list[str]:
        """The ids of the jobs that have a living runner."""
        ids = [path.name for path in self._root.iterdir() if not path.name.startswith(".")]
        return [job_id for job_id in sorted(ids) if self.poll(job_id).status == "running"]

    def cleanup(self, job_id: str) -> None:
        """Deletes everything of a job that has ended.

        Raises:
            JobConflictError: it is running.
        """
        check_job_id(job_id)
        with self._gate(job_id):
            folder = self._root / job_id
            if folder.exists():
                if self._result(folder) is None and self._is_claimed(folder):
                    raise JobConflictError(f"job {job_id!r} is running; cancel it first")
                _remove(folder)
            for leftover in self._root.glob(f".preparing-{job_id}.*"):
                _remove(leftover)
            (self._root / ".gates" / job_id).unlink(missing_ok=True)

    def _folder(self, job_id: str) -> Path:
        check_job_id(job_id)
        folder = self._root / job_id
        if not folder.is_dir():
            raise JobNotFoundError(f"there is no job {job_id!r} here")
        return folder

    @contextlib.contextmanager
    def _gate(self, job_id: str) -> Iterator[None]:
        check_job_id(job_id)
        with (self._root / ".gates" / job_id).open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Explicit, because a child that another thread forks now has a copy until its exec.
                fcntl.flock(gate, fcntl.LOCK_UN)

    def _is_claimed(self, folder: Path) -> bool:
        """Whether a runner lives; only under the gate, so that no launch takes this look for a runner."""
        claim = os.open(folder / layout.CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(claim, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
        finally:
            os.close(claim)
        return False

    def _start_runner(self, folder: Path, claim: int) -> None:
        builds = "source-builds" if self._allow_source_builds else "wheels"
        program = [sys.executable, "-I", "-m", "ml_platform.integrations.jobs.runner"]
        with (folder / layout.RUNNER_LOG).open("ab") as log:
            runner = subprocess.Popen(
                [*program, str(folder), str(self._environments_root), builds, str(claim)],
                cwd=folder,
                env=_runner_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(claim,),
            )
        self._runners.append(runner)
        self._reap_runners()

    def _reap_runners(self) -> None:
        self._runners = [runner for runner in self._runners if runner.poll() is None]

    @staticmethod
    def _result(folder: Path) -> JobResult | None:
        text = read_text(folder / layout.EXIT)
        return JobResult.from_json(text) if text else None


def _fill(folder: Path, spec: JobSpec, text: str) -> None:
    for name in (layout.SOURCE, layout.INPUTS, layout.OUTPUTS, layout.HOME, layout.TMP):
        (folder / name).mkdir(mode=0o700)
    if not spec.source.is_file():
        raise JobRefusedError("the source archive is not there")
    archive.check_digest(spec.source, spec.source_sha256)
    archive.extract(spec.source, folder / layout.SOURCE)
    _check_inside(folder / layout.SOURCE, spec.script, "script")
    if spec.requirements is None and spec.requirements_file is not None:
        _check_inside(folder / layout.SOURCE, spec.requirements_file, "requirements file")
    try:
        normalise_requirements(requirements_of(folder, spec))
    except RequirementsRefusedError as error:
        raise JobRefusedError(error.detail) from error
    for name, path in spec.inputs.items():
        _place(path, folder / layout.INPUTS / f"{name}.parquet", name)
    write_atomically(folder / layout.CONFIG, json.dumps(dict(spec.config), allow_nan=False))
    write_atomically(folder / layout.SPEC, text)


def _check_inside(source: Path, name: str, what: str) -> None:
    parts = name.split("/")
    plain = not name.startswith("/") and ".." not in parts and "\0" not in name and name != ""
    if not plain or not (source / name).is_file():
        raise JobRefusedError(f"the {what} {name!r} is not in the source folder")


def _place(path: Path, target: Path, name: str) -> None:
    if not path.is_file():
        raise JobRefusedError(f"input {name!r} is not there")
    shutil.copyfile(path, target)  # a link would let the script write into what is stored


def _runner_environment() -> dict[str, str]:
    """The runner calls uv, so it also needs what configures uv; the script gets none of that."""
    configuration = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("UV_", "XDG_")) or name in {"HOME", "TMPDIR", "NETRC"}
    }
    base = scrubbed_environment(Path(os.environ.get("HOME", "/")))
    base.pop("TMPDIR")
    return base | configuration


def _incomplete(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0b1100_0000 == 0b1000_0000:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if length > back else 0
    return 0


def _read_metrics(path: Path) -> tuple[dict[str, float], str | None]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}, None
    except OSError as error:
        return {}, f"metrics.json cannot be read: {error.strerror}"
    with os.fdopen(handle, "rb") as file:
        data = file.read(MAX_METRICS_BYTES + 1)
    if len(data) > MAX_METRICS_BYTES:
        return {}, f"metrics.json is larger than {MAX_METRICS_BYTES} bytes"
    try:
        return _numbers(json.loads(data)), None
    except (ValueError, RecursionError, OverflowError) as error:
        return {}, f"metrics.json must be an object of finite numbers: {str(error)[:200]}"


def _numbers(raw: Any) -> dict[str, float]:
    if not isinstance(raw, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - what is wrong is a value that was sent
    for name, value in raw.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name[:100]!r} is none")
    return {name: float(value) for name, value in raw.items()}


def _remove(folder: Path) -> None:
    def make_writable(function: Any, path: str, _: Any) -> None:
        # A script may leave folders that nobody may write to.
        with contextlib.suppress(OSError):
            Path(path).parent.chmod(0o700)
            Path(path).chmod(0o700)
            function(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=make_writable)
