"""The processes that the supervisor keeps alive: how each is started, and how it is asked whether it answers."""

import subprocess
import sys
from dataclasses import dataclass
from functools import partial

from ml_platform.kit.tokens import service_token
from ml_platform.server.local.watch import Watch, answers
from ml_platform.server.settings import Settings

_ROLL_SECONDS = "60"  # who reads the log asks for a flush, and every roll leaves a file


@dataclass(slots=True)
class Child:
    """One process that is to be alive, and to answer."""

    name: str
    command: list[str]
    environment: dict[str, str]
    watch: Watch
    popen: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    deaths: int = 0
    not_before: float = 0.0
    hung: str | None = None


def children_of(settings: Settings) -> list[Child]:
    """The control plane and the inference server."""
    return [
        Child(
            "api",
            [sys.executable, "-m", "ml_platform.server.main"],
            {"MLOPS_SUPERVISED": "1"},
            Watch("api", partial(_api_answers, settings), settings.api.hang_seconds),
        ),
        Child(
            "inference",
            _inference_command(settings),
            _inference_environment(settings),
            Watch("inference", partial(_inference_answers, settings), settings.inference.hang_seconds),
        ),
    ]


def _api_answers(settings: Settings, timeout: float) -> bool:
    return answers(settings.api_url, timeout=timeout)


def _inference_answers(settings: Settings, timeout: float) -> bool:
    """Health is answered by a worker; the state is asked of the main process behind it."""
    url = settings.inference_listener
    if not answers(url, timeout=timeout):
        return False
    secret = settings.home / "secrets" / "control-plane.key"
    if not secret.exists():
        return True
    token = service_token(bytes.fromhex(secret.read_text().strip()))
    return answers(url, "/internal/status", token=token, timeout=timeout)


def _inference_command(settings: Settings) -> list[str]:
    home = settings.home
    return [
        sys.executable,
        "-m",
        "ml_platform.server.local.held",
        "inference",
        sys.executable,
        "-m",
        "ml_platform.inference.main",
        "--host",
        settings.inference.host,
        "--port",
        str(settings.inference.port),
        "--grpc-port",
        str(settings.inference.grpc_port),
        "--workers",
        str(settings.inference.workers),
        "--state-dir",
        str(home / "inference"),
        "--storage-roots",
        settings.storage or str(home / "storage"),
        "--environments-dir",
        str(home / "envs"),
        "--control-url",
        settings.api_url,
        "--token-file",
        str(home / "secrets" / "inference.key"),
        "--log-root",
        settings.prediction_log,
        "--log-roll-seconds",
        _ROLL_SECONDS,
        "--log-retention-days",
        str(settings.inference.log_retention_days),
        "--events-mode",
        settings.inference.events_mode,
        "--events-token-file",
        str(settings.inference.events_token_file or ""),
    ]


def _inference_environment(settings: Settings) -> dict[str, str]:
    """What is no argument, which everybody on the machine can read."""
    url, traces = settings.inference.events_url, settings.inference.traces
    store, store_file = settings.online_store, settings.online_store_file
    given = {
        "ONLINE_STORE_URL": None if store is None else store.get_secret_value(),
        "ONLINE_STORE_URL_FILE": store_file and store_file.expanduser().absolute(),
        "EVENTS_URL": None if url is None else url.get_secret_value(),
        "TRACES_ENDPOINT": traces.endpoint,
        "TRACES_HEADERS": None if traces.headers is None else traces.headers.get_secret_value(),
        "TRACES_RATIO": traces.ratio,
        "TRACES_FOLLOW": traces.follow,
        "S3_ENDPOINT": settings.storage_endpoint,
        "S3_REGION": settings.storage_region,
    }
    return {f"MLOPS_INFERENCE_{name}": str(value) for name, value in given.items() if value is not None}
