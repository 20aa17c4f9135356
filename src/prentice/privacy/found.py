"""What was found in a text, and the words before it that say what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from prentice.privacy.config import KINDS, Kind

PLACEHOLDER = re.compile(r"\[(" + "|".join(kind.upper() for kind in KINDS) + r")_(\d{1,9})\]")
"""What stands in a text that was redacted."""
_JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-.\d]+")
"""Where the words of a key meet: phoneNumber, phone_number_2."""
_BEFORE = 60
"""Characters before a number that may say what it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """A stretch of a text, from `start` up to but without `end`, in characters."""

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Text:
    """A text and the key it stands under, if it is a value of structured data."""

    text: str
    key: str = ""

    def before(self, start: int) -> str:
        """The words before `start`, in lower case, the key's first; placeholders of earlier finds say nothing."""
        words = self.text[max(0, start - _BEFORE) : start]
        if "[" in words:
            words = PLACEHOLDER.sub(" ", words)
        if self.key and start <= _BEFORE:
            words = f"{_JOINTS.sub(' ', self.key)}: {words}"
        return words.lower()


def normal(kind: Kind, text: str) -> str:
    """The same for all spellings of one value."""
    if kind == "email":
        return text.casefold()
    if kind == "phone":
        digits = re.sub(r"(?i)\s*(?:x|ext).*|\(0\)|\D", "", text)
        return digits.lstrip("0")[-9:]  # with a country code or without, it is the same number
    return text if kind == "key" else "".join(filter(str.isalnum, text)).casefold()
