"""Numbers of national registers, by their own check digits.

A digit of a check lets one in ten through, so a number says little and a column of them says all: the finder
asks for most of many different values.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stdnum.at import vnr
from stdnum.au import tfn
from stdnum.be import nn
from stdnum.bg import egn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ch_ssn
from stdnum.cl import rut
from stdnum.cn import ric
from stdnum.cz import rc
from stdnum.de import idnr as de_idnr
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.exceptions import ValidationError
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.gr import amka
from stdnum.hr import oib
from stdnum.il import idnr as il_idnr
from stdnum.in_ import aadhaar
from stdnum.is_ import kennitala
from stdnum.it import codicefiscale
from stdnum.jp import in_ as jp_in
from stdnum.kr import rrn
from stdnum.lt import asmens
from stdnum.mx import curp
from stdnum.nl import bsn
from stdnum.no import fodselsnummer
from stdnum.pl import pesel
from stdnum.pt import nif
from stdnum.ro import cnp
from stdnum.se import personnummer
from stdnum.tr import tckimlik
from stdnum.us import ssn as us_ssn
from stdnum.za import idnr as za_idnr

Check = Callable[[str], object]
_NINO: Final = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]\Z")
_SSN: Final = re.compile(r"[0-9]{3}-[0-9]{2}-[0-9]{4}\Z")
_COMPACT: Final = re.compile(r"[ ./-]")


def _nino(number: str) -> str:
    if not _NINO.match(number):
        raise ValidationError
    return number


_DIGITS: Final[Mapping[str, tuple[Check, tuple[int, ...]]]] = {
    "at.vnr": (vnr.validate, (10,)),
    "au.tfn": (tfn.validate, (9,)),
    "be.nn": (nn.validate, (11,)),
    "bg.egn": (egn.validate, (10,)),
    "br.cpf": (cpf.validate, (11,)),
    "ca.sin": (sin.validate, (9,)),
    "ch.ssn": (ch_ssn.validate, (13,)),
    "cn.ric": (ric.validate, (18,)),
    "cz.rc": (rc.validate, (10,)),
    "de.idnr": (de_idnr.validate, (11,)),
    "ee.ik": (ik.validate, (11,)),
    "fr.nir": (nir.validate, (15,)),
    "gb.nhs": (nhs.validate, (10,)),
    "gr.amka": (amka.validate, (11,)),
    "hr.oib": (oib.validate, (11,)),
    "il.idnr": (il_idnr.validate, (9,)),
    "in.aadhaar": (aadhaar.validate, (12,)),
    "is.kennitala": (kennitala.validate, (10,)),
    "jp.in": (jp_in.validate, (12,)),
    "kr.rrn": (rrn.validate, (13,)),
    "lt.asmens": (asmens.validate, (11,)),
    "nl.bsn": (bsn.validate, (9,)),
    "no.fodselsnummer": (fodselsnummer.validate, (11,)),
    "pl.pesel": (pesel.validate, (11,)),
    "pt.nif": (nif.validate, (9,)),
    "ro.cnp": (cnp.validate, (13,)),
    "se.personnummer": (personnummer.validate, (10, 12)),
    "tr.tckimlik": (tckimlik.validate, (11,)),
    "za.idnr": (za_idnr.validate, (13,)),
}
_LETTERS: Final[Mapping[str, tuple[Check, tuple[int, ...]]]] = {
    "cl.rut": (rut.validate, (8, 9)),
    "cn.ric": (ric.validate, (18,)),
    "es.dni": (dni.validate, (9,)),
    "es.nie": (nie.validate, (9,)),
    "fi.hetu": (hetu.validate, (10, 11)),
    "gb.nino": (_nino, (9,)),
    "it.codicefiscale": (codicefiscale.validate, (16,)),
    "mx.curp": (curp.validate, (18,)),
}


def _by_length(
    checks: Mapping[str, tuple[Check, tuple[int, ...]]],
) -> Mapping[int, Sequence[tuple[str, Check]]]:
    found: dict[int, list[tuple[str, Check]]] = defaultdict(list)
    for name, (check, lengths) in checks.items():
        for length in lengths:
            found[length].append((name, check))
    return found


_OF_DIGITS, _OF_LETTERS = _by_length(_DIGITS), _by_length(_LETTERS)


def national_ids(text: str) -> tuple[str, ...]:
    """The registers of which this may be a number, such as `nl.bsn`; `text` is ASCII and short."""
    if _SSN.match(text):
        return ("us.ssn",) if us_ssn.is_valid(text) else ()  # no check digit, but a form of its own
    compact = _COMPACT.sub("", text).upper()
    if not 8 <= len(compact) <= 18:
        return ()
    if compact.isdigit():
        return tuple(name for name, check in _OF_DIGITS.get(len(compact), ()) if _holds(check, text, compact))
    if not any(c.isdigit() for c in compact):
        return ()
    return tuple(name for name, check in _OF_LETTERS.get(len(compact), ()) if _holds(check, text, compact))


def _holds(check: Check, text: str, compact: str) -> bool:
    # A Finnish number keeps its century in the separator, a Swedish one its dash.
    given = text if check in (hetu.validate, personnummer.validate) else compact
    try:
        check(given)
    except (ValidationError, ValueError, LookupError):  # some raise the latter for a wrong date or place
        return False
    return True
