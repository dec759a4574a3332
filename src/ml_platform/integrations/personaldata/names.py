"""What the name of a column says: phrases in it, unless other words turn it into something about the thing.

`phone_number` is a phone; `phone_service`, `has_phone` and `num_phones` are not.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from ml_platform.contracts.personaldata import PersonalDataKind as Kind


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PARTS: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_IDS: Final = _words("id ids no nr number num nummer key uuid guid code ref identifier hash")
_PEOPLE: Final = _words(
    "customer client user patient member employee person subscriber passenger student policyholder borrower"
    " applicant citizen guest driver donor visitor cust kunde kunden cliente usuario utilisateur account"
)

_PHRASES: Final[Mapping[Kind, tuple[tuple[float, str], ...]]] = {
    Kind.EMAIL: (
        (0.9, "email, emails, e mail, mail address, emailaddress, emailaddr, mailadresse, correo, courriel"),
    ),
    Kind.PHONE: (
        (
            0.8,
            "phone, telephone, cellphone, phonenumber, mobilenumber, msisdn, fax, mobile number, mobile no",
        ),
        (0.8, "telefon, telefono, telefonnummer, handynummer, rufnummer, contact number"),
        (0.6, "tel, tel no, tel nr"),
    ),
    Kind.PAYMENT_CARD: (
        (0.8, "card number, card no, card num, cardnumber, cc number, cc num, ccnumber, creditcardnumber"),
        (0.8, "kreditkartennummer, card pan"),
        (0.6, "credit card, creditcard, debit card"),
    ),
    Kind.BANK_ACCOUNT: (
        (0.9, "iban, bban"),
        (0.8, "bank account, bankaccount, kontonummer, routing number, sort code, numero cuenta"),
    ),
    Kind.NATIONAL_ID: (
        (0.9, "ssn, social security, socialsecurity, national id, nationalid, national insurance, nino"),
        (0.9, "national identity, passport, passport number, passportnumber, codice fiscale, codicefiscale"),
        (
            0.9,
            "personnummer, fodselsnummer, cpr, hetu, aadhaar, aadhar, pesel, cpf, curp, bsn, dni, steuer id",
        ),
        (0.8, "tax id, taxid, steuerid, identity card, id card, driver license, drivers license"),
        (0.8, "driving licence, driving license, sozialversicherungsnummer"),
    ),
    Kind.PERSON_NAME: (
        (0.8, "first name, firstname, last name, lastname, surname, family name, given name, forename"),
        (0.8, "full name, fullname, middle name, maiden name, fname, lname, cardholder, card holder"),
        (0.8, "account holder, vorname, nachname, familienname, prenom, apellido, apellidos, cognome"),
        (0.8, "customer name, client name, patient name, person name, employee name, contact name"),
        (0.8, "member name, passenger name, student name, driver name, applicant name"),
    ),
    Kind.ADDRESS: (
        (
            0.7,
            "address, addr, street, streetaddress, street name, address line, adresse, direccion, indirizzo",
        ),
        (0.7, "strasse, anschrift"),
    ),
    Kind.SPECIAL_CATEGORY: (
        (0.8, "ethnicity, ethnic, religion, religious, sexual orientation, political party, political view"),
        (0.8, "political affiliation, trade union, union membership, diagnosis, disability, hiv, pregnant"),
        (0.8, "pregnancy, health condition, medical condition, medical history, biometric"),
        (0.6, "disease"),
        (0.5, "race, genetic, blood type"),
    ),
    Kind.PERSON_ID: (
        (0.8, ", ".join(f"{person} {key}" for person in _PEOPLE for key in _IDS)),
        (0.8, ", ".join(f"{person}{key}" for person in _PEOPLE for key in ("id", "nr", "nummer", "number"))),
        (0.7, "username, user name, login name, nickname, mrn"),
    ),
    Kind.IP_ADDRESS: (
        (
            0.8,
            "ip address, ip addr, ipaddress, ipaddr, ipv, client ip, source ip, remote ip, remote addr",
        ),
        (0.7, "ip"),
    ),
    Kind.DEVICE_ID: (
        (0.8, "mac address, macaddress, imei, imsi, idfa, gaid, advertising id, cookie id, cookieid"),
        (0.5, "device id, deviceid"),
    ),
    Kind.BIRTH_DATE: (
        (0.9, "dob, birth date, birthdate, date birth, date of birth, dateofbirth, birthday, birth day"),
        (0.9, "birth year, birthyear, year of birth, yob, geburtsdatum, geburtstag, fecha nacimiento"),
        (0.9, "fecha de nacimiento, date naissance, date de naissance, data nascita, born"),
    ),
    Kind.POSTCODE: (
        (0.7, "zip, zipcode, zip code, postcode, post code, postal code, postalcode, plz, postleitzahl"),
        (0.7, "codigo postal, code postal"),
    ),
    Kind.LOCATION: (
        (0.7, "home latitude, home longitude, geolocation, gps, user latitude, user longitude"),
        (0.5, "latitude, longitude, lat, lon, lng, coordinates"),
    ),
    Kind.GENDER: ((0.7, "gender, sex, geschlecht, sexe, sexo, genero"), (0.6, "female, male")),
    Kind.AGE: (
        (0.7, ", ".join(f"{person} age, age of {person}" for person in _PEOPLE if person != "account")),
        (0.5, "age"),
    ),
}
_ABOUT: Final = frozenset(
    _words(
        "flag count cnt counts type provider domain verified valid validity status service services brand model plan"
        " consent sent opened clicked clicks length len score rate changes change lines category enabled present"
        " missing available preference preferred frequency campaign subject template body tenure balance amount"
        " charges fee limit used usage spend segment tier revenue value lifetime churn prob probability risk quality os format group"
    )
)
_BEFORE: Final = frozenset(
    _words(
        "has is num n nb count total avg mean was did can opt days months years hours weeks time times since of number"
    )
)
_FLAGS: Final = frozenset({Kind.GENDER, Kind.SPECIAL_CATEGORY})
_NOT_HOMES: Final = frozenset(
    [
        "email",
        "mail",
        "e",
        "ip",
        "ipv4",
        "ipv6",
        "mac",
        "web",
        "url",
        "http",
        "memory",
        "wallet",
        "network",
        "host",
        "device",
    ]
)


def _phrases() -> dict[tuple[str, ...], tuple[Kind, float]]:
    return {
        tuple(phrase.split()): (kind, confidence)
        for kind, lines in _PHRASES.items()
        for confidence, line in lines
        for phrase in line.split(", ")
    }


_KNOWN: Final = _phrases()
_LONGEST: Final = max(map(len, _KNOWN))


def words_of(name: str) -> tuple[str, ...]:
    """`customerID`, `Customer Id` and `customer_id` are the same words; accents and trailing numbers go."""
    spelled = name.replace("ß", "ss").replace("IPv", "ipv")
    plain = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    words = [part.lower() for part in _PARTS.findall(plain[:200])]
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    if "ipv" in words:  # the digit of ipv4 is part of the word
        words = [
            f"ipv{words[i + 1]}" if w == "ipv" and i + 1 < len(words) else w for i, w in enumerate(words)
        ]
    return tuple(words)


def kinds_by_name(name: str) -> dict[Kind, float]:
    """Kinds with how sure the name makes one."""
    words = words_of(name)
    found: dict[Kind, float] = {}
    for start, end, kind, confidence in _matches(words):
        if kind not in _FLAGS and _is_about(kind, words[:start], words[end:]):
            continue
        found[kind] = max(confidence, found.get(kind, 0.0))
    if Kind.PERSON_NAME in found and Kind.PERSON_ID in found:
        del found[Kind.PERSON_ID]
    return found


def _is_about(kind: Kind, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    """Whether the words around a phrase make it something about the thing; a flag says what it is named after."""
    around = {*before, *after}
    return (
        (bool(before) and before[0] in _BEFORE)
        or after[:1] == ("of",)
        or not _ABOUT.isdisjoint(around)
        or (kind is Kind.ADDRESS and not _NOT_HOMES.isdisjoint(around))
    )


def _matches(words: tuple[str, ...]) -> Iterator[tuple[int, int, Kind, float]]:
    for start in range(len(words)):
        for end in range(start + 1, min(start + _LONGEST, len(words)) + 1):
            known = _KNOWN.get(words[start:end])
            if known is not None:
                yield start, end, *known
