"""Which columns are found, which are not, and how long it takes."""

import random
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.ca import sin
from stdnum.de import idnr
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ssn

from ml_platform.contracts.personaldata import SURE_FROM, FoundBy
from ml_platform.integrations.personaldata import RulesFinder
from ml_platform.services.datasets import ColumnSample, FoundPersonalData
from tests.integrations.personaldata.people import People


def found(values: Sequence[Any], name: str = "c1", kind: str = "string") -> dict[str, FoundPersonalData]:
    examined = RulesFinder().examine([ColumnSample(name, kind, values)])
    assert examined.complete
    return {item.kind.value: item for item in examined.findings}


def sure(values: Sequence[Any], name: str = "c1", kind: str = "string") -> set[str]:
    return {key for key, item in found(values, name, kind).items() if item.confidence >= SURE_FROM}


def whole(values: Sequence[str]) -> list[int]:
    return [int(value) for value in values]


def dates(first: int, last: int, rows: int = 300) -> list[date]:
    r = random.Random(3)
    return [date(r.randrange(first, last + 1), 1, 1) + timedelta(days=r.randrange(365)) for _ in range(rows)]


P = People()
BY_VALUES: dict[str, tuple[str, Sequence[Any], str]] = {
    "e-mails": ("email", P.emails(), "string"),
    "cards": ("payment_card", P.cards(), "string"),
    "cards in groups": (
        "payment_card",
        [" ".join(c[i : i + 4] for i in range(0, 16, 4)) for c in P.cards()],
        "string",
    ),
    "cards as numbers": ("payment_card", whole(P.cards()), "long"),
    "IBANs": ("bank_account", P.ibans(), "string"),
    "IBANs in groups": (
        "bank_account",
        [" ".join(i[n : n + 4] for n in range(0, 22, 4)) for i in P.ibans()],
        "string",
    ),
    "IPv4": ("ip_address", P.ips(), "string"),
    "IPv6": ("ip_address", P.ips6(), "string"),
    "MACs": ("device_id", P.macs(), "string"),
    "phones": ("phone", P.phones(), "string"),
    "German phones": ("phone", P.german_phones(), "string"),
    "American phones": ("phone", P.american_phones(), "string"),
    "BSN": ("national_id", P.checked(9, bsn.is_valid), "string"),
    "SIN": ("national_id", P.checked(9, sin.is_valid), "string"),
    "PESEL": ("national_id", P.checked(11, pesel.is_valid), "string"),
    "tax ids as numbers": ("national_id", whole(P.checked(11, idnr.is_valid)), "long"),
    "SSN": (
        "national_id",
        [f"{n[:3]}-{n[3:5]}-{n[5:]}" for n in P.checked(9, ssn.is_valid)],
        "string",
    ),
    "full names": ("person_name", P.names(), "string"),
    "addresses": ("address", P.addresses(), "string"),
    "German addresses": ("address", P.german_addresses(), "string"),
}
HARMLESS: dict[str, tuple[Sequence[Any], str]] = {
    "words": (["alpha", "beta", "gamma"] * 50, "string"),
    "random digits of a card's length": (whole(P.digits(16)), "long"),
    "random digits of nine": (whole(P.digits(9)), "long"),
    "random digits of eleven as text": (P.digits(11), "string"),
    "counted ids": (list(range(100_000_000, 100_002_000)), "long"),
    "times in seconds": (list(range(1_700_000_000, 1_700_200_000, 100)), "long"),
    "times in microseconds": (list(range(1_700_000_000_000_000, 1_700_000_200_000_000, 10**5)), "long"),
    "one number again and again": ([4111111111111111] * 200, "long"),
    "versions": (P.drawn(lambda r: f"{r.randrange(20)}.{r.randrange(20)}.{r.randrange(20)}.1"), "string"),
    "times of day": (P.drawn(lambda r: f"{r.randrange(24):02d}:{r.randrange(60):02d}:00"), "string"),
    "dates as text": (P.drawn(lambda r: f"2024-0{r.randrange(1, 9)}-1{r.randrange(9)}"), "string"),
    "decimals as text": (P.drawn(lambda r: f"{r.random() * 1e6:.4f}"), "string"),
    "numbers of batches": (P.drawn(lambda r: f"24011{r.randrange(9)}-{r.randrange(10**4):04d}"), "string"),
    "numbers with zeros before": (P.drawn(lambda r: f"{r.randrange(10**9):010d}"), "string"),
    "dates of Europe": (P.drawn(lambda r: f"0{r.randrange(1, 9)}.03.20{r.randrange(10, 25)}"), "string"),
    "amounts": ([value / 7 for value in range(2000)], "double"),
    "uuids": (
        P.drawn(lambda r: f"{r.randrange(16**8):08x}-{r.randrange(16**4):04x}-4aaa-8bbb-0123456789ab"),
        "string",
    ),
    "hashes": (P.drawn(lambda r: f"{r.randrange(16**64):064x}"), "string"),
    "cities": (["New York", "San Francisco", "Los Angeles", "Las Vegas", "Santa Barbara"] * 40, "string"),
    "products": (P.drawn(lambda r: f"Widget Mark {r.randrange(900)}"), "string"),
    "handles": (P.drawn(lambda r: f"@user{r.randrange(10**6)}"), "string"),
    "ISBN": (P.drawn(lambda r: f"978-3-16-{r.randrange(10**6):06d}-0"), "string"),
    "recent dates": (dates(2015, 2024), "date"),
    "flags": ([True, False] * 100, "boolean"),
    "nothing": ([], "string"),
    "empty texts": (["", " ", "\t"] * 50, "string"),
}


