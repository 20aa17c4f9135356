"""Which episodes are meant: one filter for reading, counting, listing and deleting, answered by the store's indexes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast, get_args

from sqlalchemy import ColumnElement, select

from prentice.errors import DataError
from prentice.records.episodes import Value, utc_now
from prentice.records.rows import microseconds, tag_key
from prentice.records.schema import EPISODES, FEEDBACK, METRICS, TAGS

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Ending = Literal["none", "any", "model", "environment", "metric", "judge"]
_CONDITION = re.compile(r"\s*(.+?)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_AGE = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NAMES = ("run", "task", "split", "policy", "id", "failure", "since", "before")
_HINT = (
    "write run=…, task=…, split=…, policy=…, id=…, failure=any, since=7d, before=2026-01-31, tag.NAME=…, or a metric"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison with a metric of the whole episode; an episode without that metric never fits."""

    name: str
    operator: Operator
    value: Value

    def __post_init__(self) -> None:
        """Refuse to order what has no order."""
        number = isinstance(self.value, float) and not math.isnan(self.value)
        if self.operator not in ("=", "!=") and not number:
            problem = f"{self.name}{self.operator}{self.value}: only numbers are smaller or larger"
            raise DataError(problem, "compare a flag or a text with = or !=")


@dataclass(frozen=True, slots=True)
class Filter:
    """Episodes that fit all that is given; None, and nothing, does not filter."""

    run: str | None = None
    task: str | None = None
    split: str | None = None
    policy: str | None = None
    id: str | None = None
    """The id, or how it begins."""
    failure: str | None = None
    """Where it failed (an `Ending`); `any` and `none` say that it did or did not."""
    since: datetime | None = None
    """Begun at this moment or later, by the clock of the machine that played it."""
    before: datetime | None = None
    """Begun before this moment."""
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str], now: datetime | None = None) -> Filter:
        """Read `run=ab12`, `since=7d`, `before=2026-01-31`, `tag.role=base`, `success=true`, `steps<10`.

        What is no name of an episode is one of a metric; `metric.NAME` is always one.

        Args:
            now: what an age such as `7d` counts from.
        Raises: DataError naming what is no comparison, or compares what cannot be compared.
        """
        found: dict[str, Any] = {"tags": {}, "metrics": ()}
        for text in texts:
            parts = _CONDITION.fullmatch(text)
            if parts is None:
                raise DataError(f"filter {text!r} is no comparison", _HINT)
            name, operator, value = parts.groups()
            if name not in _NAMES and not name.startswith("tag."):
                condition = Condition(name.removeprefix("metric."), cast(Operator, operator), _value(value))
                found["metrics"] += (condition,)
            elif operator != "=":
                raise DataError(f"filter {text!r}: only metrics can be compared with {operator}", _HINT)
            elif name.startswith("tag."):
                found["tags"][name.removeprefix("tag.")] = value
            else:
                found[name] = _moment(text, value, now or utc_now()) if name in ("since", "before") else value
        if (failure := found.get("failure")) not in (None, *get_args(Ending)):
            raise DataError(f"filter failure={failure}: no such ending", f"known: {', '.join(get_args(Ending))}")
        return cls(**found)

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


def _ended(failure: str) -> ColumnElement[bool]:
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
    return EPISODES.c.number.in_(select(METRICS.c.episode).where(*found, ~_overruled()))


def _overruled() -> ColumnElement[bool]:
    """Whether later feedback gave the metric another value: the last one counts."""
    same = (FEEDBACK.c.episode == METRICS.c.episode) & (FEEDBACK.c.name == METRICS.c.name) & FEEDBACK.c.turn.is_(None)
    return select(FEEDBACK.c.number).where(same, FEEDBACK.c.position > METRICS.c.position).exists()


_SQL = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
        return text[1:-1] if quoted else text


def _moment(text: str, value: str, now: datetime) -> datetime:
    """A moment, given as an age or as a date (with a time; without an offset it is the local one)."""
    if (age := _AGE.fullmatch(value)) is not None:
        return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError as error:
        raise DataError(f"filter {text!r}: no age and no date", "write 90d, 12h, or 2026-01-31") from error
