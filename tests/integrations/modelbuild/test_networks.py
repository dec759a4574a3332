"""PyTorch modules, exported by PyTorch itself in an environment of their own.

From the package registry PyTorch for Linux comes with libraries for graphics cards, several gigabytes that are
too much for every run of the suite: `make test-torch` installs it and runs these tests.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ml_platform.integrations.modelbuild import BuildResult, ModelBuilder
from ml_platform.kit.environments import EnvironmentCache

from .conftest import REQUIREMENTS

TORCH = "torch==2.15.0\nonnxscript==0.7.2\nscipy"
NEEDED = ("mlflow-skinny", "pandas", "numpy", "pyarrow", "cloudpickle", "onnx", "onnxruntime")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not os.environ.get("MLOPS_TEST_TORCH"),
        reason="NOT TESTED: PyTorch takes several GB; `make test-torch` installs it (MLOPS_TEST_TORCH=1)",
    ),
]


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory, environments: EnvironmentCache) -> Path:
    """The folder of all modules, their data, and what each of them answers."""
    folder = tmp_path_factory.mktemp("networks")
    pinned = [line for line in REQUIREMENTS.splitlines() if line.split("==")[0] in NEEDED]
    wanted = "\n".join([*pinned, TORCH])
    (folder / "requirements.txt").write_text(wanted)
    python = environments.ensure(wanted, timeout=1500)
    script = Path(__file__).with_name("make_networks.py")
    done = subprocess.run(
        [python, script, folder, folder / "requirements.txt"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def build(networks: Path, environments: EnvironmentCache, tmp_path: Path):
    builder = ModelBuilder(environments, tmp_path / "work")

    def run(name: str, data: str, out: str = "bundle") -> BuildResult:
        return builder.build(networks / name, tmp_path / out, sample=networks / f"{data}.parquet")

    return run


def answers(result: BuildResult, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(result.directory / "model.onnx")
    (node,) = session.get_inputs()
    assert result.manifest.onnx is not None
    return session.run([result.manifest.onnx.prediction], {node.name: rows})[0]


class TestExporting:
    def test_a_module_that_reads_a_table_becomes_a_graph(self, build, networks: Path) -> None:
        import pandas as pd

        result = build("share", "customers")
        assert (result.runtime, result.reason) == ("onnx", None)
        assert result.parity is not None
        assert (result.parity.rows, result.parity.max_abs_difference < 1e-5) == (1000, True)
        assert result.manifest.metadata["converted_by"] == "torch.onnx 2.15.0"
        rows = pd.read_parquet(networks / "customers.parquet").to_numpy(dtype=np.float32)
        expected = np.load(networks / "share.npy")
        assert np.abs(answers(result, rows) - expected).max() < 1e-5
        assert np.abs(answers(result, rows[:1]) - expected[:1]).max() < 1e-5  # any number of rows
        assert build("share", "customers", "again").digest == result.digest

    @pytest.mark.parametrize("name", ["classes", "exported"])
    def test_a_module_that_reads_a_tensor_keeps_its_layout(self, build, networks: Path, name: str) -> None:
        result = build(name, "matrix")
        assert (result.runtime, result.reason) == ("onnx", None)
        assert result.manifest.signature.layout == "tensor"
        found = answers(result, np.load(networks / "matrix.npy"))
        assert np.abs(found - np.load(networks / f"{name}.npy")).max() < 1e-5

    def test_a_module_whose_way_depends_on_its_rows_stays_in_a_process(self, build) -> None:
        result = build("undecided", "customers")
        assert result.runtime == "pyfunc"
        assert (result.reason or "").startswith("PyTorch cannot export it: GuardOnDataDependentSymNode")
