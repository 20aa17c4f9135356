"""Phone numbers: what libphonenumber calls one, and the words before a bare number that say whether it is one."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from prentice.privacy.digits import Run

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_PHONE = (
    r"phone|telephone|tel|mobile|cell|cellphone|cellular|call|called|calling|whatsapp|sms|text|fax|reach|reached|contact|dial|"
    r"ring|handy|telefon|telefonnummer|rufnummer|t[ée]l[ée]phone|portable|m[óo]vil|tel[ée]fono|celular|cellulare|hotline"
)
_OTHER = (
    r"order|item|product|account|reservation|booking|confirmation|ticket|tracking|invoice|reference|ref|sku|id|zip|"
    r"flight|policy|case|price|amount|total|cost|serial|model|version|isbn|card|certificate|transaction|user|payment|"
    r"date|size|barcode|code|quantity|parcel|package|shipment|variant|upc|ean|imei|timestamp|version|population|budget"
)
_LABEL = re.compile(rf"(?<![a-z])(?:(?P<phone>{_PHONE})|(?:{_OTHER})s?)(?![a-z])|#")
_AMERICAN = re.compile(r"(?:(?:\+|00)?1[-. /]{1,2}|1)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. /])[-. ]?[2-9]\d\d[-. ]\d{4}")
_AMERICAN_SHAPE = re.compile(r"(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}")
_BARE_AMERICAN = re.compile(r"1?[2-9]\d\d[2-9]\d{6}")
_SPACED_DASH = re.compile(r"\s[-/]\s")
_SENTENCE_END = re.compile(r"[.!?]\s")
_FAR, _NEAR_BARE, _NEAR_GROUPED = 100, 40, 12
"""Characters within which another name, such as order, says that a number is no phone number."""
_FEWEST, _MOST = 7, 15
_FEWEST_UNNAMED = 9


class Phones:
    """Knows the phone numbers of some countries, and of all with their country code.

    Args:
        regions: countries by two letters.
    """

    def __init__(self, regions: tuple[str, ...]) -> None:
        self._regions = regions
        self._american = bool({"US", "CA"} & set(regions))

    def is_phone(self, run: Run) -> bool:
        """Whether a run of digits is a phone number, by its form, its country's rules and the words before it."""
        if not _FEWEST <= len(run.digits) <= _MOST + 2:
            return False
        if "+" in run.text[:3]:
            return _international(run.digits, sure=False)
        if len(run.groups) > 1 and self._american and _AMERICAN.fullmatch(run.text):
            return True
        if run.digits.startswith("00") and len(run.digits) >= 11:
            return _international(run.digits.removeprefix("00"), sure=True)
        label = _label(run)
        if label is None:
            return self._looks_like_one(run)
        return label and not _SPACED_DASH.search(run.text) and len(run.digits) <= _MOST

    def _looks_like_one(self, run: Run) -> bool:
        """Whether it is one although nothing calls it so: it is valid, and written as people write phone numbers."""
        if self._american and _AMERICAN_SHAPE.fullmatch(run.text):
            return True
        trunk = run.digits.startswith("0")
        if len(run.digits) < _FEWEST_UNNAMED or not _written_evenly(run):
            return False
        if len(run.groups) == 1:
            american = self._american and _BARE_AMERICAN.fullmatch(run.digits)
            named = run.whole or trunk or american
            return bool(named) and len(run.digits) >= 10 and bool(_valid(run.digits, self._regions))
        opened = run.first and (trunk or run.text.startswith("("))
        if not (opened or run.alone):
            return False
        known = _valid(run.digits, self._regions)
        return bool(known) if opened else any(_grouping(number) == run.groups for number in known)


@lru_cache(4096)
def _valid(digits: str, regions: tuple[str, ...]) -> tuple[PhoneNumber, ...]:
    """The numbers that the digits are in these countries."""
    from phonenumbers import NumberParseException, is_valid_number_for_region, parse

    known = []
    for region in regions:
        with suppress(NumberParseException):
            number = parse(digits, region)
            if is_valid_number_for_region(number, region):
                known.append(number)
    return tuple(known)


def _label(run: Run) -> bool | None:
    """Whether the words before it call it a phone number, or something else; None: they say nothing."""
    phone, between = _last_name(run.before)
    if phone:
        return True
    near = _NEAR_GROUPED if len(run.groups) > 1 else _NEAR_BARE
    return False if len(between) <= near and not _SENTENCE_END.search(between) else None


@lru_cache(256)
def _last_name(before: str) -> tuple[bool, str]:
    """Whether the last name of a number among some words is one of a phone, and what stands behind it."""
    names = list(_LABEL.finditer(before))
    return (names[-1]["phone"] is not None, before[names[-1].end() :]) if names else (False, before + " " * _FAR)


def _written_evenly(run: Run) -> bool:
    """Whether its groups are none of a table, a score or a clause number: 0.37 0.45, 7-6 (7-1), 552.238-70."""
    if min(map(len, run.groups)) < 2 or _SPACED_DASH.search(run.text):
        return False
    signs = set(re.sub(r"[\d()]", "", run.text))
    return len(signs) <= 1 or signs in ({" ", "-"}, {" ", "/"})


def _international(digits: str, *, sure: bool) -> bool:
    """Whether it is a number with its country code; one that is not given out will do if a + stands before it."""
    from phonenumbers import NumberParseException, is_possible_number, is_valid_number, parse

    try:
        number = parse(f"+{digits}", None)
    except NumberParseException:
        return False
    return bool(is_valid_number(number) or (not sure and len(digits) > 9 and is_possible_number(number)))


def _grouping(number: PhoneNumber) -> tuple[str, ...]:
    """The groups in which its own country writes it, without the leading 0 that is dialled before it."""
    from phonenumbers import PhoneNumberFormat, format_number

    first, *others = re.findall(r"\d+", format_number(number, PhoneNumberFormat.NATIONAL))
    return tuple(filter(None, (first.lstrip("0"), *others)))
