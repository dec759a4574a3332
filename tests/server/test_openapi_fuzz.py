"""Requests made from our own OpenAPI description, good and bad, by those who may do most.

No answer is an unplanned 5xx, every error is a problem with a stable code, every answer is strict JSON of
the described shape. `make fuzz` does the same for long and on PostgreSQL too; FUZZ_EXAMPLES sets how many requests of each kind
every operation gets.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from ml_platform.contracts.problems import ErrorCode
from tests.server.estate import Estate, settle
from tests.server.table import API
from tests.support.crash import eventually
from tests.support.platform import Caller, RunningPlatform, running_platform
from tests.support.training import archive_of

LONG = "FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "4"))
PLANNED = {  # no inference server runs here
    ("/api/v1/deployments/{deployment_id}/metrics", "unavailable"),
    ("/api/v1/deployments/{deployment_id}/predict", "unavailable"),
}
ENDED = {"succeeded", "failed", "cancelled", "timed_out"}


@pytest.fixture(scope="module", params=["sqlite", *(["postgres"] if LONG else [])])
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPlatform]:
    """One of its own: after this, nothing in it is as it was."""
    home = tmp_path_factory.mktemp("fuzz")
    if request.param == "sqlite":
        with running_platform(home) as running:
            yield running
        return
    server = request.getfixturevalue("postgres_server")
    with (
        server.fresh_database() as url,
        server.fresh_database() as workflow_url,
        running_platform(home, database_url=url, workflow_url=workflow_url) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def estate(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    made = settle(platform, tmp_path_factory.mktemp("estate"))
    yield made
    client = platform.client(platform.admin_token, team=made.owner.team)
    eventually(lambda: _all_ended(client), within=120, what="the end of every job that was started")


def _all_ended(client: Any) -> bool:
    jobs = [job for job in client.get("/jobs?limit=500").json()["items"] if job["status"] not in ENDED]
    for job in jobs:
        client.post(f"/jobs/{job['job_id']}/cancel")
    return not jobs


@pytest.fixture(scope="module")
def description(platform: RunningPlatform) -> dict[str, Any]:
    answer = platform.admin.get(f"{platform.url}/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    for operations in found["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)  # those without a key have tests of their own
    return found


@schemathesis.serializer("application/gzip")
def _as_it_is(context: Any, value: Any) -> dict[str, Any]:
    return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")}


schemathesis.openapi.media_type(
    "application/gzip",
    st.binary(max_size=100)
    | st.dictionaries(st.from_regex(r"[a-z./]{1,12}", fullmatch=True), st.text(max_size=20), max_size=3).map(
        archive_of
    ),
)


class Fuzzer:
    """Sends cases of one caller and notes what is wrong with the answers."""

    def __init__(self, platform: RunningPlatform, estate: Estate, token: str) -> None:
        self.platform = platform
        self.estate = estate
        self.session = requests.Session()
        self.headers = {"authorization": f"Bearer {token}", "mlops-team": estate.owner.team}
        self.faults: dict[tuple[str, str], str] = {}
        self.statuses: Counter[int] = Counter()
        self.unsent = 0

    def send(self, case: Any) -> None:
        if case.path == f"{API}/inference/snapshot" and isinstance(case.query, dict):
            case.query["wait"] = 0  # waiting is what it is for: two minutes of it would test nothing
        try:
            answer = case.call(
                base_url=self.platform.url, session=self.session, headers=self.headers, timeout=20
            )
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
            self.unsent += 1  # no HTTP client can send it
            return
        self.statuses[answer.status_code] += 1
        fault = self._fault(case, answer)
        if fault is not None:
            kept = (f"{case.method} {case.path}", fault.partition(":")[0])
            self.faults.setdefault(kept, f"{fault}\n    {_shown(case)}\n    {answer.text[:500]}")

    def _fault(self, case: Any, answer: Any) -> str | None:
        if "x-request-id" not in answer.headers:
            return None if answer.text == "Invalid HTTP request received." else "not answered by us"
        kind = answer.headers["content-type"][0] if answer.content else ""
        body = None
        if "json" in kind:
            try:
                if kind.startswith("application/x-ndjson"):
                    for line in answer.content.splitlines():
                        json.loads(line, parse_constant=_refuse)
                else:
                    body = json.loads(answer.content, parse_constant=_refuse)
            except ValueError as error:
                return f"not strict JSON: {error}"
        if answer.status_code < 400:
            return _misdescribed(case, answer)
        if kind != "application/problem+json" or not isinstance(body, dict):
            return f"no problem: {answer.status_code} {kind}"
        if body["code"] not in set(ErrorCode) or body["status"] != answer.status_code or not body["detail"]:
            return "not a whole problem"
        if answer.status_code >= 500 and (case.path, body["code"]) not in PLANNED:
            return f"{answer.status_code}: {body['code']}"
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _misdescribed(case: Any, answer: Any) -> str | None:
    load_all_checks()
    checks = CHECKS.get_by_names(
        ["response_schema_conformance", "status_code_conformance", "content_type_conformance"]
    )
    try:
        case.validate_response(answer, checks=checks)
    except Exception as error:
        return f"not as described: {error}"[:1500]
    return None


def _shown(case: Any) -> str:
    return f"path={case.path_parameters!r} query={case.query!r} headers={case.headers!r} body={case.body!r}"[
        :800
    ]


def _cases(operation: Any, mode: GenerationMode, real: dict[str, str] | None) -> Any:
    fixed = {
        parameter.name: real[parameter.name]
        for parameter in operation.path_parameters
        if real is not None and parameter.name in real
    }
    return operation.as_strategy(generation_mode=mode, path_parameters=fixed or None)


def _real(estate: Estate, path: str) -> dict[str, str]:
    kinds = {"datasets": "dataset", "feature-views": "view", "models": "model"}
    kind = kinds.get(path.removeprefix(f"{API}/").partition("/")[0])
    return {**estate.values, "name": estate.values[kind]} if kind else dict(estate.values)


@pytest.mark.slow
@pytest.mark.timeout(1200 + 60 * EXAMPLES)
class TestEveryOperation:
    @pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
    @pytest.mark.parametrize("who", ["admin", "ml_engineer"])
    def test_answers_whatever_it_is_sent(
        self,
        platform: RunningPlatform,
        estate: Estate,
        description: dict[str, Any],
        who: str,
        mode: GenerationMode,
    ) -> None:
        caller: Caller | None = None if who == "admin" else platform.new_user(estate.owner.team, who)
        fuzzer = Fuzzer(platform, estate, caller.token if caller else platform.admin_token)
        schema = schemathesis.openapi.from_dict(description)
        count = 0
        for found in schema.get_all_operations():
            operation = found.ok()
            count += 1
            for real in (None, _real(estate, operation.path)):
                if real is not None and not operation.path_parameters:
                    continue
                self._run(fuzzer, operation, mode, real)
        assert count > 85
        assert not fuzzer.faults, "\n".join(f"{key[0]}: {text}" for key, text in fuzzer.faults.items())
        print(f"{who}, {mode.value}: {dict(fuzzer.statuses)}, {fuzzer.unsent} could not be sent")  # noqa: T201
        sent = fuzzer.statuses.total()
        assert sent > count
        assert fuzzer.unsent < sent / 10
        if mode is GenerationMode.POSITIVE:  # enough of it is carried out: what is tested is not the gate
            assert sum(number for status, number in fuzzer.statuses.items() if status < 400) > sent / 10
        assert platform.admin.get("/whoami").status_code == 200

    def _run(self, fuzzer: Fuzzer, operation: Any, mode: GenerationMode, real: dict[str, str] | None) -> None:
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=not LONG,
            phases=[Phase.generate],
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=_cases(operation, mode, real))
        def send(case: Any) -> None:
            fuzzer.send(case)

        try:
            send()
        except Unsatisfiable:  # what takes nothing but a fixed path has no bad form
            assert mode is GenerationMode.NEGATIVE
