"""Bundles on trial, each on a real inference server that is started for it alone."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ml_platform.contracts.bundles import EntityKey, FeatureRequest
from ml_platform.integrations.modelbuild import BundleTrials, ModelBuilder, ModelBuildError
from ml_platform.kit.environments import EnvironmentCache
from tests.inference.support.bundles import Bundle, build_fragile, build_linear, seal
from tests.support.crash import eventually


@pytest.fixture
def trials(environments: EnvironmentCache, tmp_path: Path) -> BundleTrials:
    return BundleTrials(environments, tmp_path / "work")


def leftovers(folder: Path) -> list[int]:
    """The processes that still run for something in this folder."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or [])
    ]


class TestAGraph:
    def test_its_answers_times_and_memory_are_those_of_the_server(
        self, trials: BundleTrials, tmp_path: Path
    ) -> None:
        bundle = build_linear(tmp_path / "one", [2.0], bias=1.0)
        plain, moved = [[float(n)] for n in range(250)], [[n + 0.5] for n in range(250)]
        found = trials.run(bundle.path, [[1.0], [2.0]], plain=plain, moved=moved, calls=7)
        assert list(found.answers) == [3.0, 5.0]
        assert found.same
        assert len(found.milliseconds) == 7
        assert all(value > 0 for value in found.milliseconds)
        assert list(found.pairs) == [(2.0 * n + 1, 2.0 * n + 2) for n in range(250)]
        assert found.memory_bytes >= (bundle.path / "model.onnx").stat().st_size
        eventually(lambda: not leftovers(tmp_path / "work"), what="the end of the server")

    def test_one_that_looks_features_up_is_asked_with_whole_rows(
        self, trials: BundleTrials, tmp_path: Path
    ) -> None:
        features = FeatureRequest(entities=(EntityKey(name="id"),), columns={"x0": "view:x0"})
        bundle = build_linear(tmp_path / "looked-up", [1.0], features=features)
        assert list(trials.run(bundle.path, [{"x0": 4.0}], calls=3).answers) == [4.0]

    def test_the_same_question_is_asked_once(
        self, trials: BundleTrials, tmp_path: Path, two_rows: list[list[float]]
    ) -> None:
        bundle = build_linear(tmp_path / "one", [1.0])
        first = trials.run(bundle.path, two_rows, calls=3)
        assert trials.run(bundle.path, two_rows, calls=3) is first
        assert trials.run(bundle.path, two_rows, calls=4) is not first

    @pytest.fixture
    def two_rows(self) -> list[list[float]]:
        return [[1.0], [2.0]]


class TestWhatDoesNotServe:
    @pytest.fixture
    def broken(self, tmp_path: Path) -> Callable[[], Bundle]:
        def make() -> Bundle:
            good = build_linear(tmp_path / "broken", [1.0])
            (good.path / "model.onnx").write_bytes(b"no graph")
            (good.path / "bundle.json").unlink()
            manifest = good.manifest
            return seal(
                good.path,
                runtime="onnx",
                signature=manifest.signature,
                task=manifest.task,
                onnx=manifest.onnx,
            )

        return make

    def test_a_graph_that_does_not_load_says_why(
        self, trials: BundleTrials, broken: Callable[[], Bundle], tmp_path: Path
    ) -> None:
        with pytest.raises(ModelBuildError, match="does not serve"):
            trials.run(broken().path, [[1.0]], calls=3)
        eventually(lambda: not leftovers(tmp_path / "work"), what="the end of the server")

    def test_rows_that_it_fails_on_say_so(self, trials: BundleTrials, tmp_path: Path) -> None:
        with pytest.raises(ModelBuildError, match="it answered 5"):
            trials.run(build_fragile(tmp_path / "fragile").path, [[77.0]], calls=3)

    def test_rows_that_do_not_fit_it_say_so(self, trials: BundleTrials, tmp_path: Path) -> None:
        with pytest.raises(ModelBuildError, match="it answered 4"):
            trials.run(build_linear(tmp_path / "one", [1.0]).path, [["text"]], calls=3)


class TestAnIsolatedModel:
    @pytest.mark.timeout(600)
    def test_it_is_measured_in_its_own_environment(
        self, trials: BundleTrials, environments: EnvironmentCache, models: Path, tmp_path: Path
    ) -> None:
        strict = ModelBuilder(environments, tmp_path / "build", tolerance=0.0)
        made = strict.build(models / "churn", tmp_path / "bundle")
        assert made.runtime == "pyfunc"
        rows = list(_rows(models / "customers.parquet", made))
        found = trials.run(made.directory, rows[:3], calls=3)
        assert len(found.answers) == 3
        assert all(0 <= answer <= 1 for answer in found.answers)
        assert found.memory_bytes > 20 * 1024 * 1024


def _rows(table: Path, made: object) -> list[object]:
    from ml_platform.integrations.rollouts.samples import reference_rows

    return reference_rows(table, made.manifest.signature, None, 10)  # type: ignore[attr-defined]
