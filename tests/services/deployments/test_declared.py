"""Deployments as a file: compared, applied, applied again, and refused when the file is wrong."""

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_platform import Platform
from ml_platform.contracts.declared import DeclaredState
from ml_platform.sdk.declared import read_state
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


def leaves(schema: dict[str, Any], root: dict[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    """Every field of a JSON schema that is no section of fields itself."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", []):
        if choice.get("type") != "null":
            yield from leaves(choice, root, *path)
            return
    if "properties" not in schema:
        yield path
        return
    for name, field in schema["properties"].items():
        yield from leaves(field, root, *path, name)


def value_at(item: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item


def changed(item: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The item with another value there, of those that the form allows."""
    values = [False, True, 1, 7, 0.5, 90, "a text", "fail", "default", [10, 100], {"x0": 1.5}]
    for value in values:
        found = deepcopy(item)
        section = found
        for name in path[:-1]:
            if not isinstance(section.get(name), dict):
                section[name] = {}
            section = section[name]
        section[path[-1]] = value
        try:
            state = DeclaredState.model_validate({"version": 1, "deployments": [found]})
        except ValueError:
            continue
        read = state.model_dump(mode="json")["deployments"][0]
        if value_at(read, path) != value_at(item, path):
            return found
    raise AssertionError(f"no value is known that {'.'.join(path)} may have: add one")


SCHEMA = DeclaredState.model_json_schema()
FIELDS = sorted(leaves(SCHEMA["$defs"]["DeclaredDeployment"], SCHEMA))
NOT_COMPARED = {
    ("name",): "which endpoint",
    ("environment",): "which endpoint",
    ("model",): "compared once its alias is looked up: see TestApplying",
}
TOLD_APPROVERS = ("justification",)
LIVE: dict[str, Any] = {
    "name": "plain",
    "environment": "staging",
    "model": "plain/1",
    "replicas": 2,
    "auto_scale": True,
    "max_replicas": 4,
    "canary": {"steps": [20, 100], "step_seconds": 60, "max_answer_shift": None},
    "resources": {"cpu": 2, "memory_mb": 2048},
    "budget": {"p95_ms": 60_000, "memory_mb": 100_000},
}


class TestComparingEveryField:
    """The fields are those of the file's schema, so that a new one is compared, or is named here."""

    @pytest.fixture
    def live(self, bench: Bench, sdk: Platform) -> dict[str, Any]:
        """What is live after the file was applied, whole, and the file is as it is."""
        bench.plant("plain")
        bench.plant("plain", bias=3.0)
        file = {"version": 1, "deployments": [LIVE]}
        [(_, started)] = sdk.apply(file)
        assert started is not None
        started.wait(60)
        assert outcomes(sdk.compare(file)) == ["same"]
        deployment = sdk.deployments.get("staging/plain").data
        own = {name: getattr(deployment, name) for name in ("replicas", "auto_scale", "max_replicas")}
        sections = {name: value for name, value in deployment.config.items() if value is not None}
        return LIVE | own | sections

    def test_any_field_that_differs_is_named_and_nothing_else(
        self, sdk: Platform, live: dict[str, Any]
    ) -> None:
        assert len(FIELDS) > 20
        assert outcomes(sdk.compare({"version": 1, "deployments": [live]})) == ["same"]
        for path in FIELDS:
            if path in NOT_COMPARED:
                continue
            item = changed(live, path)
            [found] = sdk.compare({"version": 1, "deployments": [item]})
            told = [difference.field for difference in found.differences]
            assert told == ([] if path == TOLD_APPROVERS else [".".join(path)]), path

    def test_what_a_section_leaves_out_is_not_compared(self, sdk: Platform, live: dict[str, Any]) -> None:
        item = live | {"canary": {"steps": [20, 100]}, "budget": {}}
        assert outcomes(sdk.compare({"version": 1, "deployments": [item]})) == ["same"]

    def test_a_null_in_a_section_is_a_value_and_is_applied(self, sdk: Platform, live: dict[str, Any]) -> None:
        item = live | {"model": "plain/2", "budget": {"p95_ms": None}, "canary": {"max_quality_drop": None}}
        file = {"version": 1, "deployments": [item]}
        [found] = sdk.compare(file)
        assert [(d.field, d.live, d.file) for d in found.differences] == [
            ("model", "plain/1", "plain/2"),
            ("canary.max_quality_drop", "0.05", "null"),
            ("budget.p95_ms", "60000.0", "null"),
        ]
        [(_, started)] = sdk.apply(file)
        assert started is not None
        started.wait(60)
        assert outcomes(sdk.compare(file)) == ["same"]


class TestPlanning:
    def test_it_says_what_would_stop_and_who_approves_and_starts_nothing(
        self, bench: Bench, sdk: Platform, file: Path
    ) -> None:
        bench.plant("plain")
        write(file, environment="production")
        [(_, planned)] = sdk.plan(file)
        assert planned is not None
        assert (planned.allowed, planned.stopped_by) == (False, "validate")
        bench.assess("plain", MEDIUM)
        [(_, planned)] = sdk.plan(file)
        assert planned is not None
        assert planned.allowed
        assert planned.approval is not None
        assert planned.approval.quorum == 2
        assert sdk.deployments.list() == []

    def test_what_is_live_already_is_not_planned(self, bench: Bench, sdk: Platform, file: Path) -> None:
        bench.plant("plain")
        [(_, started)] = sdk.apply(write(file))
        assert started is not None
        started.wait(60)
        assert [planned for _, planned in sdk.plan(file)] == [None]


EXAMPLE = Path(__file__).parents[3] / "examples" / "churn"


def commands(name: str) -> dict[str, str]:
    """What the jobs of the example's workflow run of ours."""
    workflow = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "deployments.yml").read_text())
    steps = workflow["jobs"][name]["steps"]
    return {
        step.get("name", ""): step["run"] for step in steps if "run" in step and "uv tool" not in step["run"]
    }


