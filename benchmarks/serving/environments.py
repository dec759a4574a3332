"""The peers' environments: one each, made by uv, kept in `benchmarks/.envs` until its packages change."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from uv import find_uv_bin

CACHE = Path(__file__).parents[1] / ".envs"
MODEL = tuple(
    f"{name}=={version(name)}" for name in ("scikit-learn", "lightgbm", "pandas", "numpy", "joblib")
)
"""What the pickled pipeline needs, as it was trained."""

PACKAGES = {
    "fastapi": ("fastapi", "uvicorn[standard]", *MODEL),
    "onnx": (
        "fastapi", "uvicorn", "uvloop", "httptools", "msgspec", "granian",
        f"onnxruntime=={version('onnxruntime')}", f"numpy=={version('numpy')}",
    ),
    "mlflow": (f"mlflow=={version('mlflow')}", *MODEL),
    # Its worker asks for an event loop where uvloop 0.22 no longer gives one, and ends.
    "mlserver": ("mlserver", "mlserver-sklearn", "uvloop<0.22", *MODEL),
    "kserve": ("kserve", *MODEL),
    "bentoml": ("bentoml", *MODEL),
    "litserve": ("litserve", *MODEL),
    "ray": ("ray[serve]", *MODEL),
}  # fmt: skip
SHOWN = {
    "fastapi", "uvicorn", "uvloop", "pandas", "scikit-learn", "lightgbm", "onnxruntime", "mlflow", "mlserver",
    "mlserver-sklearn", "kserve", "bentoml", "litserve", "ray", "granian", "msgspec", "starlette", "numpy",
}  # fmt: skip


class NotInstalledError(Exception):
    """An environment could not be made; the message is what uv said."""


@dataclass(frozen=True)
class Environment:
    bin: Path
    versions: dict[str, str]


def environment(name: str) -> Environment:
    """The environment of that name, made when it is not there yet. Raises NotInstalledError."""
    place = CACHE / name
    wanted, complete = json.dumps(PACKAGES[name]), place / "complete"
    if not complete.exists() or complete.read_text() != wanted:
        print(f"installing {name}", file=sys.stderr)
        CACHE.mkdir(parents=True, exist_ok=True)
        # The base interpreter: these environments must not hang on the life of ours.
        base = getattr(sys, "_base_executable", sys.executable)
        _uv("venv", "--clear", "--python", base, str(place))
        _uv("pip", "install", "--python", str(place / "bin/python"), *PACKAGES[name])
        complete.write_text(wanted)
    listed = json.loads(_uv("pip", "list", "--format", "json", "--python", str(place / "bin/python")))
    versions = {one["name"]: one["version"] for one in listed if one["name"] in SHOWN}
    return Environment(place / "bin", versions)


def _uv(*arguments: str) -> str:
    command = [find_uv_bin(), "--quiet", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalledError(done.stderr.strip()[-600:])
    return done.stdout
