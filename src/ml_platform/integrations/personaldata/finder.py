"""Judges columns: what the name says, what the values look like, and what both make of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from ml_platform.contracts.personaldata import GROUPS, FoundBy, PersonalDataGroup
from ml_platform.contracts.personaldata import PersonalDataKind as Kind
from ml_platform.integrations.personaldata.names import kinds_by_name
from ml_platform.integrations.personaldata.values import RECOGNISERS, Recogniser, within, year_of
from ml_platform.kit.clock import utc_now
from ml_platform.services.datasets import ColumnSample, Examination, FoundPersonalData

Values = Counter[str]
_LONGEST: Final = 256
_FIRST: Final = 60
"""So many different values are looked at first; the rest only where enough of them fit."""
_HOPELESS: Final = 0.25
_TESTABLE: Final = frozenset({Kind.EMAIL, Kind.BANK_ACCOUNT, Kind.IP_ADDRESS})
_HINTED: Final = frozenset({Kind.PHONE, Kind.NATIONAL_ID, Kind.PAYMENT_CARD, Kind.DEVICE_ID})
_ONE_EACH: Final = frozenset({PersonalDataGroup.DIRECT, PersonalDataGroup.PSEUDONYM})
_UNSURE: Final = 0.5
_WITHIN: Final = 0.8
_TELLING: Final = 20
"""With so many different values of which none fits, a name is doubted."""
_BIRTHS_SPREAD: Final = 25


class RulesFinder:
    """Implements `PersonalDataFinder`, without a model: names, patterns and check digits.

    Args:
        seconds: after which the columns that are left are judged by their names alone.
    """

    def __init__(self, *, seconds: float = 20.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock

    def examine(self, columns: Iterable[ColumnSample]) -> Examination:
        deadline, complete, most = self._clock() + self._seconds, True, 0
        found: list[FoundPersonalData] = []
        for column in columns:
            in_time = self._clock() < deadline
            complete &= in_time
            most = max(most, len(column.values) if in_time else 0)
            found += _judged(column) if in_time else self.named(column.name)
        return Examination(most, complete, tuple(found))

    def named(self, column: str) -> Sequence[FoundPersonalData]:
        return [
            FoundPersonalData(column, kind, FoundBy.NAME, None, confidence)
            for kind, confidence in kinds_by_name(column).items()
        ]


def _judged(column: ColumnSample) -> list[FoundPersonalData]:
    named = kinds_by_name(column.name)
    values = Counter(text for value in column.values if (text := _text(value)))
    seen = {item.kind: item for item in _seen(column, values, named)}
    found = [
        _merged(column.name, kind, seen.get(kind), named.get(kind)) for kind in dict.fromkeys((*seen, *named))
    ]
    return [
        item for item in found if item.found_by is not FoundBy.NAME or _plausible(item.kind, column, values)
    ]


def _merged(
    column: str, kind: Kind, seen: FoundPersonalData | None, named: float | None
) -> FoundPersonalData:
    if seen is None:
        assert named is not None
        return FoundPersonalData(column, kind, FoundBy.NAME, None, named)
    if named is None:
        return seen
    if not seen.share:
        return FoundPersonalData(column, kind, FoundBy.NAME, 0.0, _UNSURE, "its values look otherwise")
    confidence = round(min(0.99, max(seen.confidence, named) + 0.05), 2)
    return FoundPersonalData(column, kind, FoundBy.BOTH, seen.share, confidence, seen.detail)


def _plausible(kind: Kind, column: ColumnSample, values: Values) -> bool:
    """Whether a column can hold what its name alone says: whether something has a phone is not its number."""
    if GROUPS[kind] not in _ONE_EACH:
        return True
    if column.type == "boolean" or (kind is not Kind.PERSON_ID and column.type in ("datetime", "date")):
        return False
    total = values.total()
    if column.type in ("float", "double", "decimal") and any("." in text for text in values):
        return False
    return not (total >= 5 and len(values) <= 2) and not (total >= 100 and len(values) <= 10)


def _seen(column: ColumnSample, values: Values, named: dict[Kind, float]) -> Iterator[FoundPersonalData]:
    if not values:
        return
    if column.type in ("datetime", "date", "string") and (born := _births(column, Kind.BIRTH_DATE in named)):
        yield born
    if column.type not in ("string", "integer", "long", "float", "double"):
        return
    found = {item.kind: item for item in _whole(column.name, values, named)}
    if column.type == "string":
        found = found or {item.kind: item for item in _within(column.name, values)}
        if len(values) >= _TELLING:
            for kind in _TESTABLE.intersection(named).difference(found):
                yield FoundPersonalData(column.name, kind, FoundBy.VALUES, 0.0, _UNSURE)
    yield from found.values()


def _whole(column: str, values: Values, named: dict[Kind, float]) -> Iterator[FoundPersonalData]:
    """What the values are, each as a whole; the first test of a kind that succeeds tells."""
    kinds: set[Kind] = set()
    for recogniser in RECOGNISERS:
        if recogniser.kind in kinds:
            continue
        found = _recognised(column, recogniser, values, recogniser.kind in named)
        if found is not None:
            kinds.add(recogniser.kind)
            yield found


def _recognised(
    column: str, recogniser: Recogniser, values: Values, hinted: bool
) -> FoundPersonalData | None:
    """A column of which enough values fit; with its name behind it, fewer values need fit."""
    share, distinct = recogniser.share, recogniser.distinct
    if hinted and recogniser.kind in _HINTED:
        share, distinct = 0.5, 1
    fitting, different = 0, 0
    details: Counter[str] = Counter()
    for looked, (text, count) in enumerate(_spread(values)):
        if looked == _FIRST and different < _HOPELESS * looked:
            return None
        fits = recogniser.fits(text) if text.isascii() or recogniser.kind is Kind.ADDRESS else ()
        if fits:
            fitting += count
            different += 1
            details.update(dict.fromkeys(fits, count))
    part = fitting / values.total()
    # Forms that only some of the values have are chance: a check digit lets one in ten through.
    forms = [name for name, count in details.most_common(3) if count >= share * values.total()]
    if not forms or part < share or different < distinct:
        return None
    return FoundPersonalData(
        column, recogniser.kind, FoundBy.VALUES, round(part, 4), recogniser.confidence, ", ".join(forms)
    )


def _spread(values: Values) -> Iterator[tuple[str, int]]:
    """All of them, the first ones from everywhere: what stands together is often alike."""
    items = list(values.items())
    step = max(1, len(items) // _FIRST)
    for start in range(step):
        yield from items[start::step]


def _within(column: str, values: Values) -> Iterator[FoundPersonalData]:
    """What stands in at least two texts, and in one of a hundred."""
    counts: Counter[Kind] = Counter()
    different: Counter[Kind] = Counter()
    for text, count in values.items():
        for kind in set(within(text)):
            counts[kind] += count
            different[kind] += 1
    for kind, count in counts.items():
        if different[kind] >= 2 and count >= 0.01 * values.total():
            share = round(count / values.total(), 4)
            yield FoundPersonalData(column, kind, FoundBy.VALUES, share, _WITHIN, "within text")


def _births(column: ColumnSample, named: bool) -> FoundPersonalData | None:
    """Dates over more than a generation, most of them long ago. By themselves they may be of anything."""
    today = utc_now()
    years = [year for value in column.values if (year := year_of(value, today)) is not None]
    if len(years) < 0.9 * len(column.values) or not years:
        return None
    years.sort()
    spread = years[int(len(years) * 0.95)] - years[int(len(years) * 0.05)]
    grown = years[len(years) // 2] <= today.year - 15
    if not named and not (len(set(years)) >= 10 and spread >= _BIRTHS_SPREAD and grown):
        return None
    share = round(len(years) / len(column.values), 4)
    return FoundPersonalData(column.name, Kind.BIRTH_DATE, FoundBy.VALUES, share, _UNSURE, "dates of births")


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e18:
        return str(int(value))
    return str(value).strip()[:_LONGEST]
