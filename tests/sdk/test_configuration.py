"""Where the platform is and who asks: arguments, else the environment, else the profile."""

import json
from pathlib import Path

import pytest

from ml_platform.sdk.config import Connection, profile_path, resolve, write_profile
from ml_platform.sdk.errors import NotConfiguredError

_PROFILE = {"url": "http://kept:8080", "key": "mlops_kept_key", "team": "kept-team"}


class TestPrecedence:
    def test_the_profile_is_the_last_resort(self) -> None:
        write_profile(_PROFILE)
        found = resolve(None, None, None)
        assert (found.url, found.key, found.team) == ("http://kept:8080", "mlops_kept_key", "kept-team")

    def test_the_environment_comes_before_the_profile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_profile(_PROFILE)
        monkeypatch.setenv("MLOPS_API_URL", "http://set:1/")
        monkeypatch.setenv("MLOPS_API_KEY", "mlops_set_key")
        monkeypatch.setenv("MLOPS_TEAM", "set-team")
        found = resolve(None, None, None)
        assert (found.url, found.key, found.team) == ("http://set:1", "mlops_set_key", "set-team")

    def test_arguments_come_before_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_profile(_PROFILE)
        for name in ("MLOPS_API_URL", "MLOPS_API_KEY", "MLOPS_TEAM"):
            monkeypatch.setenv(name, "wrong")
        found = resolve("https://given", "mlops_given_key", "given-team")
        assert (found.url, found.key, found.team) == ("https://given", "mlops_given_key", "given-team")

    def test_the_team_of_the_profile_belongs_to_its_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_profile(_PROFILE)
        monkeypatch.setenv("MLOPS_API_KEY", "mlops_other_key")
        assert resolve(None, None, None).team is None

    def test_a_kept_key_goes_only_to_its_own_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_profile(_PROFILE)
        with pytest.raises(NotConfiguredError, match="no key for http://elsewhere"):
            resolve("http://elsewhere", None, None)
        monkeypatch.setenv("MLOPS_API_URL", "http://kept:8080/")
        assert resolve(None, None, None).key == "mlops_kept_key"


class TestWithoutAnything:
    def test_the_error_says_what_to_do(self) -> None:
        with pytest.raises(NotConfiguredError, match="mlops up"):
            resolve(None, None, None)

    def test_a_broken_profile_is_named_and_not_needed_when_all_is_given(self) -> None:
        path = profile_path()
        path.parent.mkdir()
        path.write_text("not json")
        with pytest.raises(NotConfiguredError, match=r"profile\.json"):
            resolve("http://x", None, None)
        assert resolve("http://x", "mlops_a_b", None).url == "http://x"

    @pytest.mark.parametrize("content", ["[]", "null", '"text"', "{}", '{"url": null, "key": 3}'])
    def test_a_profile_of_another_shape_is_an_empty_one(self, content: str) -> None:
        path = profile_path()
        path.parent.mkdir()
        path.write_text(content)
        with pytest.raises(NotConfiguredError):
            resolve(None, None, None)


class TestTheProfile:
    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        path = write_profile(_PROFILE)
        assert path.is_relative_to(tmp_path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert json.loads(path.read_text()) == _PROFILE

    def test_the_key_is_not_in_what_a_connection_shows(self) -> None:
        assert "secret" not in repr(Connection("http://x", "mlops_a_secret"))
