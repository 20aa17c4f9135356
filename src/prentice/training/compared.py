"""Which rows a run compares with the padded batch before its first step. Knows lengths only."""

from __future__ import annotations

from collections.abc import Sequence

MOST_ROWS = 6
MOST_TOKENS = 512
"""With padding: the reference computes the whole vocabulary at each, and keeps every layer's attention."""
LONGEST = 512
"""Tokens of a row that are compared, from its beginning: the reference's attention over 2 048 would take 17 GiB."""


def compared(lengths: Sequence[int]) -> tuple[int, int]:
    """How many of the first rows are compared, and the tokens of the longest of them.

    At most six, as far as they are short, but two if there are two.

    Args:
        lengths: tokens of each training row, in their order.
    """
    cut = [min(length, LONGEST) for length in lengths[:MOST_ROWS]]
    fits = [n for n in range(1, len(cut) + 1) if n * max(cut[:n]) <= MOST_TOKENS]
    rows = max([*fits, min(2, len(cut))])
    return rows, max(cut[:rows])
