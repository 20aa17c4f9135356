"""Placeholders: the same value has the same one in all of an episode."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

from prentice.privacy.config import KINDS, Kind
from prentice.privacy.found import PLACEHOLDER, normal


class Names:
    """Gives every value of one episode its number; it keeps hashes of the values, not the values.

    Args:
        written: the episode as text, asked for once and only when something was found: a number that it already
            holds, because it was redacted before, is not given to another value.
    """

    def __init__(self, written: Callable[[], str] = str) -> None:
        self._written = written
        self._given: dict[tuple[Kind, bytes], int] = {}
        self._last: Counter[Kind] | None = None
        self.new: Counter[Kind] = Counter()
        """How many values of each kind were named."""

    def placeholder(self, kind: Kind, value: str) -> str:
        """The placeholder of a value."""
        digest = hashlib.blake2b(normal(kind, value).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        number = self._given.get((kind, digest))
        if number is None:
            number = self._given[kind, digest] = self._next(kind)
        return f"[{kind.upper()}_{number}]"

    def _next(self, kind: Kind) -> int:
        if self._last is None:
            self._last = _taken(self._written())
        self._last[kind] += 1
        self.new[kind] += 1
        return self._last[kind]


def _taken(written: str) -> Counter[Kind]:
    by_name: dict[str, Kind] = {kind.upper(): kind for kind in KINDS}
    last: Counter[Kind] = Counter()
    for name, number in PLACEHOLDER.findall(written):
        kind = by_name[name]
        last[kind] = max(last[kind], int(number))
    return last
