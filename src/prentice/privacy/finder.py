"""Finds all kinds in a text: the detectors in the order in which one is believed before the other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec

from prentice.errors import ConfigError, MissingExtraError
from prentice.privacy.accounts import ibans, is_account, is_card
from prentice.privacy.addresses import emails, ips
from prentice.privacy.config import Kind, PrivacyConfig
from prentice.privacy.digits import Run, numbers
from prentice.privacy.found import PLACEHOLDER, Found, Text, normal
from prentice.privacy.ids import ids, is_id
from prentice.privacy.keys import PASSWORD_KEY, keys
from prentice.privacy.phones import Phones

_REMEMBERED = 20_000
"""Texts whose finds are kept; system prompts and histories come again in every call."""
_WORTH_KEEPING = 200
"""Characters from which on looking a text up is quicker than reading it again."""
_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"\d(?:[^\w\n]{0,4}\d){5}")
_CODE = re.compile(r"[A-Z0-9]{8}|\w{6}\d\d\w\d\d", re.ASCII)
_LONG = re.compile(r"[\w\-]{16}", re.ASCII)
_SECRETS = ("pass", "pwd", "secret", "token", "bearer", "key", "://")
_PLAIN = re.compile(
    r"(?:[A-Za-z_]{1,15}(?:[ .']|\Z))*\Z|-?\d{1,5}(?:\.\d{1,2})?\Z|\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?Z?)?\Z",
    re.ASCII,
)
"""Short words or one short number, as most values of structured data are, and dates: nothing can be in them."""


def harmless(text: str, key: str) -> bool:
    """Whether a quick look shows that nothing can be in a value that stands under a key."""
    return _PLAIN.match(text) is not None and not (key and PASSWORD_KEY.search(key))


@lru_cache(8)
def finder(config: PrivacyConfig) -> Finder:
    """The finder of a configuration, made once in a process."""
    return Finder(config)


class Finder:
    """Finds what a configuration asks for.

    Raises: MissingExtraError if the libraries are not installed; ConfigError for a region that has no phone numbers.
    """

    def __init__(self, config: PrivacyConfig) -> None:
        _check(config)
        self._kinds = frozenset(config.kinds)
        self._phones = Phones(config.regions)
        self._allowed = {(kind, normal(kind, text)) for kind in config.kinds for text in config.allow}
        self._judges: list[tuple[Kind, Callable[[Run], bool]]] = [
            ("card", is_card),
            ("account", is_account),
            ("id", is_id),
            ("phone", self._phones.is_phone),
        ]
        self._known: dict[bytes, tuple[Found, ...]] = {}

    def find(self, text: Text) -> tuple[Found, ...]:
        """What is in a text, from its beginning to its end; no two overlap, and no placeholder is touched."""
        if harmless(text.text, text.key):
            return ()
        if len(text.text) < _WORTH_KEEPING:
            return self._find(text)
        name = _name(text)
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[name] = self._find(text)
        return found

    def _find(self, text: Text) -> tuple[Found, ...]:
        taken = bytearray(len(text.text))  # 1 where something was found
        for match in PLACEHOLDER.finditer(text.text):
            taken[match.start() : match.end()] = b"\1" * len(match[0])
        kept: list[Found] = []
        for found in self._candidates(text):
            size = found.end - found.start
            if found.kind not in self._kinds or size <= 0 or taken.find(1, found.start, found.end) >= 0:
                continue
            taken[found.start : found.end] = b"\1" * size  # what is allowed hides what lies in it
            if (found.kind, normal(found.kind, text.text[found.start : found.end])) not in self._allowed:
                kept.append(found)
        return tuple(sorted(kept, key=lambda found: found.start))

    def _candidates(self, text: Text) -> Iterator[Found]:
        """Finds of every kind, overlapping, the surest first; a quick look says which detectors need not run."""
        said = text.text
        if "key" in self._kinds and (text.key or _LONG.search(said) or _names_a_secret(said)):
            yield from keys(text)
        if "@" in said or "(" in said or "[" in said:
            yield from emails(text)
        if not _DIGIT.search(said):
            return
        if said.count(".") > 2 or said.count(":") > 1:
            yield from ips(text)
        if _DIGITS.search(said) or _CODE.search(said):
            yield from ibans(text)
            yield from numbers(text, self._judge)
            yield from ids(text)

    def _judge(self, run: Run) -> Kind | None:
        return next((kind for kind, judge in self._judges if kind in self._kinds and judge(run)), None)


def _names_a_secret(text: str) -> bool:
    lower = text.lower()
    return any(word in lower for word in _SECRETS)


def _name(text: Text) -> bytes:
    return hashlib.blake2b(f"{text.key}\0{text.text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _check(config: PrivacyConfig) -> None:
    for module in ("phonenumbers", "stdnum", "kingfisher_sdk"):
        if find_spec(module) is None:
            raise MissingExtraError(
                f"looking for personal data needs {module!r}, which is not installed", 'pip install "prentice[privacy]"'
            )
    from phonenumbers import SUPPORTED_REGIONS

    if unknown := [region for region in config.regions if region not in SUPPORTED_REGIONS]:
        raise ConfigError(f"privacy.regions: no country has the letters {unknown[0]!r}", "name countries as US, GB, DE")
