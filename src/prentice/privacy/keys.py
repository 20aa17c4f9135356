"""Keys, tokens and passwords: the forms that providers give them, and the words that call a text a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from prentice.privacy.found import Found, Text

if TYPE_CHECKING:
    from kingfisher_sdk import Scanner

_LONG = re.compile(r"[\w\-]{16}", re.ASCII)
"""No key is shorter, so a text without it need not be scanned."""
_IN_URL = re.compile(r"://[^\s:/@\[\]]*:([^\s/@\[\]]{1,256})@")
_NAMED = re.compile(
    r"(?<![A-Za-z])(?:(?P<password>pass(?:word|wd|code|phrase)|pwd)"
    r"|(?:api|access|secret|private|account|auth|client|signing|license|encryption)[_ -]?(?:key|token|secret)"
    r"|token|secret|bearer)"
    r"(?:\\?[\"'])?(?:\s*(?::=|=>|[:=])\s*|\s+(?:is|was)\s*:?\s+|(?<=bearer)\s+|(?<=Bearer)\s+)(?:\\?[\"'`])?"
    # one name may follow another: the value is only looked at
    r"(?=(?P<value>[^\s\"'`\\,;<>{}()\[\]]{6,512}))",
    re.IGNORECASE,
)
PASSWORD_KEY = re.compile(r"pass(?:word|wd|code|phrase)?$|pwd$", re.IGNORECASE)
_SECRET_KEY = re.compile(r"(?:secret|token|(?:api|access|private|secret|auth)[_-]?key)$", re.IGNORECASE)
"""Names of values in structured data."""
_PREFIXED = re.compile(
    r"(?<![\w-])(?:(?:sk|rk|pat|key|token|secret)[-_][\w-]{20,200}"
    r"|[A-Za-z]{2,12}[-_](?:[A-Za-z0-9]{1,8}[-_]){0,2}[A-Za-z0-9]{20,200}"
    r"|(?:AKIA|ASIA)[A-Z2-7]{16}|\d{8,12}:AA[\w-]{33})(?![\w-])",
    re.ASCII,
)
"""`name_` before many mixed letters and digits, as most providers write their keys."""
_IDS = frozenset(
    {"call", "toolu", "chatcmpl", "cmpl", "msg", "resp", "req", "run", "thread", "asst", "file", "fc", "rs"}
)
"""Prefixes that providers give to the ids of calls and answers, which are no secrets."""
_FULL_STOP = re.compile(r"[.,;:!?)\]}>]+(?=\s|$)")
_LINE_END = r"(?:\s|\\[nr])*"
_BLOCK = re.compile(
    rf"-----BEGIN [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----(?:{_LINE_END}[A-Za-z0-9+/]{{16,}}={{0,2}})*"
    rf"(?:{_LINE_END}[A-Za-z0-9+/=]{{0,80}}{_LINE_END}-----END [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----)?"
)
"""A private key, also one whose end was cut off."""


def keys(text: Text) -> Iterator[Found]:
    """Keys and passwords; the words around them stay."""
    said = text.text
    yield from (Found("key", *match.span(1)) for match in _IN_URL.finditer(said))
    for match in _NAMED.finditer(said):
        start, value = match.start("value"), match["value"].rstrip(".!?:")
        if _secret(value, password=match["password"] is not None):
            yield Found("key", start, start + len(value))
    if text.key and _is_secret_value(text):
        yield Found("key", 0, len(said))
    if _LONG.search(said):
        yield from (Found("key", *match.span()) for match in _BLOCK.finditer(said))
        yield from (Found("key", *match.span()) for match in _PREFIXED.finditer(said) if _random(match[0]))
        yield from _known_forms(said)


def _is_secret_value(text: Text) -> bool:
    """Whether the key that a value stands under calls it a secret."""
    if " " in text.text or not 4 <= len(text.text) <= 4096:
        return False
    return PASSWORD_KEY.search(text.key) is not None or (
        _SECRET_KEY.search(text.key) is not None and _secret(text.text, password=False)
    )


def _known_forms(text: str) -> Iterator[Found]:
    """What the scanner's rules know; its places are counted in bytes."""
    # the rules end a key at a space or a quote, people at a full stop; what replaces it is as long
    data = _FULL_STOP.sub(lambda stop: " " * len(stop[0]), text).encode("utf-8", "replace")
    for finding in scanner().scan(data):
        start, end = finding.location["start_offset"], finding.location["end_offset"]
        if not text.isascii():
            start, end = (len(data[:place].decode("utf-8", "ignore")) for place in (start, end))
        yield Found("key", start, end)


@cache
def scanner() -> Scanner:
    """The scanner with its rules, compiled once on a machine and then read in half a second."""
    from kingfisher_sdk import Rules, Scanner

    return Scanner(Rules(confidence="low"), base64=False)


def _secret(text: str, *, password: bool) -> bool:
    """Whether a text that was called a secret is none of the words that follow such a name in plain speech."""
    if password:
        return re.search(r"[0-9]|\w[^\w\s'’.-]|[a-z][A-Z]", text) is not None
    return len(text) >= 16 and re.search("[0-9]", text) is not None and re.search("[A-Za-z]", text) is not None


def _random(text: str) -> bool:
    """Whether a text with a prefix is a key: it goes on with mixed letters and digits, and is no id of a call."""
    prefix, _, rest = text.replace("_", "-").partition("-")
    if not rest:
        return True
    digits, small, large = (sum(map(kind, rest)) for kind in (str.isdigit, str.islower, str.isupper))
    mixed = (digits > 2 and small + large > 2) or min(digits * 4, small, large) > 3
    return mixed and prefix.lower() not in _IDS
