"""What single values look like. Each test takes a short text and takes time linear in it."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import phonenumbers
from stdnum import iban, imei, luhn
from stdnum.exceptions import ValidationError

from ml_platform.contracts.personaldata import PersonalDataKind as Kind
from ml_platform.integrations.personaldata.nationalids import national_ids
from ml_platform.integrations.personaldata.wordlists import GIVEN_NAMES, STREETS

Details = tuple[str, ...]
_LOCAL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}\Z")
_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\Z")
_EMAIL_WITHIN: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}")
_PHONE: Final = re.compile(r"\+?[0-9(][0-9 ()./-]{6,23}\Z")
_PHONE_WITHIN: Final = re.compile(r"\+[0-9][0-9 ().-]{7,18}[0-9]")
_GROUPED: Final = re.compile(r"\(?[2-9][0-9]{2}\)?[ .-][0-9]{3}[ .-][0-9]{4}\Z")
_ISO_DATE: Final = re.compile(r"([0-9]{4})-[0-9]{2}-[0-9]{2}\Z")
_NO_PHONE: Final = re.compile(
    r"[0-9]+(?:\.[0-9]+)?\Z|[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}\Z"
)  # numbers, dates
_MAC: Final = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\Z")
_CARD: Final = re.compile(
    r"(?:4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)"
    r"[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}"
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}|62[0-9]{14,17})\Z"
)
_CARD_WITHIN: Final = re.compile(r"(?<![0-9])(?:[0-9]{4}[ -]?){3}[0-9]{4}(?![0-9])")
_PERSON: Final = re.compile(r"[A-Z][a-z'-]{1,30}(?: [A-Z][a-z'.-]{0,30}){1,3}\Z")
_WORD: Final = re.compile(r"[A-Z][a-z'-]{1,30}\Z")
_HOUSE: Final = re.compile(r"(?<![0-9])[0-9]{1,5}[A-Za-z]?(?![0-9])")
_TRUNK_REGIONS: Final = ("GB", "DE", "FR", "IT", "NL", "AU", "BE", "CH", "SE", "PL", "JP", "IN")
_OLDEST: Final = 1900


@dataclass(frozen=True, slots=True)
class Recogniser:
    """One test of values.

    Attributes:
        fits: the forms that a value has, none when it is not of the kind.
        confidence: of a column of which at least `share` of the values fit, `distinct` different ones among them.
    """

    kind: Kind
    fits: Callable[[str], Details]
    confidence: float
    share: float = 0.8
    distinct: int = 3


def _email(text: str) -> Details:
    local, at, domain = text.partition("@")
    return ("e-mail",) if at and _LOCAL.match(local) and _DOMAIN.match(domain) else ()


def _card(text: str) -> Details:
    digits = text.replace(" ", "").replace("-", "")
    return ("luhn",) if _CARD.match(digits) and luhn.is_valid(digits) else ()


def _iban(text: str) -> Details:
    compact = text.replace(" ", "").upper()
    if not 15 <= len(compact) <= 34 or not compact[:2].isalpha() or not compact[2:].isalnum():
        return ()
    return ("iban",) if _passes(iban.validate, compact) else ()


def _ip(text: str) -> Details:
    if text.count(".") != 3 and text.count(":") < 2:
        return ()
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return ()
    if found.version == 4 and max(found.packed) < 32:  # more likely the number of a version
        return ()
    return ("ip",)


def _device(text: str) -> Details:
    if _MAC.match(text):
        return ("mac",)
    if len(text) == 15 and text.isdigit() and not text.startswith(("34", "37")):
        return ("imei",) if _passes(imei.validate, text) else ()
    return ()


def _international_phone(text: str) -> Details:
    if not text.startswith("+") or not _PHONE.match(text):
        return ()
    return ("international",) if _valid_phone(text, None) else ()


def _national_phone(text: str) -> Details:
    """In groups, with a trunk zero or as in North America; plain digits could be anything."""
    if text.startswith("+") or not _PHONE.match(text) or _NO_PHONE.match(text):
        return ()
    if _GROUPED.match(text):
        return ("US",) if _valid_phone(text, "US") else ()
    if not text.lstrip("(").startswith("0"):
        return ()
    return tuple(region for region in _TRUNK_REGIONS if _valid_phone(text, region))[:3]


def _person(text: str) -> Details:
    return ("full names",) if _PERSON.match(text) and text.partition(" ")[0].lower() in GIVEN_NAMES else ()


def _given_name(text: str) -> Details:
    return ("given names",) if _WORD.match(text) and text.lower() in GIVEN_NAMES else ()


def _address(text: str) -> Details:
    """A house number beside a word for a street."""
    if not 6 <= len(text) <= 120 or not _HOUSE.search(text):
        return ()
    words = re.split(r"[ ,.]+", text.lower())
    street = any(word in STREETS or word.endswith(("straße", "strasse", "gasse", "weg")) for word in words)
    return ("street",) if street and len(words) >= 2 else ()


RECOGNISERS: Final = (
    Recogniser(Kind.EMAIL, _email, 0.95),
    Recogniser(Kind.BANK_ACCOUNT, _iban, 0.98),
    Recogniser(Kind.PAYMENT_CARD, _card, 0.95),
    Recogniser(Kind.IP_ADDRESS, _ip, 0.9),
    Recogniser(Kind.DEVICE_ID, _device, 0.85, distinct=10),
    Recogniser(Kind.PHONE, _international_phone, 0.9),
    Recogniser(Kind.PHONE, _national_phone, 0.75, distinct=5),
    Recogniser(Kind.NATIONAL_ID, national_ids, 0.9, distinct=10),
    Recogniser(Kind.ADDRESS, _address, 0.75, share=0.6, distinct=5),
    Recogniser(Kind.PERSON_NAME, _person, 0.7, share=0.3, distinct=5),
    Recogniser(Kind.PERSON_NAME, _given_name, 0.6, share=0.5, distinct=10),
)


def within(text: str) -> Iterable[Kind]:
    """What stands somewhere in a longer text."""
    if "@" in text and _EMAIL_WITHIN.search(text):
        yield Kind.EMAIL
    if "+" in text and any(_valid_phone(found, None) for found in _PHONE_WITHIN.findall(text)[:3]):
        yield Kind.PHONE
    if any(_card(found) for found in _CARD_WITHIN.findall(text)[:3]):
        yield Kind.PAYMENT_CARD


def year_of(value: object, now: datetime) -> int | None:
    """The year of a moment in which somebody alive may have been born; None for anything else."""
    if isinstance(value, date):
        year = value.year
    elif isinstance(value, str) and (match := _ISO_DATE.match(value)):
        year = int(match.group(1))
    else:
        return None
    return year if _OLDEST <= year <= now.year else None


def _valid_phone(text: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False


def _passes(check: Callable[[str], object], text: str) -> bool:
    try:
        check(text)
    except (ValidationError, ValueError, LookupError):  # some raise the latter for a wrong country or digit
        return False
    return True
