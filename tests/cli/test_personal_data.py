"""`mlops datasets personal-data` and `mark`, and the SDK behind them."""

from pathlib import Path

import pytest

from ml_platform.contracts.personaldata import PersonalDataGroup, PersonalDataStatus
from ml_platform.sdk import Platform
from ml_platform.sdk.errors import InvalidInputError
from tests.cli.conftest import ON_SQLITE
from tests.cli.running import Mlops
from tests.integrations.personaldata.people import People
from tests.support.platform import Caller, RunningPlatform

pytestmark = ON_SQLITE


@pytest.fixture
def people(tmp_path: Path) -> Path:
    lines = [f"{mail},{number}" for number, mail in enumerate(People(50).emails())]
    path = tmp_path / "people.csv"
    path.write_text("contact,score\n" + "\n".join(lines) + "\n")
    return path


class TestTheCommands:
    def test_show_what_was_found_and_take_a_persons_word(self, as_ana: Mlops, people: Path) -> None:
        as_ana.json("datasets", "upload", "people", people)
        [found] = as_ana.json("datasets", "personal-data", "people")["findings"]
        assert (found["column"], found["kind"], found["counts"]) == ("contact", "email", True)
        ran = as_ana("datasets", "show", "people@1")
        assert ran.code == 0, ran.stderr
        assert "email" in ran.stdout
        word = ("--verdict", "wrong", "--reason", "made up")
        marked = as_ana.json("datasets", "mark", "people@1", "contact", "--kind", "email", *word)
        assert [(f["status"], f["counts"], f["reason"]) for f in marked["findings"]] == [
            ("wrong", False, "made up")
        ]

    def test_an_unknown_column_is_refused(self, as_ana: Mlops, people: Path) -> None:
        as_ana.json("datasets", "upload", "people", people)
        word = ("--kind", "email", "--verdict", "personal", "--reason", "so")
        ran = as_ana("datasets", "mark", "people", "height", *word)
        assert ran.code != 0
        assert "height" in ran.stderr


class TestTheSdk:
    def test_says_the_same(self, platform: RunningPlatform, ana: Caller, people: Path) -> None:
        with Platform(platform.url, ana.token) as client:
            data = client.data
            [finding] = data.upload("people", people).personal_data
            assert (finding.column, finding.group) == ("contact", PersonalDataGroup.DIRECT)
            report = data.mark_personal_data(
                "people@1", "score", "person_id", "personal", "an id in disguise"
            )
            assert [f.status for f in report.findings] == [
                PersonalDataStatus.FOUND,
                PersonalDataStatus.TAGGED,
            ]
            assert data.personal_data("people") == data.personal_data("people@1") == report
            with pytest.raises(InvalidInputError):
                data.mark_personal_data("people", "contact", "shoe_size", "personal", "so")
