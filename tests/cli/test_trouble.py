"""What goes wrong: a message, a hint and a documented exit code; never a traceback."""

import json
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import ON_SQLITE
from tests.cli.running import Mlops
from tests.support.platform import Caller, RunningPlatform


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class TestWithoutAPlatform:
    def test_without_a_profile_it_says_how_to_get_one(self, mlops: Mlops) -> None:
        ran = mlops("jobs", "list")
        assert (ran.code, ran.stdout) == (7, "")
        assert "error: no address of a platform is known" in ran.stderr
        assert "hint: start one with `mlops up`" in ran.stderr
        assert "Traceback" not in ran.stderr

    def test_a_broken_profile_is_named(self, mlops: Mlops, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "profile.json").write_text("{")
        ran = mlops("whoami")
        assert (ran.code, ran.stdout) == (7, "")
        assert "profile.json cannot be read" in ran.stderr

    def test_an_address_where_nobody_answers_is_named(self, mlops: Mlops) -> None:
        url = f"http://127.0.0.1:{closed_port()}"
        mlops.use(MLOPS_API_URL=url, MLOPS_API_KEY="mlops_a_b")
        ran = mlops("models", "list", "--output", "json")
        assert (ran.code, ran.stdout) == (7, "")
        assert f"the platform at {url} does not answer" in ran.stderr

    @pytest.mark.parametrize("address", ["127.0.0.1:8080", "ftp://x", "http://[", "http://"])
    def test_an_address_that_is_none_is_refused(self, mlops: Mlops, address: str) -> None:
        mlops.use(MLOPS_API_URL=address, MLOPS_API_KEY="mlops_a_b")
        ran = mlops("whoami")
        assert ran.code in {2, 7}
        assert ran.stderr.startswith("error: ")
        assert "Traceback" not in ran.stderr

    def test_a_key_of_other_characters_is_refused_before_it_is_sent(self, mlops: Mlops) -> None:
        mlops.use(MLOPS_API_URL="http://127.0.0.1:1", MLOPS_API_KEY="schlüssel\n")
        ran = mlops("whoami")
        assert ran.code == 7
        assert "the key holds characters that no key has" in ran.stderr
        assert "schlüssel" not in ran.stderr


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["deploy"], "--model"),
            (["deploy", "--model", "a/1", "--version", "2"], "names a version already"),
            (["deploy", "--model", "a", "--replicas", "0"], "--replicas"),
            (["deploy", "--model", "a", "--version", "first"], "--version"),
            (["jobs", "submit", "train.py"], "--experiment"),
            (["logs", "nothing"], "inference"),
            (["jobs", "submit", "t.py", "-e", "x", "--config", "rate"], "NAME=VALUE"),
            (["jobs", "submit", "t.py", "-e", "x", "--config", "a=1", "--config", "a=2"], "given twice"),
            (["jobs", "submit", "t.py", "-e", "x", "--gate", "auc:0.8"], "--register-as"),
            (["jobs", "submit", "t.py", "-e", "x", "--card", "c.yaml"], "--register-as"),
            (["jobs", "submit", "t.py", "-e", "x", "--register-as", "m", "--gate", "auc:0.8"], "--label"),
            (
                ["jobs", "submit", "t.py", "-e", "x", "--register-as", "m", "--label", "y", "--gate", "auc"],
                "METRIC",
            ),
            (
                ["jobs", "submit", "t.py", "-e", "x", "--register-as", "m", "--label", "y", "--gate", "a:b"],
                "number",
            ),
            (["jobs", "submit", "t.py", "-e", "x", "--config-file", "nowhere.yaml"], "cannot be read"),
            (["jobs", "list", "--limit", "0"], "--limit"),
            (["jobs", "list", "--output", "xml"], "--output"),
            (["jobs", "cancel", "job_1"], "--yes"),
            (["deployments", "retire", "dep_1"], "--yes"),
            (["deployments", "predict", "dep_1"], "--instance"),
            (["deployments", "predict", "dep_1", "-i", "{"], "not JSON"),
            (["models", "risk", "assess", "churn"], "--answer"),
            (["models", "risk", "assess", "churn", "-a", "business_impact=many:why"], "SCORE:REASON"),
            (["drift", "configure", "dep_1"], "nothing to change"),
            (["datasets", "head", "telco", "--rows", "5000"], "--rows"),
            (["features", "create", "-"], "one object"),
            (["approvals", "approve", "apr_1"], "--reason"),
            (["login"], "--url"),
            (["nonsense"], "No such command"),
            (["jobs", "list", "extra"], "unexpected extra argument"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_is_exit_code_2_and_names_what_is_wrong(
        self, mlops: Mlops, arguments: list[str], said: str
    ) -> None:
        ran = mlops(*arguments)
        assert (ran.code, ran.stdout) == (2, "")
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr


@ON_SQLITE
class TestAnswersOfThePlatform:
    def test_a_wrong_key_is_exit_code_4(self, mlops: Mlops, platform: RunningPlatform) -> None:
        mlops.use(MLOPS_API_URL=platform.url, MLOPS_API_KEY="mlops_nobody_secret")
        ran = mlops("whoami")
        assert (ran.code, ran.stdout) == (4, "")
        assert "mlops_nobody_secret" not in ran.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ["experiments", "show", "nothing"],
            ["jobs", "show", "job_nothing"],
            ["jobs", "logs", "job_nothing"],
            ["models", "show", "nothing"],
            ["models", "show", "nothing/3"],
            ["models", "show", "nothing@champion"],
            ["datasets", "show", "nothing"],
            ["datasets", "show", "nothing@2"],
            ["features", "show", "nothing"],
            ["deployments", "show", "dep_nothing"],
            ["deployments", "show", "staging/nothing"],
            ["deployments", "rollout", "ro_nothing"],
            ["deployments", "predict", "dep_nothing", "-i", "{}"],
            ["approvals", "show", "apr_nothing"],
            ["alerts", "show", "alert_nothing"],
            ["drift", "show", "dep_nothing"],
            ["drift", "check", "staging/nothing"],
            ["deploy", "--model", "nothing", "--plan"],
            ["audit", "list", "--resource", "nothing"],
        ],
        ids=" ".join,
    )
    def test_an_unknown_id_is_exit_code_3(self, as_ana: Mlops, ana: Caller, arguments: list[str]) -> None:
        ran = as_ana(*arguments, *([] if "logs" in arguments else ["--output", "json"]))
        if arguments[0] == "audit":  # a filter that fits nothing is no error, and an engineer may not read it
            assert ran.code == 4
            assert ana.name in ran.stderr or "permit" in ran.stderr
            return
        assert (ran.code, ran.stdout) == (3, ""), ran.stderr
        assert "nothing" in ran.stderr

    @pytest.mark.parametrize("name", ["..", ".", " ", "a/b", "a?b#c", "über", "x" * 300, "%2e%2e"])
    def test_a_strange_name_is_never_taken_for_a_path(self, as_ana: Mlops, name: str) -> None:
        ran = as_ana("datasets", "show", name)
        assert ran.code in {2, 3}
        assert ran.stdout == ""
        assert "Traceback" not in ran.stderr

    def test_what_the_server_refuses_is_exit_code_2_and_names_the_field(self, as_ana: Mlops) -> None:
        ran = as_ana("datasets", "create", "Not A Slug")
        assert (ran.code, ran.stdout) == (2, "")
        assert ran.stderr.splitlines()[:2] == [
            "error: the input cannot be taken",
            "  name: must be 1 to 63 lower-case letters, digits, '-' or '_', with a letter or digit at both ends",
        ]

    def test_a_second_time_is_exit_code_5(self, as_ana: Mlops) -> None:
        assert as_ana("datasets", "create", "twice").code == 0
        assert as_ana("datasets", "create", "twice").code == 5

    def test_what_one_may_not_is_exit_code_4_and_says_why(self, as_ana: Mlops) -> None:
        ran = as_ana("teams", "create", "own-team")
        assert (ran.code, ran.stdout) == (4, "")
        assert "an administrator does this" in ran.stderr


@ON_SQLITE
class TestSigningIn:
    def test_a_key_on_standard_input_is_kept_for_its_owner_alone(
        self, mlops: Mlops, platform: RunningPlatform, ana: Caller, tmp_path: Path
    ) -> None:
        ran = mlops("login", "--url", platform.url, stdin=ana.token + "\n")
        assert (ran.code, ran.stdout) == (0, ""), ran.stderr
        assert ana.token not in ran.stderr
        profile = tmp_path / "home" / "profile.json"
        assert profile.stat().st_mode & 0o777 == 0o600
        assert json.loads(profile.read_text())["url"] == platform.url
        assert mlops.json("whoami")["name"] == ana.name

    def test_a_key_that_does_not_work_is_not_kept(
        self, mlops: Mlops, platform: RunningPlatform, tmp_path: Path
    ) -> None:
        assert mlops("login", "--url", platform.url, stdin="mlops_x_y\n").code == 4
        assert not (tmp_path / "home" / "profile.json").exists()
