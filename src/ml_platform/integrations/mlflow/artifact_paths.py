"""Where artifacts may lie: below the prefix of the caller's own workspace, whatever the spelling.

MLflow has been led out of its artifact folder by encoded dots, fragments, queries, absolute paths and
foreign schemes. Here a path is decoded until it no longer changes and must then be plain.
"""

from __future__ import annotations

from urllib.parse import unquote

from ml_platform.integrations.mlflow.errors import invalid, missing

WORKSPACES_PREFIX = "workspaces"
_MAX_PATH, _MAX_SEGMENT = 1024, 240
_FORBIDDEN = frozenset("\\#?")


def check_relative_path(path: str) -> None:
    """Refuse an artifact path that is absolute, climbs, hides something by encoding, or is too long."""
    decoded = decoded_path(path)
    segments = decoded.split("/")
    if (
        len(decoded) > _MAX_PATH
        or any(character in _FORBIDDEN or ord(character) < 0x20 for character in decoded)
        or any(segment in ("", ".", "..") or len(segment.encode()) > _MAX_SEGMENT for segment in segments)
        or segments[0].endswith(":")
        or segments[0].lower().startswith("file:")
    ):
        raise invalid("Invalid artifact path")


def check_artifact_path(path: str, workspace: str) -> None:
    """Refuse a path below the artifact root that is not plain, or that belongs to another workspace."""
    check_relative_path(path)
    segments = decoded_path(path).split("/")
    if segments[0] == WORKSPACES_PREFIX and segments[1:2] != [workspace]:
        raise missing("No such artifact in this workspace")


def check_model_source(source: str, workspace: str) -> None:
    """Refuse a source of a model version that is not inside this platform.

    MLflow itself then checks that the run or logged model named with it contains the source.
    """
    scheme, separator, path = source.partition(":/")
    path = path.rstrip("/")
    if not separator or scheme not in ("runs", "models", "mlflow-artifacts") or decoded_path(path) != path:
        raise _bad_source()
    if scheme == "mlflow-artifacts" and not path.startswith(f"{WORKSPACES_PREFIX}/{workspace}/"):
        raise _bad_source()
    try:
        check_artifact_path(path, workspace)
    except Exception as error:
        raise _bad_source() from error


def _bad_source() -> Exception:
    return invalid(
        "A model version's source must be a run's or a logged model's artifact on this server: "
        "runs:/<run_id>/<path>, models:/<model_id> or the artifact URI of that run"
    )


def decoded_path(value: str) -> str:
    for _ in range(10):
        once = unquote(value)
        if once == value:
            return value
        value = once
    raise invalid("Invalid artifact path")
