"""Deployments as a file: compared, applied, applied again, and refused when the file is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_platform import Platform
from ml_platform.sdk.errors import InvalidInputError, NotFoundError
from tests.cli.running import Mlops
from tests.support.rollouts import MEDIUM, Bench


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deployment.yaml"


@pytest.fixture
def sdk(bench: Bench) -> Platform:
    return Platform(url=bench.platform.url, key=bench.engineer.token)


def write(file: Path, **changes: Any) -> Path:
    item = {"name": "plain", "environment": "staging", "model": "plain/1"} | changes
    file.write_text(yaml.safe_dump({"version": 1, "deployments": [item]}))
    return file


def outcomes(found: list[Any]) -> list[str]:
    return [item.outcome.value for item in found]


class TestApplying:
    def test_makes_what_is_live_what_the_file_says_and_then_leaves_it(
        self, bench: Bench, sdk: Platform, file: Path
    ) -> None:
        bench.plant("plain")
        assert outcomes(sdk.compare(write(file))) == ["new"]
        [(_, started)] = sdk.apply(file)
        assert started is not None
        started.wait(60)
        assert outcomes(sdk.compare(file)) == ["same"]
        assert [rollout for _, rollout in sdk.apply(file)] == [None]
        bench.plant("plain", bias=3.0)
        [comparison] = sdk.compare(write(file, model="plain/2", replicas=3))
        assert [(d.field, d.live, d.file) for d in comparison.differences] == [
            ("model", "plain/1", "plain/2"),
            ("replicas", "1", "3"),
        ]
        [(_, again)] = sdk.apply(file)
        assert again is not None
        again.wait(60)
        assert outcomes(sdk.compare(file)) == ["same"]
        assert sdk.deployments.get("staging/plain").data.replicas == 3

    def test_while_people_decide_it_starts_nothing_twice(
        self, bench: Bench, sdk: Platform, file: Path
    ) -> None:
        bench.plant("plain")
        bench.assess("plain", MEDIUM)
        write(file, environment="production")
        [(_, started)] = sdk.apply(file)
        assert started is not None
        bench.approval({"rollout_id": started.rollout_id})
        assert outcomes(sdk.compare(file)) == ["under_way"]
        assert [rollout for _, rollout in sdk.apply(file)] == [None]

    def test_a_model_that_there_is_not_starts_nothing(self, bench: Bench, sdk: Platform, file: Path) -> None:
        bench.plant("plain")
        items = [
            {"name": "one", "environment": "staging", "model": "plain/1"},
            {"name": "two", "environment": "staging", "model": "nobody/1"},
        ]
        with pytest.raises(NotFoundError):
            sdk.apply({"version": 1, "deployments": items})
        assert sdk.deployments.list() == []


class TestReading:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("version: 2\ndeployments: []", "version"),
            ("version: 1\ndeployments: []", "deployments"),
            ("version: 1\ndeployments:\n- {name: a, environment: moon, model: a/1}", "environment"),
            ("version: 1\ndeployments:\n- {name: a, environment: dev, model: a/1, extra: 1}", "extra"),
            ("version: 1\ndeployments:\n- {name: a, environment: dev, model: ../../etc}", "model"),
            ("version: 1\nversion: 1\ndeployments: []", "twice"),
            ("a: &a [1]\nb: *a", "aliases"),
            ("!!python/object/apply:os.system [true]", "cannot be read"),
            ("- 1", "file"),
            ("{", "cannot be read"),
            ("", "file"),
        ],
    )
    def test_what_is_wrong_is_named(self, sdk: Platform, file: Path, text: str, told: str) -> None:
        file.write_text(text)
        with pytest.raises(InvalidInputError, match=told):
            sdk.compare(file)

    def test_an_endpoint_stands_there_once(self, sdk: Platform) -> None:
        item = {"name": "a", "environment": "dev", "model": "a/1"}
        with pytest.raises(InvalidInputError, match="dev/a stands there twice"):
            sdk.compare({"version": 1, "deployments": [item, item]})

    def test_a_file_that_is_not_there_or_too_large(self, sdk: Platform, file: Path) -> None:
        with pytest.raises(InvalidInputError):
            sdk.compare(file)
        file.write_text("#" * (1024 * 1024 + 1))
        with pytest.raises(InvalidInputError, match="larger"):
            sdk.compare(file)


class TestTheCommandLine:
    def test_diff_says_by_its_exit_code_and_apply_waits(
        self, bench: Bench, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mlops = Mlops(monkeypatch)
        mlops.use(MLOPS_API_URL=bench.platform.url, MLOPS_API_KEY=bench.engineer.token, MLOPS_TEAM=None)
        bench.plant("plain")
        write(file)
        differs = mlops("diff", "-f", str(file))
        assert (differs.code, "new" in differs.stdout) == (1, True)
        applied = mlops("apply", "-f", str(file), "--timeout", "60")
        assert (applied.code, "plain/1 serves" in applied.stderr) == (0, True)
        assert mlops("diff", "-f", str(file)).code == 0
        file.write_text("nonsense")
        assert mlops("diff", "-f", str(file)).code == 2
