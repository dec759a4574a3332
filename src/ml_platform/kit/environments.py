"""Python environments made by uv from requirements, cached by their content and built once.

    <root>/<key>/               an environment that is complete: it was built elsewhere and renamed to here
    <root>/.building/<key>-*/   one that is not; whoever holds the key's build lock may delete it
    <root>/.locks/<key>.build   held while it is built
    <root>/.locks/<key>.use     held, shared, by those who run programs in it; `prune` leaves it alone then

Requirements come from users. They may name packages of the configured index and nothing else: no other
index, no URL, no path, no option. Packages are installed from wheels unless source builds are allowed,
because building one runs its code.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ml_platform.kit.processes import Tail, scrubbed_environment

MAX_REQUIREMENTS_BYTES = 64 * 1024
MAX_REQUIREMENTS = 500

_HASH = re.compile(r"--hash=(sha256|sha384|sha512):[0-9a-f]{64,128}")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_NOT_FOR_US = re.compile(r"UV_(PYTHON|PROJECT|PROJECT_ENVIRONMENT|WORKING_DIRECTORY|SYSTEM_PYTHON|TARGET)$")


_OPENMP_FOLDER = "lib/openmp"


class EnvironmentFailedError(Exception):
    """An environment could not be made; `detail` may be shown, `log` is the end of uv's output."""

    code = "environment_failed"

    def __init__(self, detail: str, log: str = "") -> None:
        super().__init__(f"{detail}\n{log}" if log else detail)
        self.detail = detail
        self.log = log


class RequirementsRefusedError(EnvironmentFailedError):
    """The requirements ask for something that is not allowed, or cannot be read; `detail` names the line."""

    code = "requirements_refused"


class EnvironmentTimeoutError(EnvironmentFailedError, TimeoutError):
    """The environment was not ready in time."""

    code = "environment_timed_out"


class EnvironmentCancelledError(EnvironmentFailedError):
    """The caller no longer wants it."""

    code = "environment_cancelled"


def normalise_requirements(text: str) -> list[str]:
    """The requirements in canonical form, sorted; comments and blank lines are gone.

    Raises:
        RequirementsRefusedError: with the number of the line and the reason.
    """
    if len(text.encode(errors="replace")) > MAX_REQUIREMENTS_BYTES:
        raise RequirementsRefusedError(f"the requirements are larger than {MAX_REQUIREMENTS_BYTES} bytes")
    found = {_normalise_line(number, line) for number, line in _logical_lines(text)}
    if len(found) > MAX_REQUIREMENTS:
        raise RequirementsRefusedError(f"there are more than {MAX_REQUIREMENTS} requirements")
    return sorted(found)


def find_uv() -> Path:
    """The uv that stands beside this Python, else on PATH, else in the `uv` package.

    Raises:
        EnvironmentFailedError: there is none.
    """
    beside = Path(sys.executable).parent / "uv"
    if beside.is_file():
        return beside
    on_path = shutil.which("uv")
    if on_path is not None:
        return Path(on_path)
    with contextlib.suppress(ImportError, FileNotFoundError):
        import uv

        return Path(uv.find_uv_bin())
    raise EnvironmentFailedError("uv was not found: install it with `pip install uv`")


