"""The policies that the documentation shows are taken by the platform, and their tests pass."""

from ml_platform.contracts.cedar import SCHEMA, check
from tests.docs.markdown import ROOT, blocks

DOCUMENT = ROOT / "docs" / "policies.md"


def shown() -> tuple[dict[str, str], dict[str, str]]:
    """The Cedar blocks and the YAML blocks, numbered."""
    found = blocks(DOCUMENT.read_text(encoding="utf-8"))
    cedar = [block.text for block in found if block.language == "cedar"]
    tests = [block.text for block in found if block.language == "yaml"]
    return (
        {f"example-{number}.cedar": text for number, text in enumerate(cedar)},
        {f"example-{number}.yaml": text for number, text in enumerate(tests)},
    )


class TestTheExamples:
    def test_are_valid_and_their_tests_pass(self) -> None:
        files, tests = shown()
        checked = check(files, tests)
        assert checked.problems == []
        assert [result for result in checked.tests if not result.passed] == []
        assert len(checked.tests) >= 8

    def test_leave_no_policy_untested(self) -> None:
        checked = check(*shown())
        assert len(checked.policies) == 4
        assert checked.untested == []

    def test_fail_when_a_policy_is_taken_away(self) -> None:
        files, tests = shown()
        for name in files:
            left = {other: text for other, text in files.items() if other != name}
            assert not check(left, tests).valid, name

    def test_the_bounds_and_exceptions_are_those_of_the_schema(self) -> None:
        text = DOCUMENT.read_text(encoding="utf-8")
        never = SCHEMA.rpartition("action")[2].partition("appliesTo")[0]
        for action in (part.strip().strip('"') for part in never.split(",")):
            assert f"`{action}`" in text
