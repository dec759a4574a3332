"""`up`, `down`, `status`, `logs`, `doctor` and `reset` of an embedded installation.

Each answers a JSON-able result; what a person reads while waiting goes to `say`.
"""

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from ml_platform.server.local.guardian import spawn_supervisor
from ml_platform.server.local.layout import PROCESSES, Layout
from ml_platform.server.local.profiles import admin_key, settle_profile
from ml_platform.server.local.supervisor import processes_of
from ml_platform.server.settings import Settings

Say = Callable[[str], None]
_READY_SECONDS = 90.0
_LEAST_FREE_BYTES = 2 * 2**30
_PROBE_SECONDS = 5.0
# What a directory may hold before its first `up`: a profile of `mlops login`, a mounted volume's own.
_FOREIGN_ALLOWED = frozenset({"profile.json", "lost+found"})


class CommandError(Exception):
    """What went wrong, and what to do about it."""

    def __init__(self, detail: str, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


def up(settings: Settings, say: Say) -> dict[str, Any]:
    """Starts the installation in the background and waits until it answers."""
    layout = Layout(settings.home)
    if layout.alive("supervisor") and layout.desired_up():
        running = layout.process("supervisor")
        if running.get("api_url") not in (None, settings.api_url):
            raise CommandError(
                f"the installation in {settings.home} runs already, at {running['api_url']}",
                "stop it first: mlops down",
            )
        say("already running")
    else:
        _check_ports(settings)
        _prepare_home(settings, layout)
        layout.set_desired(up=True)
        spawn_supervisor(layout)
    _wait_until_ready(settings, layout, say)
    settle_profile(settings, layout, say)
    return {
        "status": "running",
        "home": str(settings.home),
        "api": settings.api_url,
        "console": f"{settings.api_url}/console/",
        "docs": f"{settings.api_url}/docs",
        "mlflow": f"{settings.api_url}/mlflow/",
        "inference": settings.inference_url,
        "profile": str(layout.profile),
        "sign_in": _sign_in_link(settings),
    }


def down(settings: Settings, say: Say) -> dict[str, Any]:
    """Stops everything; afterwards no process of this installation is left."""
    layout = Layout(settings.home)
    was_running = any(layout.alive(name) for name in ("supervisor", *PROCESSES))
    layout_exists = layout.run.exists()
    if layout_exists:
        layout.set_desired(up=False)
    supervisor = layout.pid("supervisor")
    if supervisor is not None:
        say("stopping")
        _end(supervisor, settings.shutdown_seconds * len(PROCESSES) + 20)
    for name in PROCESSES:  # whoever outlived a supervisor that was killed
        pid = layout.pid(name)
        if pid is not None:
            _end(pid, settings.shutdown_seconds + 5)
    left = [process.pid for process in processes_of(settings.home)]
    for pid in left:
        _end(pid, 5)
    return {"status": "stopped", "was_running": was_running, "home": str(settings.home)}


def status(settings: Settings, _say: Say) -> dict[str, Any]:
    """What runs and whether it answers."""
    layout = Layout(settings.home)
    urls = _urls(settings, layout)
    restarts = layout.process("supervisor").get("restarts", {}) if layout.alive("supervisor") else {}
    processes: list[dict[str, Any]] = []
    for name in ("supervisor", *PROCESSES):
        pid = layout.pid(name)
        entry: dict[str, Any] = {"name": name, "running": pid is not None, "pid": pid}
        if pid is not None:
            entry |= _usage(pid, family=name != "supervisor")  # its children are listed themselves
        if name in urls:
            entry["url"] = urls[name]
            entry["ready"] = pid is not None and _answers(urls[name])
            entry |= _restarts(restarts.get(name))
        processes.append(entry)
    ready = all(entry.get("ready", entry["running"]) for entry in processes)
    state = "running" if ready else "degraded" if any(e["running"] for e in processes) else "stopped"
    return {"status": state, "home": str(settings.home), "processes": processes}


def reset(settings: Settings, say: Say) -> dict[str, Any]:
    """Stops the installation and deletes its directory, if it is one."""
    layout = Layout(settings.home)
    if not settings.home.exists():
        return {"status": "absent", "home": str(settings.home)}
    if not layout.marker.exists():
        raise CommandError(
            f"{settings.home} is not an installation of the platform; nothing was deleted",
            "set MLOPS_HOME to the directory that you mean",
        )
    down(settings, say)
    shutil.rmtree(settings.home)
    return {"status": "deleted", "home": str(settings.home)}


def logs(settings: Settings, name: str, *, lines: int, follow: bool) -> Iterator[str]:
    """The last lines of a process's log, and what comes after them with `follow`."""
    path = Layout(settings.home).log_file(name)
    if not path.exists():
        raise CommandError(f"there is no log of {name!r} in {settings.home}", "start it first: mlops up")
    with path.open(encoding="utf-8", errors="replace") as file:
        size = path.stat().st_size
        file.seek(max(0, size - lines * 400))
        yield from file.read().splitlines()[-lines:]
        while follow:
            line = file.readline()
            if line:
                yield line.rstrip("\n")
            else:
                time.sleep(0.2)


def doctor(settings: Settings, _say: Say) -> dict[str, Any]:
    """Looks at everything that usually goes wrong; every line is something that was really tried."""
    layout = Layout(settings.home)
    urls = _urls(settings, layout)
    checks = [
        _check("python", lambda: sys.version.split()[0]),
        _check("uv", _uv_version),
        _check("home", lambda: _writable(settings.home)),
        _check("disk", lambda: _free_space(settings.home)),
        *[_check(f"{name} process", partial(_lives, layout, name)) for name in ("supervisor", *PROCESSES)],
        *_database_checks(settings),
        control_plane := _check("control plane", partial(_ready, layout, "api", urls["api"])),
        _check("inference server", partial(_ready, layout, "inference", urls["inference"])),
        _check("key", partial(_who, urls["api"], layout, asked=control_plane["ok"])),
        _check("audit log", partial(_audit, urls["api"], layout, asked=control_plane["ok"])),
        _check("audit archive", partial(_audit_archive, urls["api"], layout, asked=control_plane["ok"])),
    ]
    healthy = all(check["ok"] for check in checks)
    return {"status": "healthy" if healthy else "unhealthy", "home": str(settings.home), "checks": checks}


# -- parts of up


def _check_ports(settings: Settings) -> None:
    wanted = (
        ("the API", settings.api.host, settings.api.port, "MLOPS_API__PORT or --port"),
        (
            "predictions",
            settings.inference.host,
            settings.inference.port,
            "MLOPS_INFERENCE__PORT or --inference-port",
        ),
    )
    if settings.api.port == settings.inference.port:
        raise CommandError(f"port {settings.api.port} is given to both the API and predictions")
    for what, host, port, setting in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CommandError(
                    f"port {port} on {host} cannot be used for {what}: {error.strerror or error}",
                    f"free it, or choose another with {setting}",
                ) from None


def _prepare_home(settings: Settings, layout: Layout) -> None:
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not layout.marker.exists():
            _take_over(settings.home)
        layout.marker.touch()
    except OSError as error:
        raise CommandError(
            f"cannot write to {settings.home}: {error.strerror}", "set MLOPS_HOME to a directory of yours"
        ) from None


def _take_over(home: Path) -> None:
    """Only an empty directory becomes an installation: `reset` deletes it with all that is in it."""
    foreign = sorted({path.name for path in home.iterdir()} - _FOREIGN_ALLOWED)
    if foreign:
        raise CommandError(
            f"{home} holds something else already, such as {foreign[0]!r}; the platform needs a directory of its own",
            "set MLOPS_HOME or --home to an empty directory, or to one that does not exist yet",
        )
    home.chmod(0o700)


def _wait_until_ready(settings: Settings, layout: Layout, say: Say) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    waiting = {"control plane": settings.api_url, "inference server": settings.inference_url}
    born = time.monotonic()
    while waiting:
        for name, url in list(waiting.items()):
            if _answers(url):
                say(f"{name} is ready at {url} ({time.monotonic() - born:.1f} s)")
                del waiting[name]
        if not waiting:
            return
        quiet = time.monotonic() - born > 5 and not layout.alive("supervisor")
        if quiet or time.monotonic() > deadline:
            raise CommandError(
                f"the {next(iter(waiting))} did not start; the end of its log:\n{_tails(layout)}",
                f"the logs are in {layout.logs}; mlops doctor says more",
            )
        time.sleep(0.1)


def _tails(layout: Layout) -> str:
    parts = []
    for name in ("supervisor", *PROCESSES):
        path = layout.log_file(name)
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            parts += [f"[{name}] {line[:500]}" for line in lines]
    return "\n".join(parts)


def _sign_in_link(settings: Settings) -> str | None:
    key = admin_key(settings)
    if key is None:
        return None
    try:
        answer = httpx.post(
            f"{settings.api_url}/api/v1/sign-in-links", headers={"authorization": f"Bearer {key}"}, timeout=10
        )
    except httpx.HTTPError:
        return None
    return str(answer.json()["url"]) if answer.status_code == 201 else None


# -- parts of the others


def _end(pid: int, seconds: float) -> None:
    try:
        process = psutil.Process(pid)
        process.terminate()
        process.wait(seconds)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _urls(settings: Settings, layout: Layout) -> dict[str, str]:
    """Where the running installation listens, whatever the settings of this call say."""
    facts = layout.process("supervisor") if layout.alive("supervisor") else {}
    return {
        "api": facts.get("api_url", settings.api_url),
        "inference": facts.get("inference_url", settings.inference_url),
    }


def _usage(pid: int, *, family: bool) -> dict[str, Any]:
    try:
        process = psutil.Process(pid)
        members = [process, *(process.children(recursive=True) if family else [])]
        memory = sum(member.memory_info().rss for member in members)
        return {"memory_bytes": memory, "uptime_seconds": round(time.time() - process.create_time(), 1)}
    except psutil.Error:
        return {}


def _restarts(known: Any) -> dict[str, Any]:
    """How often the supervisor has brought a process back since `up`, and why the last time."""
    if not isinstance(known, dict):
        return {"restarts": 0, "last_restart": None}
    return {"restarts": known.get("count", 0), "last_restart": f"{known.get('at')}: {known.get('reason')}"}


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _check(name: str, look: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "detail": look()}
    except Exception as error:  # whatever a check raises is its finding
        return {"check": name, "ok": False, "detail": str(error) or type(error).__name__}


def _writable(home: Path) -> str:
    probe = home / ".doctor"
    probe.write_text("x")
    probe.unlink()
    mode = home.stat().st_mode & 0o777
    if mode & 0o077:
        msg = f"{home} can be read by others (mode {mode:o}): chmod 700 {home}"
        raise RuntimeError(msg)
    return str(home)


def _free_space(home: Path) -> str:
    free = shutil.disk_usage(home if home.exists() else home.parent).free
    text = f"{free / 2**30:.1f} GB free"
    if free < _LEAST_FREE_BYTES:
        raise RuntimeError(text + ": at least 2 GB are needed")
    return text


def _uv_version() -> str:
    from uv import find_uv_bin

    answer = subprocess.run(
        [find_uv_bin(), "--version"], capture_output=True, text=True, timeout=20, check=True
    )
    return answer.stdout.strip()


def _lives(layout: Layout, name: str) -> str:
    pid = layout.pid(name)
    if pid is None:
        msg = "not running: mlops up"
        raise RuntimeError(msg)
    return f"pid {pid}"


def _database_checks(settings: Settings) -> list[dict[str, Any]]:
    checks = []
    for name, url in (
        ("platform", settings.database_url),
        ("workflow", settings.workflow_url),
        ("mlflow", settings.mlflow_url),
    ):
        if url.startswith("sqlite:///"):
            path = Path(url.removeprefix("sqlite:///"))
            checks.append(_check(f"{name} database", partial(_sqlite_sound, path)))
    return checks


def _sqlite_sound(path: Path) -> str:
    if not path.exists():
        msg = f"{path} is not there yet: mlops up"
        raise RuntimeError(msg)
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
        result = connection.execute("PRAGMA quick_check").fetchone()[0]
    if result != "ok":
        msg = f"{path} is damaged: {result}"
        raise RuntimeError(msg)
    return f"{path.name}, {path.stat().st_size / 2**20:.1f} MB"


def _profile(layout: Layout) -> dict[str, str]:
    if not layout.profile.exists():
        msg = "there is no profile: mlops up, or mlops login"
        raise RuntimeError(msg)
    mode = layout.profile.stat().st_mode & 0o777
    if mode & 0o077:
        msg = f"{layout.profile} can be read by others (mode {mode:o}): chmod 600 {layout.profile}"
        raise RuntimeError(msg)
    try:
        value = json.loads(layout.profile.read_text())
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("url", "key")):
        msg = f"{layout.profile} is damaged: mlops up writes it anew, mlops login with another key"
        raise RuntimeError(msg)
    return value


