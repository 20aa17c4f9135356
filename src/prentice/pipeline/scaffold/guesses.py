"""What the columns of a table seem to be, and how its answers can be graded: each guess with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from prentice.errors import DataError
from prentice.pipeline.scaffold.tables import Table
from prentice.tasks.graders.number import read_number

OUTPUTS = (
    "expected",
    "output",
    "answer",
    "label",
    "target",
    "result",
    "response",
    "reply",
    "category",
    "class",
    "intent",
)
INPUTS = ("text", "input", "message", "question", "prompt", "body", "content", "ticket", "email", "note", "description")
KNOWN = ("id", "split")
"""Columns of these names are taken for what they are, never for an input."""
MOST_LABELS = 50
SHARE_OF_LABELS = 0.2
"""At most so many different answers a row, and they are labels."""
LONG = 120
"""Characters from which an answer is a free text, which no comparison grades well."""


class Guess(NamedTuple):
    """What is taken, and why."""

    value: str
    reason: str


def guess_output(table: Table) -> Guess:
    """The column that should come out.

    Raises: DataError if there is but one column.
    """
    columns = [name for name in table.columns if name.lower() not in KNOWN]
    if len(columns) < 2:
        raise DataError(
            f"{table.path}: only the column {', '.join(columns) or 'id'}: nothing says what should come out",
            "add a column with the right answers",
        )
    for known in OUTPUTS:
        if named := next((name for name in columns if name.lower() == known), None):
            return Guess(named, "by its name")
    return Guess(columns[-1], "the last column")


def guess_inputs(table: Table, output: str) -> Guess:
    """The column that comes in."""
    columns = [name for name in table.columns if name != output and name.lower() not in KNOWN]
    if not columns:
        raise DataError(f"{table.path}: beside {output!r} there is no column that could come in", "add the texts")
    for known in INPUTS:
        if named := next((name for name in columns if name.lower() == known), None):
            return Guess(named, "by its name")
    longest = max(columns, key=lambda name: sum(map(len, table.values(name))))
    return Guess(longest, "the longest texts")


def guess_grader(values: Sequence[str]) -> Guess:
    """How answers like these are graded."""
    given = [value.strip() for value in values if value.strip()]
    if not given:
        return Guess("judge", "no answers are given")
    if all(map(_is_object, given)):
        return Guess("json", "all answers are JSON objects")
    different = len(set(given))
    few = different <= min(MOST_LABELS, max(2, SHARE_OF_LABELS * len(given)))
    if guess_point(given) is not None:
        rating = few and different <= 10 and all(len(value) == 1 for value in given)
        return Guess("label", f"{different} different digits") if rating else Guess("number", "all answers are numbers")
    if few:
        return Guess("label", f"only {different} different answers in {len(given)} rows")
    if sum(map(len, given)) > LONG * len(given):
        return Guess("judge", "the answers are long texts")
    return Guess("exact", "the answers are short texts")


def guess_point(values: Sequence[str]) -> str | None:
    """What stands before the decimals of all these numbers; None if they are no numbers."""
    if all(read_number(value, ".") is not None for value in values):
        return "."
    return "," if all(read_number(value, ",") is not None for value in values) else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
