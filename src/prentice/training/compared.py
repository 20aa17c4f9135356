"""Which rows a run compares with the padded batch before its first step. Knows lengths only."""

from __future__ import annotations

from collections.abc import Sequence

MOST_ROWS = 6
MOST_TOKENS = 512
"""With padding: the reference computes the whole vocabulary at each, and keeps every layer's attention."""


def compared(lengths: Sequence[int]) -> int:
    """How many of the first rows are compared: at most six, as far as they are short, but two if there are two.

    Args:
        lengths: tokens of each training row, in their order.
    """
    fits = [n for n in range(1, min(MOST_ROWS, len(lengths)) + 1) if n * max(lengths[:n]) <= MOST_TOKENS]
    return max([*fits, min(2, len(lengths))])
