"""One cache of environments for all jobs of the suite, and an easy way to make a job."""

import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_platform.integrations.jobs.engine import LocalJobEngine
from ml_platform.integrations.jobs.spec import JobSpec, JobState
from ml_platform.kit.environments import EnvironmentCache

Submit = Callable[..., JobSpec]


@pytest.fixture(scope="session")
def environments_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("environments")
    EnvironmentCache(root).ensure("")
    return root


@pytest.fixture
def engine(tmp_path: Path, environments_root: Path) -> Iterator[LocalJobEngine]:
    engine = LocalJobEngine(tmp_path / "jobs", environments_root)
    yield engine
    for job_id in engine.running():
        engine.cancel(job_id)
        finished(engine, job_id)
    until(lambda: (engine._reap_runners(), not engine._runners)[1])


def archive_of(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def spec_of(folder: Path, job_id: str, data: bytes, **settings: Any) -> JobSpec:
    source = folder / f"{job_id}.tar.gz"
    source.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return JobSpec(job_id, source, digest, settings.pop("script", "train.py"), **settings)


@pytest.fixture
def submit(tmp_path: Path, engine: LocalJobEngine) -> Submit:
    """Prepares and launches a job whose `train.py` is the given text."""

    def submit(text: str, job_id: str = "job_1", **settings: Any) -> JobSpec:
        spec = spec_of(tmp_path, job_id, archive_of({"train.py": text}), **settings)
        engine.prepare(spec)
        engine.launch(job_id)
        return spec

    return submit


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def finished(engine: LocalJobEngine, job_id: str = "job_1", seconds: float = 60) -> JobState:
    def state() -> JobState | None:
        now = engine.poll(job_id)
        return now if now.status in ("finished", "lost") else None

    return until(state, seconds)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie is dead: nobody but its parent can tell.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
