"""A grader of numbers: what is read as one, and how far it may be off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from prentice.records import Metric
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig

Point = Literal[".", ","]
MOST_CHARACTERS = 60
"""A longer text is no number: nobody means one with so many digits."""


class NumberConfig(GraderConfig):
    """The reply is a number, near enough to the expected one."""

    kind: str = "number"
    """The built-in that this section configures."""
    tolerance: float = Field(0.0, ge=0)
    """How far the reply may be off."""
    relative: float = Field(0.0, ge=0)
    """The same as a share of the expected number: 0.01 is one per cent. The wider of the two counts."""
    decimal: Point = "."
    """What stands before the decimals, in replies and in answer keys."""


class Number(Grader):
    """Success is a number within the tolerance; a reply that is no number is wrong."""

    Config = NumberConfig

    def __init__(self, config: NumberConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del folder, keys
        self.config = config

    def key(self, expected: JsonValue) -> str:
        """The expected number as it is written, or a plain number of JSON as a reply would write it."""
        text = _plain(expected, self.config.decimal)
        if read_number(text, self.config.decimal) is None:
            raise ValueError(f"{text!r} is not a number with {self.config.decimal!r} before its decimals")
        return text

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """`is_number`, for a number its distance `error`, and `success`."""
        right = read_number(self.key(answer.expected), self.config.decimal)
        said = read_number(answer.text, self.config.decimal)
        if said is None or right is None:
            return (Metric(name="is_number", value=False), Metric(name="success", value=False))
        off = abs(said - right)
        allowed = max(Decimal(str(self.config.tolerance)), Decimal(str(self.config.relative)) * abs(right))
        return (
            Metric(name="is_number", value=True),
            Metric(name="error", value=float(off)),
            Metric(name="success", value=off <= allowed),
        )


def read_number(text: str, decimal: Point = ".") -> Decimal | None:
    """The number that `text` is, or None.

    Read are an optional sign, digits, and decimals after `decimal`; thousands may be set apart in groups of three by a
    space, an apostrophe, or whichever of point and comma is not `decimal`, the same mark throughout; a currency sign,
    three capital letters (EUR) or a per-cent sign may stand before or behind, and changes nothing. Any other word makes
    it no number.
    """
    text = text.strip()
    match = _form(decimal).fullmatch(text) if len(text) <= MOST_CHARACTERS else None
    if match is None:
        return None
    whole = re.sub(r"\D", "", match["whole"])
    sign = "-" if (match["sign_first"] or match["sign_second"]) in ("-", "−") else ""
    return Decimal(f"{sign}{whole}.{match['decimals'] or '0'}")


@cache
def _form(decimal: Point) -> re.Pattern[str]:
    space = " \u00a0\u202f"
    thousands = f"{space}'’" + ("," if decimal == "." else ".")
    unit = "(?:[A-Z]{3}|[$€£¥₹₩₽₺₫₪฿₴₦]|%)"
    return re.compile(
        rf"(?:(?P<sign_first>[+\-−])?(?:{unit}[{space}]?)?|{unit}[{space}]?(?P<sign_second>[+\-−]))"
        rf"(?P<whole>\d{{1,3}}(?P<mark>[{thousands}])\d{{3}}(?:(?P=mark)\d{{3}})*|\d+)"
        rf"(?:{re.escape(decimal)}(?P<decimals>\d+))?(?:[{space}]?{unit})?",
        re.ASCII,
    )


def _plain(expected: JsonValue, decimal: Point) -> str:
    if isinstance(expected, bool) or not isinstance(expected, str | int | float):
        raise ValueError(f"{expected!r} is not a number")
    if isinstance(expected, str):
        return expected.strip()
    return format(Decimal(str(expected)), "f").replace(".", decimal)