class TestValues:
    @pytest.mark.parametrize("case", BY_VALUES)
    def test_tell_what_they_are_without_a_name(self, case: str) -> None:
        kind, values, column_type = BY_VALUES[case]
        item = found(values, "c1", column_type)[kind]
        assert item.found_by is FoundBy.VALUES
        assert item.confidence >= SURE_FROM
        assert item.share is not None
        assert item.share >= 0.8

    @pytest.mark.parametrize("case", HARMLESS)
    def test_that_are_none_of_it_are_left_alone(self, case: str) -> None:
        values, column_type = HARMLESS[case]
        assert sure(values, "c1", column_type) == set()

    def test_say_which_register_a_number_is_from(self) -> None:
        assert found(P.checked(11, pesel.is_valid))["national_id"].detail == "pl.pesel"

    def test_are_told_within_longer_texts(self) -> None:
        texts = [f"call me, or write to {mail} please" for mail in P.emails()[:20]] + ["nothing to say"] * 180
        item = found(texts)["email"]
        assert (item.detail, item.share) == ("within text", 0.1)

    def test_one_address_in_a_thousand_texts_is_no_column_of_addresses(self) -> None:
        assert sure(["see a@example.org"] + [f"text {number}" for number in range(999)]) == set()

    def test_a_few_dirty_ones_do_not_hide_a_column(self) -> None:
        assert found([*P.emails()[:180], *["unknown"] * 20])["email"].share == 0.9


class TestNamesAndValues:
    def test_together_are_surer_than_each(self) -> None:
        both, alone = found(P.emails(), "email")["email"], found(P.emails())["email"]
        assert both.found_by is FoundBy.BOTH
        assert both.confidence > alone.confidence

    def test_a_name_helps_numbers_that_are_plain(self) -> None:
        plain = P.drawn(lambda r: f"212{r.randrange(220, 999)}{r.randrange(1000, 9999)}")
        assert sure(plain) == set()
        assert "phone" in sure(plain, "phone")

    def test_a_name_that_its_values_contradict_is_doubted(self) -> None:
        item = found(P.drawn(lambda r: f"{r.randrange(16**64):064x}"), "email")["email"]
        assert item.confidence < SURE_FROM

    @pytest.mark.parametrize("name", ["phone", "email", "credit_card", "passport"])
    def test_whether_somebody_has_one_is_not_it(self, name: str) -> None:
        assert found(["Yes", "No"] * 100, name) == {}
        assert found([0, 1] * 100, name, "long") == {}
        assert found([True, False], name, "boolean") == {}

    def test_dates_of_birth_need_their_name(self) -> None:
        born = dates(1930, 2005)
        assert sure(born, "dob", "date") == {"birth_date"}
        assert found(born, "dob", "date")["birth_date"].found_by is FoundBy.BOTH
        assert sure(born, "since", "date") == set()
        assert set(found(born, "since", "date")) == {"birth_date"}

    def test_moments_count_as_dates(self) -> None:
        born = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in dates(1930, 2005)]
        assert sure(born, "birth_date", "datetime") == {"birth_date"}


class TestTime:
    @pytest.mark.parametrize(
        "unit",
        ["a", "@", "a@", "a.", "+1", "1 ", "-", "1.1.", "a@a.a.", "0", "(", "Aa ", "\u0660", "\x00", "é"],
    )
    def test_huge_and_hostile_texts_take_no_longer_than_short_ones(self, unit: str) -> None:
        text = unit * 10**5
        started = time.process_time()
        assert sure([f"{text}{number}" for number in range(300)]) == set()
        assert time.process_time() - started < 20

    def test_what_there_is_no_time_for_is_judged_by_name(self) -> None:
        ticks = iter(range(10**6))
        finder = RulesFinder(seconds=2, clock=lambda: next(ticks))
        columns = [ColumnSample(f"c{number}", "string", P.emails()) for number in range(3)]
        examined = finder.examine([*columns, ColumnSample("email", "string", P.emails())])
        assert not examined.complete
        assert [(item.column, item.found_by) for item in examined.findings] == [
            ("c0", FoundBy.VALUES),
            ("email", FoundBy.NAME),
        ]

    @settings(max_examples=150, deadline=None)
    @given(
        name=st.text(max_size=200),
        values=st.lists(
            st.one_of(
                st.text(max_size=60),
                st.text("0123456789+-./ ()XKA", max_size=25),
                st.integers(-(2**63), 2**63),
                st.floats(),
                st.dates(),
                st.booleans(),
            ),
            max_size=30,
        ),
        kind=st.sampled_from(["string", "long", "double", "date", "datetime", "boolean", "binary", None]),
    )
    def test_nothing_makes_it_fail(self, name: str, values: list[Any], kind: str | None) -> None:
        for item in RulesFinder().examine([ColumnSample(name, kind, values)]).findings:
            assert 0 < item.confidence <= 1
            assert item.share is None or 0 <= item.share <= 1
