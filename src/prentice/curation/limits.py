"""How many rows stay, and which of them watch over training instead of taking part in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Literal

from prentice.curation.rows import Row, draw, shown_first, still_in

_VAL_FROM = 10
"""From this many rows on, one case is always set aside for validation."""


def drop_over_reply_cap(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """Leave at most `most` rows of each distinct reply: demonstrations first, then drawn by `seed`."""
    count: Counter[Hashable] = Counter()
    for row in _in_turn(rows, seed):
        count[row.reply] += 1
        if count[row.reply] > most:
            row.fate = "over max_per_reply"
    return still_in(rows)


def drop_over_total(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """Leave at most `most` rows: demonstrations first, then drawn by `seed`."""
    for row in _in_turn(rows, seed)[most:]:
        row.fate = "over max_rows"
    return still_in(rows)


def val_cases(rows: Mapping[str, int], given: Collection[str], share: float, seed: int) -> set[str]:
    """Which cases make up the validation split; a case is never in both.

    Args:
        rows: case → number of rows.
        given: the cases that the task itself set aside for validation; where there are any, no others are.
        share: of the cases that go to validation otherwise, by a hash of case and seed.
    """
    if given:
        return set(given)
    drawn = sorted((draw(seed, "split", case), case) for case in rows)
    chosen = {case for number, case in drawn if number < share}
    if share > 0 and not chosen and sum(rows.values()) >= _VAL_FROM:
        chosen = {drawn[0][1]}
    if drawn and len(chosen) == len(drawn):  # training cannot do without a case
        chosen.remove(drawn[-1][1])
    return chosen


def split_rows(rows: Sequence[Row], val: Collection[str]) -> None:
    """Write each row's split into it."""
    for row in rows:
        split: Literal["train", "val"] = "val" if row.example.case in val else "train"
        row.example = row.example.model_copy(update={"split": split})


def _in_turn(rows: Sequence[Row], seed: int) -> list[Row]:
    return shown_first(sorted(rows, key=lambda row: draw(seed, "limit", row.example.id)))
