"""Payment cards and bank accounts: what a checksum proves, and what the words before a number call an account."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from prentice.privacy.digits import Run
from prentice.privacy.found import Found, Text

_BRANDS = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}(?:\d{2})?"
    r"|35\d{14}|(?:1800|2131)\d{11}|6(?:011|4[4-9]\d|5\d\d)\d{12}(?:\d{3})?|62\d{14,17}|(?:50|5[6-8]|6[0-9])\d{10,17}"
)
"""How numbers of Visa, Mastercard, American Express, Diners, JCB, Discover, UnionPay and Maestro begin."""
_LINK = r"(?:[\s:#\"'=(\-]|(?<=no)\.|(?<=nr)\.|(?<=num)\.|(?<=acct)\.)*"
TAIL = rf"{_LINK}(?:(?:number|num|no|nr|code)\b{_LINK})?(?:(?:is|was|of|for|to|s)\b{_LINK})*$"
"""What may stand between the name of a number and the number."""
_ACCOUNT = re.compile(
    r"\b(?:account|acct|a/c|routing|sort[ -]?code|aba|kontonummer|konto|compte|cuenta|conto corrente|iban)\b" + TAIL
)
_IBAN = re.compile(
    r"(?<!\w)[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|([ -])[A-Z0-9]{4}(?:\1[A-Z0-9]{4}){1,6}(?:\1[A-Z0-9]{1,4})?)(?!\w)",
    re.IGNORECASE | re.ASCII,
)
_SHORTEST_IBAN, _FEWEST_DIGITS = 15, 8


def is_card(run: Run) -> bool:
    """Whether it is a number that a card scheme gives out: its beginning, its length, and its Luhn digit."""
    from stdnum import luhn

    separators = set(re.split(r"\d+", run.text)[1:-1])
    even = len(separators) <= 1 and min(map(len, run.groups)) >= 3
    return even and _BRANDS.fullmatch(run.digits) is not None and bool(luhn.is_valid(run.digits))


def is_account(run: Run) -> bool:
    """Whether the words before it call it an account, a routing number or a sort code."""
    return len(run.digits) <= 18 and _names_an_account(run.before)


@lru_cache(256)
def _names_an_account(before: str) -> bool:
    return _ACCOUNT.search(before) is not None


def ibans(text: Text) -> Iterator[Found]:
    """International bank account numbers with right check digits, of any country and length."""
    for match in _IBAN.finditer(text.text):
        written = match[0]
        while written and not _is_iban(re.sub("[ -]", "", written)):
            written = written.rpartition(match[1])[0] if match[1] else ""  # its last group may be a word after it
        if written:
            yield Found("account", match.start(), match.start() + len(written))


def _is_iban(text: str) -> bool:
    from stdnum.iso7064 import mod_97_10

    return (
        len(text) >= _SHORTEST_IBAN
        and sum(map(str.isdigit, text)) >= _FEWEST_DIGITS
        and bool(mod_97_10.is_valid(text[4:] + text[:4]))
    )