def _ready(layout: Layout, name: str, url: str) -> str:
    """That `name` itself answers there, and neither hangs nor has lost its port to another program."""
    if not layout.alive(name):
        msg = "not running: mlops up"
        if _listens(url):
            msg = f"not running, and another program has taken {url}: end it, or choose another port"
        raise RuntimeError(msg)
    return str(_get(url, "/health/ready", None)["status"])


def _listens(url: str) -> bool:
    address = httpx.URL(url)
    try:
        with socket.create_connection((address.host, address.port or 80), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False


def _get(url: str, path: str, key: str | None, seconds: float | None = None) -> dict[str, Any]:
    seconds = seconds or _PROBE_SECONDS
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(url + path, headers=headers, timeout=seconds)
    except httpx.TimeoutException:
        msg = f"{url} gave no answer within {seconds:g} s, it hangs: mlops logs; mlops down and mlops up"
        raise RuntimeError(msg) from None
    except httpx.ConnectError:
        msg = f"nobody listens at {url} yet: it starts or has just died, look again or see mlops logs"
        raise RuntimeError(msg) from None
    if answer.status_code != 200:
        msg = f"{url}{path} answered {answer.status_code}: {_reason(answer)}"
        raise RuntimeError(msg)
    body: dict[str, Any] = answer.json()
    return body


def _reason(answer: httpx.Response) -> str:
    """What a problem says, and what to do about it."""
    try:
        problem = answer.json()
        said = [problem[name] for name in ("detail", "hint", "error") if problem.get(name)]
    except (ValueError, AttributeError):
        said = []
    return "; ".join(map(str, said)) or answer.text[:200]


def _who(url: str, layout: Layout, *, asked: bool) -> str:
    key = _profile(layout)["key"]
    _needs_control_plane(asked)
    me = _get(url, "/api/v1/whoami", key)
    return f"{me['name']} in team {me['team']}"


def _audit(url: str, layout: Layout, *, asked: bool) -> str:
    key = _profile(layout)["key"]
    _needs_control_plane(asked)
    result = _get(url, "/api/v1/audit/verify", key, seconds=60)
    if not result["verified"]:
        msg = f"{len(result['findings'])} findings: mlops audit verify"
        raise RuntimeError(msg)
    return f"{result['events']} events verified"


def _audit_archive(url: str, layout: Layout, *, asked: bool) -> str:
    key = _profile(layout)["key"]
    _needs_control_plane(asked)
    found = _get(url, "/api/v1/audit/archive", key)
    if found["state"] == "off":
        return "off: MLOPS_AUDIT_ARCHIVE names no write-once storage"
    if found["state"] != "ok":
        msg = (
            f"{found['state']}: {found['detail']}; {found['backlog_events']} events wait: mlops audit archive"
        )
        raise RuntimeError(msg)
    return f"{found['archived']} events in {found['location']}, {found['backlog_events']} wait"


def _needs_control_plane(asked: bool) -> None:
    if not asked:
        msg = "not known while the control plane does not answer"
        raise RuntimeError(msg)