class TestTheExamplesPipelines:
    """The very commands of the workflow and of Argo CD's job, run by a shell."""

    @pytest.fixture
    def shell(self, bench: Bench, tmp_path: Path) -> Any:
        folder = tmp_path / "checkout"
        folder.mkdir()
        environment = os.environ | {
            "MLOPS_API_URL": bench.platform.url,
            "MLOPS_API_KEY": bench.engineer.token,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "HOME": str(tmp_path),
        }
        environment.pop("MLOPS_TEAM", None)

        def run(command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", command],
                cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip

        run.folder = folder  # type: ignore[attr-defined]
        return run

    def test_a_change_is_planned_shown_applied_and_then_no_drift(self, bench: Bench, shell: Any) -> None:
        bench.plant("churn")
        items = [{"name": "churn", "environment": "staging", "model": "churn/1"}]
        (shell.folder / "deployment.yaml").write_text(yaml.safe_dump({"version": 1, "deployments": items}))
        assert shell(*commands("drift").values()).returncode == 1
        plan, show = commands("plan").values()
        planned = shell(plan)
        assert planned.returncode == 0, planned.stderr
        assert shell(show).returncode == 0
        assert "| staging/churn | churn/1 |" in (shell.folder / "summary.md").read_text()
        applied = shell(*commands("apply").values())
        assert applied.returncode == 0, applied.stderr
        assert shell(*commands("drift").values()).returncode == 0

    def test_a_change_that_a_gate_would_stop_fails_the_check_and_says_why(
        self, bench: Bench, shell: Any
    ) -> None:
        bench.plant("churn")
        items = [{"name": "churn", "environment": "production", "model": "churn/1"}]
        (shell.folder / "deployment.yaml").write_text(yaml.safe_dump({"version": 1, "deployments": items}))
        plan, show = commands("plan").values()
        assert shell(plan).returncode == 10
        assert shell(show).returncode == 0
        assert "**validate**" in (shell.folder / "summary.md").read_text()

    def test_a_merge_that_waits_for_people_is_no_failure_and_one_that_fails_is(
        self, bench: Bench, shell: Any
    ) -> None:
        bench.plant("churn")
        bench.assess("churn", MEDIUM)
        items = [{"name": "churn", "environment": "production", "model": "churn/1"}]
        (shell.folder / "deployment.yaml").write_text(yaml.safe_dump({"version": 1, "deployments": items}))
        job = yaml.safe_load((EXAMPLE / "deploy" / "argocd" / "job.yaml").read_text())
        [container] = job["spec"]["template"]["spec"]["containers"]
        [argument] = container["args"]
        command = argument.replace("/config/", "")
        assert [command] == list(commands("apply").values())
        waits = shell(command)
        assert waits.returncode == 0, waits.stderr
        assert "approv" in waits.stderr
        items[0]["model"] = "nobody/1"
        (shell.folder / "deployment.yaml").write_text(yaml.safe_dump({"version": 1, "deployments": items}))
        assert shell(command).returncode != 0

    def test_the_examples_own_file_is_of_the_form_and_what_argo_takes(self) -> None:
        state = read_state(EXAMPLE / "deployment.yaml")
        assert {(item.environment.value, item.name) for item in state.deployments} == {
            ("staging", "churn"),
            ("production", "churn"),
        }
        kustomization = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())
        [generated] = kustomization["configMapGenerator"]
        assert all((EXAMPLE / name).is_file() for name in (*kustomization["resources"], *generated["files"]))
        job = yaml.safe_load((EXAMPLE / "deploy" / "argocd" / "job.yaml").read_text())
        [volume] = job["spec"]["template"]["spec"]["volumes"]
        assert volume["configMap"]["name"] == generated["name"]


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
