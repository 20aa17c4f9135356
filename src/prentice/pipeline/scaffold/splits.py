"""Which rows are held out: by a hash of their text, so that new rows move no old one; what is nearly the same text
stays together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prentice.curation.duplicates import near_pairs
from prentice.records import digest

NEAR = 0.8
"""Share of common 5-character pieces from which on two texts must not be in two splits."""
LARGEST_GROUP = 0.2
"""Where more of the rows than this hang together as near duplicates, they are texts of one mould: then only texts that
are equal are kept together."""


def assign(texts: Sequence[str], test_share: float) -> tuple[list[str], bool]:
    """`train` or `test` for each text.

    Returns: the splits, and whether near duplicates were kept together (else only equal texts).
    """
    plain = [" ".join(text.lower().split()) for text in texts]
    groups = _near_groups(plain)
    together = max(Counter(groups).values(), default=0) <= max(2, LARGEST_GROUP * len(plain))
    if not together:
        first = {text: number for number, text in reversed(list(enumerate(plain)))}
        groups = [first[text] for text in plain]
    return ["test" if _place(plain[group]) < test_share else "train" for group in groups], together


def _near_groups(texts: Sequence[str]) -> list[int]:
    """For each text the position of its group's member whose text sorts first, whatever the order of the rows."""
    leader = list(range(len(texts)))

    def root(position: int) -> int:
        while leader[position] != position:
            leader[position] = leader[leader[position]]
            position = leader[position]
        return position

    for a, b in near_pairs(texts, NEAR, seed=0):
        one, other = sorted((root(a), root(b)), key=lambda position: (texts[position], position))
        leader[other] = one
    return [root(position) for position in range(len(texts))]


def _place(text: str) -> float:
    """A number in [0, 1) that a text always has."""
    return int(digest(text)[:8], 16) / 16**8
