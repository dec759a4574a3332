"""Model cards: what is missing in them, and that nobody's words become markup."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.contracts.governance import RiskLevel
from ml_platform.services.governance.cards import NEEDED, CardFacts, markdown, missing_sections, page

HOSTILE = (
    "<script>alert(1)</script> [x](javascript:alert(1)) ![y](http://evil) | cell\n# heading\n- item **b** `c`"
)


def facts(**card: object) -> CardFacts:
    return CardFacts(
        model_id="churn_v3",
        name="churn",
        version=3,
        revision=2,
        written_by="ana",
        written_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        card=card,
        facts={"Task": "classification"},
        metrics={"roc_auc": 0.84321, "accuracy": 0.8},
        gate="roc_auc 0.843 meets the threshold: at least 0.8",
    )


class Seen(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(text: str) -> Seen:
    found = Seen()
    found.feed(page(text, "a card"))
    return found


class TestMissing:
    def test_low_risk_needs_nothing(self) -> None:
        assert missing_sections({}, RiskLevel.LOW) == []
        assert missing_sections({}, None) == []

    @pytest.mark.parametrize("level", [RiskLevel.MEDIUM, RiskLevel.HIGH])
    def test_what_is_empty_is_missing(self, level: RiskLevel) -> None:
        card: dict[str, object] = dict.fromkeys(NEEDED[level], "said")
        assert missing_sections(card, level) == []
        for empty in ("", "  ", None, [], {}):
            assert missing_sections(card | {"limitations": empty}, level) == ["limitations"]

    def test_more_risk_needs_more(self) -> None:
        assert set(NEEDED[RiskLevel.MEDIUM]) < set(NEEDED[RiskLevel.HIGH])


class TestMarkdown:
    def test_it_holds_what_people_wrote_and_what_the_platform_knows(self) -> None:
        risk = {
            "level": "medium",
            "score": 20,
            "assessments": {"business_impact": {"score": 5, "reason": "money"}},
        }
        card = facts(intended_use="Offers", limitations=["Not for firms", "Not abroad"], seed=7)
        text = markdown(card, risk, "max", ["out_of_scope"])
        for piece in (
            "# churn, version 3", "Owner: max", "## Intended use\n\nOffers", "Not for firms", "## Out of scope",
            "*Not written yet", "| roc\\_auc | 0.8432 |", "medium, 20 of 50", "**seed**", "revision 2 by ana",
        ):  # fmt: skip
            assert piece in text, piece

    def test_no_word_of_a_person_is_markup(self) -> None:
        text = markdown(facts(intended_use=HOSTILE, **{HOSTILE: HOSTILE}), None, HOSTILE, [])
        assert "<script" not in text.replace("\\<script", "")
        assert "](" not in text.replace("\\]\\(", "")
        assert sum(line.startswith("# ") for line in text.splitlines()) == 1


class TestPage:
    def test_it_shows_the_card_and_runs_nothing(self) -> None:
        found = seen(markdown(facts(intended_use=HOSTILE, other={"a": HOSTILE}), None, "max", []))
        assert found.tags <= {
            "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "table", "tr", "td",
            "pre", "strong", "em",
        }  # fmt: skip
        assert found.attributes <= {"lang", "charset", "http-equiv", "content"}
        assert "<script>alert(1)</script>" in found.text
        assert "roc_auc" in found.text

    @given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
    def test_whatever_is_written_stays_text(self, value: object) -> None:
        found = seen(markdown(facts(intended_use=value, more=value), None, str(value), []))
        assert not found.tags & {"script", "img", "a", "iframe", "svg", "object", "form", "link"}
