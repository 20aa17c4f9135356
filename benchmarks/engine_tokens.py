"""Examples as token rows for a trainer that takes one row at a time, and what these rows have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path

from engine_rows import Workload
from prentice.training.check import CheckedRow
from prentice.training.start import open_checker

IGNORED = -100
"""Label of a token that is not supervised."""
TokenRow = dict[str, list[int]]
"""`input_ids` and `labels`, as TRL takes them."""


def checked(workload: Workload) -> list[CheckedRow]:
    """The rows as prentice tokenises them."""
    return open_checker(2048, Path("rows"), workload.base).check(workload.examples)


def per_row(rows: Sequence[CheckedRow]) -> list[TokenRow]:
    """One row each, its reply supervised."""
    return [
        {"input_ids": list(r.row.tokens), "labels": [IGNORED] * len(r.row.prompt) + list(r.row.reply)} for r in rows
    ]


def per_conversation(rows: Sequence[CheckedRow]) -> list[TokenRow]:
    """One row for all turns of an episode, each reply supervised.

    Raises: ValueError if a turn's tokens are not the beginning of the next one's, so that one row could not stand for
        both.
    """
    found: list[TokenRow] = []
    for _, turns in groupby(rows, key=lambda r: r.example.episode):
        ordered = sorted(turns, key=lambda r: r.example.turn)
        for turn, later in pairwise(ordered):
            if later.row.tokens[: len(turn.row.tokens)] != turn.row.tokens:
                raise ValueError(f"{turn.example.id}: its tokens do not begin the next turn's")
        ids = list(ordered[-1].row.tokens)
        labels = [IGNORED] * len(ids)
        for turn in ordered:
            labels[len(turn.row.prompt) : len(turn.row.tokens)] = turn.row.reply
        found.append({"input_ids": ids, "labels": labels})
    return found


def described(rows: Sequence[CheckedRow]) -> str:
    """How long the rows are and what they share, in words."""
    lengths = [len(r.row.tokens) for r in rows]
    supervised = sum(len(r.row.reply) for r in rows) / len(rows)
    mean, shared = sum(lengths) / len(rows), common(rows)
    return (
        f"{len(rows)} rows of {mean:.0f} tokens ({min(lengths)} to {max(lengths)}), "
        f"{shared} of them common to all, {supervised:.1f} supervised"
    )


def common(rows: Sequence[CheckedRow]) -> int:
    """Tokens that all rows begin with."""
    low, high = min(r.row.tokens for r in rows), max(r.row.tokens for r in rows)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
