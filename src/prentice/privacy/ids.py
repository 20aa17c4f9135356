"""National ids: those with a form or a checksum that nothing else has, and those that the words before them name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module

from prentice.privacy.accounts import TAIL
from prentice.privacy.digits import Run
from prentice.privacy.found import Found, Text

# the United States compute no check digit
_SSN = re.compile(r"\d{3}-\d\d-\d{4}")
_DIGITS = {
    "br.cpf": re.compile(r"\d{3}\.\d{3}\.\d{3}-\d\d"),
    "in_.aadhaar": re.compile(r"[2-9]\d{3} \d{4} \d{4}"),
    "fr.nir": re.compile(r"[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d\d ?\d{3} ?\d{3} ?\d\d"),
    "ch.ssn": re.compile(r"756\.\d{4}\.\d{4}\.\d\d"),
    "se.personnummer": re.compile(r"(?:19|20)?\d\d(?:0[1-9]|1[0-2])[0-3]\d-\d{4}"),
}
"""Forms of digits, by the module of stdnum that proves the checksum."""
_LETTERS = {
    "it.codicefiscale": re.compile(
        r"(?<!\w)[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z](?!\w)", re.IGNORECASE | re.ASCII
    ),
    "es.nif": re.compile(r"(?<!\w)(?:\d{8}|[XYZ]\d{7})-?[A-Z](?!\w)", re.ASCII),
    "fi.hetu": re.compile(r"(?<!\w)[0-3]\d[01]\d\d\d[-+A]\d{3}[0-9A-Z](?!\w)", re.ASCII),
    "mx.curp": re.compile(r"(?<!\w)[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d(?!\w)", re.ASCII),
    "in_.pan": re.compile(r"(?<!\w)[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z](?!\w)", re.ASCII),
}
# the British authorities publish the form and no checksum
_NINO = re.compile(
    r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D](?!\w)", re.ASCII
)
_NAMED = re.compile(
    r"\b(?:ssn|social (?:security|insurance)|national (?:id|identity|insurance)|nino|nhs|identity card"
    r"|id card|tax(?:payer)? (?:id|identification)|tin|itin|passport|driv(?:er'?s?|ing) licen[cs]e|pesel|cpf|aadhaar"
    r"|dni|nie|nif|bsn|curp|personnummer|steuer-?id|sozialversicherung\w*|codice fiscale|medicare|tfn)\b" + TAIL
)
_TOKEN = re.compile(r"(?<![\w-])(?=[A-Z-]*\d)[A-Z0-9](?:-?[A-Z0-9]){4,17}(?![\w-])", re.ASCII)


def is_id(run: Run) -> bool:
    """Whether its form and checksum make it an id, or the words before it name one."""
    if _SSN.fullmatch(run.text) or any(
        form.fullmatch(run.text) and _proved(module, run.text) for module, form in _DIGITS.items()
    ):
        return True
    return _names_an_id(run.before)


@lru_cache(256)
def _names_an_id(before: str) -> bool:
    return _NAMED.search(before) is not None


def ids(text: Text) -> Iterator[Found]:
    """Ids that hold letters."""
    for module, form in _LETTERS.items():
        for match in form.finditer(text.text):
            if _proved(module, match[0]):
                yield Found("id", *match.span())
    yield from (Found("id", *match.span()) for match in _NINO.finditer(text.text))
    for match in _TOKEN.finditer(text.text):
        if _names_an_id(text.before(match.start())):
            yield Found("id", *match.span())


def _proved(module: str, text: str) -> bool:
    return bool(import_module(f"stdnum.{module}").is_valid(text))
