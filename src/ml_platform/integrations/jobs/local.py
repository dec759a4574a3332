"""The local job engine as training asks for it: `JobEngine` and `SourceArchives` of the training slice."""

import gzip
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from ml_platform.contracts.problems import ErrorCode
from ml_platform.integrations.jobs import archive as archives
from ml_platform.integrations.jobs.engine import LocalJobEngine
from ml_platform.integrations.jobs.spec import (
    JobConflictError,
    JobNotFoundError,
    JobRefusedError,
    JobResult,
    JobSpec,
)
from ml_platform.kit.environments import normalise_requirements
from ml_platform.kit.errors import BadInputError, ConflictError, NotFoundError
from ml_platform.services.training import (
    EngineState,
    JobEnd,
    JobLaunch,
    JobOutputs,
    LogPiece,
    SourceListing,
)

_LISTED_FILES = 2_000


class LocalJobs:
    """Jobs as processes of this machine."""

    def __init__(self, engine: LocalJobEngine, *, environment_seconds: float) -> None:
        self._engine = engine
        self._environment_seconds = environment_seconds

    def prepare(self, job: JobLaunch) -> None:
        with _platform_errors():
            self._engine.prepare(
                JobSpec(
                    job_id=job.job_id,
                    source=job.source,
                    source_sha256=job.source_sha256,
                    script=job.script,
                    requirements_file=job.requirements_file,
                    args=job.args,
                    env=job.env,
                    config=job.config,
                    inputs=job.inputs,
                    timeout_seconds=job.timeout_seconds,
                    environment_timeout_seconds=self._environment_seconds,
                    memory_bytes=job.memory_bytes,
                    max_processes=job.max_processes,
                    log_bytes=job.log_bytes,
                )
            )

    def requirements_digest(self, job_id: str) -> str | None:
        with _platform_errors():
            lines = normalise_requirements(self._engine.requirements(job_id))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None

    def launch(self, job_id: str) -> None:
        with _platform_errors():
            self._engine.launch(job_id)

    def state(self, job_id: str) -> EngineState:
        try:
            now = self._engine.poll(job_id)
        except JobNotFoundError:
            return EngineState("unknown")
        end = _end(now.result) if now.result is not None else None
        return EngineState(now.status, script_started=now.script_started, end=end)

    def cancel(self, job_id: str) -> None:
        try:
            self._engine.cancel(job_id)
        except JobNotFoundError:
            return

    def read_log(self, job_id: str, offset: int, limit: int) -> LogPiece | None:
        try:
            page = self._engine.read_log(job_id, offset, limit)
        except JobNotFoundError:
            return None
        return LogPiece(page.text, page.next_offset, page.eof)

    def outputs(self, job_id: str) -> JobOutputs:
        with _platform_errors():
            found = self._engine.outputs(job_id)
        return JobOutputs(found.directory, found.metrics, found.metrics_error)


class TarSources:
    """Sources as tar.gz files.

    Args:
        scratch: where an archive is unpacked to be checked, by the code that unpacks it for the job.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def check(self, archive: Path) -> SourceListing:
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="check-") as folder, _platform_errors():
            archives.extract(archive, Path(folder))
            found = [
                path.relative_to(folder).as_posix()
                for path in sorted(Path(folder).rglob("*"))
                if path.is_file()
            ]
        if not found:
            raise BadInputError.of("source", "the archive holds no file")
        return SourceListing(tuple(found[:_LISTED_FILES]), complete=len(found) <= _LISTED_FILES)

    def pack(self, files: Mapping[str, str], target: Path) -> None:
        with (
            target.open("xb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for name, text in sorted(files.items()):
                data = text.encode()
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o644
                tar.addfile(member, io.BytesIO(data))


def _end(result: JobResult) -> JobEnd:
    return JobEnd(
        state=result.state,
        reason=result.reason,
        exit_code=result.exit_code,
        cpu_seconds=result.cpu_seconds,
        max_memory_bytes=result.max_rss_bytes,
        started_at=datetime.fromisoformat(result.started_at),
    )


@contextmanager
def _platform_errors() -> Iterator[None]:
    try:
        yield
    except JobRefusedError as error:
        code = ErrorCode.INVALID_INPUT
        raise BadInputError(error.detail, code=code, hint="mend the source and submit it again") from error
    except JobConflictError as error:
        raise ConflictError(error.detail) from error
    except JobNotFoundError as error:
        raise NotFoundError(error.detail, hint="retry the job") from error
