"""Models trained once for all tests, in one environment that also serves and converts them."""

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from ml_platform.integrations.modelbuild import BuildResult, ModelBuilder
from ml_platform.integrations.modelbuild.builder import CONVERTERS
from ml_platform.integrations.modelbuild.children import ChildLimits
from ml_platform.kit.environments import EnvironmentCache

OURS = ("scikit-learn", "lightgbm", "mlflow-skinny", "pandas", "numpy", "skops", "pyarrow", "cloudpickle")

REQUIREMENTS = "\n".join(f"{name}=={importlib.metadata.version(name)}" for name in (*OURS, *CONVERTERS))


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> EnvironmentCache:
    return EnvironmentCache(tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, environments: EnvironmentCache) -> Path:
    """The folder of all models, and of the tables that belong to them."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    python = environments.ensure(REQUIREMENTS)
    script = Path(__file__).with_name("make_models.py")
    done = subprocess.run(
        [python, script, folder, folder / "requirements.txt"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def churn_bundle(
    environments: EnvironmentCache, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> BuildResult:
    """The churn pipeline's bundle, built with a sample."""
    folder = tmp_path_factory.mktemp("churn")
    builder = ModelBuilder(environments, folder / "work")
    return builder.build(models / "churn", folder / "bundle", sample=models / "customers.parquet")


@pytest.fixture
def builder(environments: EnvironmentCache, tmp_path: Path) -> ModelBuilder:
    limits = ChildLimits(timeout=60, memory_bytes=2 * 1024**3)
    return ModelBuilder(environments, tmp_path / "work", limits=limits)
