"""Running one of the workers as a child: a request file, limits, and an answer that is checked."""

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.integrations.modelbuild.errors import ModelBuildError
from ml_platform.kit.processes import Limits, run_isolated, scrubbed_environment

MODEL_WORKER = Path(__file__).parent / "workers" / "model_worker.py"
PLATFORM_WORKER = "ml_platform.integrations.modelbuild.workers.platform_worker"
TRIAL_WORKER = "ml_platform.integrations.modelbuild.workers.trial_worker"
MAX_ANSWER_BYTES = 8 * 1024**2

_ALONE = ("-P", "-s")  # as -I, but for the environment, of which a child is given its own
_SAME_ORDER = {"PYTHONHASHSEED": "0"}  # converters walk through sets: equal models must give equal graphs
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class ChildLimits:
    """What each child may use: seconds, resident bytes and processes of its whole tree."""

    timeout: float = 300.0
    memory_bytes: int = 4 * 1024**3
    processes: int = 64
    file_bytes: int = 8 * 1024**3


@dataclass(frozen=True)
class Answer:
    """What a worker said; `reason` when it is not `ok`, `failed` when that was unforeseen."""

    ok: bool
    reason: str
    content: Mapping[str, Any]
    log: str

    @property
    def failed(self) -> bool:
        return bool(self.content.get("failed"))


@contextmanager
def workspace(root: Path) -> Iterator[Path]:
    """A directory for one piece of work, gone afterwards."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=root, prefix="work-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "home" / "tmp").mkdir(parents=True)
        yield Path(folder)


def ask_model(python: Path, folder: Path, limits: ChildLimits, request: Mapping[str, Any]) -> Answer:
    """Runs the model's worker in the model's environment. Errors as in `_ask`."""
    return _ask([str(python), *_ALONE, str(MODEL_WORKER)], folder, limits, request)


def ask_platform(folder: Path, limits: ChildLimits, request: Mapping[str, Any]) -> Answer:
    """Runs the platform's worker in our environment. Errors as in `_ask`."""
    return _ask([sys.executable, *_ALONE, "-m", PLATFORM_WORKER], folder, limits, request)


def ask_platform_each(
    folder: Path, limits: ChildLimits, requests: Sequence[Mapping[str, Any]]
) -> list[Answer]:
    """Runs several requests in one process of ours, one after the other; each is answered as if it had been alone.

    What ends that process is not taken for the answer to all of them: then each gets a process of its own.
    """
    try:
        found = ask_platform(folder, limits, {"op": "each", "requests": list(requests)})
        answers = found.content.get("answers") if found.ok else None
        if isinstance(answers, list) and len(answers) == len(requests):
            return [_answer(content, found.log) for content in answers]
    except ModelBuildError:
        pass
    return [_alone(folder, limits, request) for request in requests]


def _alone(folder: Path, limits: ChildLimits, request: Mapping[str, Any]) -> Answer:
    try:
        return ask_platform(folder, limits, request)
    except ModelBuildError as error:
        return Answer(False, error.detail, {"failed": True}, error.log)


def ask_trial(folder: Path, limits: ChildLimits, request: Mapping[str, Any]) -> Answer:
    """Runs the program that tries bundles, and the server that it starts. Errors as in `_ask`."""
    return _ask([sys.executable, *_ALONE, "-m", TRIAL_WORKER], folder, limits, request)


def _ask(program: list[str], folder: Path, limits: ChildLimits, request: Mapping[str, Any]) -> Answer:
    """Runs a worker to its end.

    Raises:
        ModelBuildError: it hung, used too much, or ended without an answer; `log` holds its last words.
    """
    asked, answer = folder / "request.json", folder / "answer.json"
    answer.unlink(missing_ok=True)
    asked.write_text(json.dumps({**request, "answer": str(answer)}, allow_nan=False))
    quiet = (
        dict.fromkeys(_THREADS, "1") | _SAME_ORDER | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    )
    outcome, log = run_isolated(
        [*program, str(asked)],
        cwd=folder,
        env=scrubbed_environment(folder / "home", quiet),
        limits=Limits(
            timeout=limits.timeout,
            memory_bytes=limits.memory_bytes,
            processes=limits.processes,
            file_bytes=limits.file_bytes,
        ),
    )
    if outcome.ended == "timed_out":
        raise ModelBuildError(f"the model did not answer within {limits.timeout:g} s", log)
    if outcome.ended == "out_of_memory":
        raise ModelBuildError(f"the model used more than {limits.memory_bytes // 1024**2} MiB of memory", log)
    if outcome.ended == "too_many_processes":
        raise ModelBuildError(f"the model started more than {limits.processes} processes", log)
    return _read_answer(answer, outcome.exit_code, log)


def _read_answer(path: Path, exit_code: int | None, log: str) -> Answer:
    try:
        if path.is_symlink() or path.stat().st_size > MAX_ANSWER_BYTES:
            raise ModelBuildError("the model's process left an answer that cannot be taken", log)
        content = json.loads(path.read_text(), parse_constant=_no_number)
    except FileNotFoundError as error:
        raise ModelBuildError(
            f"the model's process ended (code {exit_code}) without an answer", log
        ) from error
    except (ValueError, RecursionError, OSError) as error:
        raise ModelBuildError("the model's process left an answer that cannot be read", log) from error
    return _answer(content, log)


def _answer(content: Any, log: str) -> Answer:
    if not isinstance(content, dict) or not isinstance(content.get("ok"), bool):
        raise ModelBuildError("the model's process left an answer of another form", log)
    return Answer(content["ok"], str(content.get("reason", ""))[:2000], content, log)


def finite(value: Any, what: str) -> float:
    """A number out of an answer, which a model's own code may have written."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelBuildError(f"the answer's {what} is no finite number")
    return float(value)


def _no_number(name: str) -> Callable[[str], float]:
    raise ValueError(f"{name} is no JSON")