class EnvironmentCache:
    """The environments below one directory; any number of processes may use it at once.

    Args:
        root: the cache's directory.
        uv: the uv program; found by itself when not given.
        python: the interpreter of the environments; by default the one that runs this.
        allow_source_builds: whether packages without a wheel may be built, which runs their code.
        compile_bytecode: whether all modules are compiled at once, which takes most of the time that an
            environment takes; else each is compiled at its first import, and kept.
    """

    def __init__(
        self,
        root: Path,
        uv: Path | None = None,
        *,
        python: Path | None = None,
        allow_source_builds: bool = False,
        compile_bytecode: bool = False,
    ) -> None:
        self._root = root
        self._uv = uv
        # The base interpreter: an environment must not hang on the life of another environment.
        self._python = python or Path(getattr(sys, "_base_executable", sys.executable))
        self._allow_source_builds = allow_source_builds
        self._compile_bytecode = compile_bytecode

    @property
    def root(self) -> Path:
        return self._root

    def key(self, requirements: str, extra: Sequence[str] = ()) -> str:
        """What an environment is cached under: its requirements, the Python and the platform."""
        parts = [
            *_merged(requirements, extra),
            *("python", platform.python_implementation(), platform.python_version(), str(self._python)),
            *("platform", sys.platform, platform.machine(), platform.libc_ver()[0]),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def ensure(
        self,
        requirements: str,
        extra: Sequence[str] = (),
        *,
        log: Callable[[str], None] | None = None,
        timeout: float = 900,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Path:
        """The Python of an environment with these packages; builds it when it is not there yet.

        Args:
            requirements: the text of a requirements file.
            extra: further requirements, such as a converter's own.
            log: called with each line of what happens.
            timeout: seconds for all of it, waiting for another builder included.
            cancelled: asked several times a second while it is built.

        Raises:
            RequirementsRefusedError: they ask for what is not allowed.
            EnvironmentTimeoutError: it took too long.
            EnvironmentCancelledError: `cancelled` said so.
            EnvironmentFailedError: uv could not make it; `log` holds the end of its output.
        """
        lines = _merged(requirements, extra)
        key = self.key(requirements, extra)
        say = log or (lambda _: None)
        deadline = time.monotonic() + timeout
        if not self._is_there(key):
            with self._build_lock(key, deadline, cancelled):
                if not self._is_there(key):
                    self._build(key, lines, say, deadline, cancelled)
        self._touch(key)
        return self._python_of(key)

    @contextlib.contextmanager
    def hold(self, python: Path) -> Iterator[None]:
        """Keeps the environment of `python` (as `ensure` returned it) from being pruned."""
        with self._lock_file(python.parents[1].name, "use") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def prune(self, max_age: float, keep: Collection[Path] = ()) -> list[str]:
        """Deletes what nobody used for `max_age` seconds, and what dead builders left; returns the keys.

        Args:
            max_age: seconds since `ensure` last returned it.
            keep: Pythons (as `ensure` returned them) whose environments stay, whatever their age.
        """
        kept = {python.parents[1].name for python in keep}
        gone = [
            directory.name
            for directory in sorted(self._root.glob("[0-9a-f]*"))
            if directory.name not in kept and self._age(directory) > max_age and self._remove(directory.name)
        ]
        for leftover in (self._root / ".building").glob("*"):
            with self._lock_file(leftover.name.split("-")[0], "build") as lock, contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
        return gone

    def _python_of(self, key: str) -> Path:
        return self._root / key / "bin" / "python"

    def _is_there(self, key: str) -> bool:
        return os.access(self._python_of(key), os.X_OK)

    def _touch(self, key: str) -> None:
        (self._root / key / ".used").touch()

    def _age(self, directory: Path) -> float:
        try:
            return time.time() - (directory / ".used").stat().st_mtime
        except OSError:
            return time.time() - directory.stat().st_mtime

    def _remove(self, key: str) -> bool:
        with self._lock_file(key, "build") as build, self._lock_file(key, "use") as use:
            try:
                fcntl.flock(build, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            # Renamed first: whoever looks never sees half of it.
            doomed = self._scratch(key)
            (self._root / key).rename(doomed / "env")
            shutil.rmtree(doomed, ignore_errors=True)
            return True

    @contextlib.contextmanager
    def _lock_file(self, key: str, kind: str) -> Iterator[IO[str]]:
        locks = self._root / ".locks"
        locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (locks / f"{key}.{kind}").open("w") as lock:
            yield lock

    @contextlib.contextmanager
    def _build_lock(self, key: str, deadline: float, cancelled: Callable[[], bool]) -> Iterator[None]:
        with self._lock_file(key, "build") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    _check_time(deadline, cancelled)
                    time.sleep(0.05)
            yield

    def _scratch(self, key: str) -> Path:
        building = self._root / ".building"
        building.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix=f"{key}-", dir=building))

    def _build(
        self,
        key: str,
        lines: list[str],
        say: Callable[[str], None],
        deadline: float,
        cancelled: Callable[[], bool],
    ) -> None:
        for leftover in (self._root / ".building").glob(f"{key}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        uv = str(self._uv or find_uv())
        scratch = self._scratch(key)
        venv, wanted = scratch / "env", scratch / "requirements.txt"
        wanted.write_text("\n".join(lines) + "\n")
        make = [uv, "venv", "--relocatable", "--no-project", "--python", str(self._python), str(venv)]
        install = [uv, "pip", "install", "--python", str(venv / "bin" / "python"), "-r", str(wanted)]
        install += ["--no-progress", *(["--compile-bytecode"] if self._compile_bytecode else [])]
        install += [] if self._allow_source_builds else ["--no-build"]
        try:
            _run_uv(make, scratch, say, deadline, cancelled)
            if lines:
                _run_uv(install, scratch, say, deadline, cancelled)
            shutil.copyfile(wanted, venv / "requirements.txt")
            if (self._root / key).exists():  # damaged: its Python is gone
                (self._root / key).rename(scratch / "damaged")
            link_openmp(venv)
            venv.rename(self._root / key)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _merged(requirements: str, extra: Sequence[str]) -> list[str]:
    """All of them in one order: what is installed counts, not who asked for it."""
    return sorted({*normalise_requirements(requirements), *normalise_requirements("\n".join(extra))})


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; continuations joined, comments removed."""
    number, pending = 0, ""
    for index, raw in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        number = number if pending else index
        if any((ord(c) < 32 and c != "\t") or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in raw):
            raise RequirementsRefusedError(f"line {index} of the requirements holds control characters")
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        if pending + line:
            yield number, (pending + line).strip()
        pending = ""
    if pending.strip():
        yield number, pending.strip()


def _normalise_line(number: int, line: str) -> str:
    hashes = sorted(found.group() for found in _HASH.finditer(line))
    bare = _HASH.sub("", line).strip()
    shown = f"line {number} of the requirements, {bare[:120]!r},"
    if bare.startswith("-"):
        raise RequirementsRefusedError(f"{shown} is an option; only package names and versions are allowed")
    if "://" in bare or bare.lower().startswith("file:"):
        raise RequirementsRefusedError(f"{shown} is a URL; only packages of the index are allowed")
    if bare.startswith((".", "/", "~")) or "\\" in bare:
        raise RequirementsRefusedError(f"{shown} is a path; only packages of the index are allowed")
    try:
        requirement = Requirement(bare)
    except (InvalidRequirement, RecursionError) as error:
        raise RequirementsRefusedError(f"{shown} cannot be read as a requirement") from error
    if requirement.url is not None:
        raise RequirementsRefusedError(f"{shown} is a URL; only packages of the index are allowed")
    # The canonical name has no dot: it can never be taken for the path of a wheel or an archive.
    requirement.name = canonicalize_name(requirement.name)
    return " ".join([str(requirement), *hashes])


def _check_time(deadline: float, cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise EnvironmentCancelledError("the environment is no longer wanted")
    if time.monotonic() > deadline:
        raise EnvironmentTimeoutError("the environment was not ready in time")


def _uv_environment() -> dict[str, str]:
    """Our tool, not foreign code: uv sees its user's configuration and cache, nothing else of ours."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("UV_", "XDG_")) or name in {"HOME", "TMPDIR", "NETRC"}
    }
    ours = scrubbed_environment(Path(os.environ.get("HOME", "/")))
    kept = {name: value for name, value in own.items() if not _NOT_FOR_US.match(name)}
    ours.pop("TMPDIR")
    return ours | {"UV_LINK_MODE": "hardlink", "UV_NO_COLOR": "1", "NO_COLOR": "1"} | kept


def _run_uv(
    argv: list[str],
    cwd: Path,
    say: Callable[[str], None],
    deadline: float,
    cancelled: Callable[[], bool],
) -> None:
    """Runs uv, hands on its lines, and ends it and what it started when the time is up."""
    tail = Tail(4096)
    with (cwd / "uv.log").open("w+b") as written:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=_uv_environment(),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        seen = 0
        try:
            while True:
                # A short wait while it is young: an empty environment takes a tenth of a second.
                ended = _wait(process, 0.05)
                seen = _hand_on(cwd / "uv.log", seen, tail, say)
                if ended:
                    break
                _check_time(deadline, cancelled)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode != 0:
        log = _CREDENTIALS.sub("", tail.text()).strip()
        raise EnvironmentFailedError("the requirements could not be installed", log)


def link_openmp(environment: Path) -> None:
    """Gives the environment a `libgomp.so.1` where only scikit-learn's wheel brings one.

    LightGBM's and XGBoost's wheels expect the system to have it, and minimal systems have not. Programs
    find it by `openmp_variables`.
    """
    folder = environment / _OPENMP_FOLDER
    for bundled in environment.glob("lib/python*/site-packages/scikit_learn.libs/libgomp-*.so*"):
        folder.mkdir(exist_ok=True)
        (folder / "libgomp.so.1").unlink(missing_ok=True)
        (folder / "libgomp.so.1").symlink_to(os.path.relpath(bundled, folder))
        return


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _hand_on(log: Path, seen: int, tail: Tail, say: Callable[[str], None]) -> int:
    """Passes the complete lines behind `seen` on; returns the new position."""
    with log.open("rb") as lines:
        lines.seek(seen)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            seen += len(line)
            tail.add(line)
            say(_CREDENTIALS.sub("", line.decode(errors="replace").rstrip()))
    return seen
