"""Which episodes are meant: one filter for reading, counting, listing and deleting, answered by the store's indexes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, select

from prentice.errors import DataError
from prentice.records.episodes import Split, Value
from prentice.records.rows import microseconds, tag_key
from prentice.records.schema import EPISODES, METRICS, TAGS

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Ending = Literal["none", "any", "model", "environment", "metric", "judge"]
_CONDITION = re.compile(r"\s*(.+?)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_ORDER = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison with a metric of the whole episode; an episode without that metric never fits."""

    name: str
    operator: Operator
    value: Value

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `success=true`, `steps<10`, `ending!=solved`; `true` and `false` are flags, what reads as one a number.

        Raises: DataError if it is no comparison, or orders what has no order.
        """
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise DataError(f"metric filter {text!r} is no comparison", "write success=true, steps<10 or ending=solved")
        name, operator, value = found[1], found[2], _value(found[3])
        if operator in _ORDER and (not isinstance(value, float) or math.isnan(value)):
            raise DataError(
                f"metric filter {text!r}: {found[3]!r} is not a number", "only numbers are smaller or larger"
            )
        return cls(name, operator, value)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Filter:
    """Episodes that fit all that is given; None, and nothing, does not filter."""

    run: str | None = None
    task: str | None = None
    split: Split | None = None
    policy: str | None = None
    id: str | None = None
    """The id, or how it begins."""
    failure: Ending | None = None
    """Where it failed; `any` and `none` say that it did or did not."""
    since: datetime | None = None
    """Begun at this moment or later, by the clock of the machine that played it."""
    before: datetime | None = None
    """Begun before this moment."""
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Condition, ...] = ()

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter as conditions on `EPISODES`."""
        equal = {
            EPISODES.c.run: self.run,
            EPISODES.c.task: self.task,
            EPISODES.c.split: self.split,
            EPISODES.c.policy: self.policy,
        }
        found = [column == value for column, value in equal.items() if value is not None]
        if self.id is not None:
            found += [EPISODES.c.id >= self.id, EPISODES.c.id < self.id + "\U0010ffff"]
        if self.since is not None:
            found.append(EPISODES.c.started_us >= microseconds(self.since))
        if self.before is not None:
            found.append(EPISODES.c.started_us < microseconds(self.before))
        if self.failure is not None:
            found.append(_ended(self.failure))
        for name, value in self.tags.items():
            found.append(EPISODES.c.number.in_(select(TAGS.c.episode).where(TAGS.c.tag == tag_key(name, value))))
        return found + [_metric(condition) for condition in self.metrics]


def _ended(failure: Ending) -> ColumnElement[bool]:
    where = EPISODES.c.failure_where
    if failure == "none":
        return where.is_(None)
    return where.is_not(None) if failure == "any" else where == failure


def _metric(condition: Condition) -> ColumnElement[bool]:
    value = condition.value
    # the index runs over name, flag, number: to say what a flag is not lets it be used for the rest
    found: list[ColumnElement[bool]] = [METRICS.c.turn.is_(None), METRICS.c.name == condition.name]
    if isinstance(value, bool):
        found.append(METRICS.c.flag == (value if condition.operator == "=" else not value))
    elif isinstance(value, float):
        compare = METRICS.c.number.op(_SQL[condition.operator], is_comparison=True)
        found += [METRICS.c.flag.is_(None), compare(value)]
    else:
        text = METRICS.c.text == value if condition.operator == "=" else METRICS.c.text != value
        found += [METRICS.c.flag.is_(None), METRICS.c.number.is_(None), text]
    return EPISODES.c.number.in_(select(METRICS.c.episode).where(*found))


_SQL = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text.strip("\"'") if text[:1] == text[-1:] else text
