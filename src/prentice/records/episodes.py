"""Episodes: one attempt of a policy at a case, turn by turn, with what came of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, NoReturn

from pydantic import AwareDatetime, BeforeValidator, Field, JsonValue, ValidationInfo

from prentice.records.base import Record, digest
from prentice.records.chats import Message, Reply, Request

Split = Literal["train", "val", "test"]
Value = bool | float | str


def _refuse(value: object, known: ValidationInfo) -> NoReturn:
    """Name the metric: a user who divided by zero has to find it."""
    raise ValueError(f"metric {known.data.get('name')!r} is {value!r}")


class Metric(Record):
    """A named number, flag or comment about an episode or one of its turns."""

    name: str
    # the last kind is tried when all others have refused, so only what is wrong takes the time of Python code
    value: Value | Annotated[str, BeforeValidator(_refuse)]
    source: Literal["environment", "judge", "program", "person"] = "environment"
    turn: int | None = None
    """Index of the turn it speaks of; None: the whole episode."""


class Failure(Record):
    """What ended an episode early, named by the boundary it crossed."""

    where: Literal["model", "environment", "metric", "judge"]
    message: str


class Turn(Record):
    """One call of the policy."""

    request: Request
    reply: Reply
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """What its source said of it that no other field holds."""


class Demonstration(Record):
    """What the reply of a turn should have been, shown by a person, a program or a judge."""

    turn: int = Field(ge=0)
    message: Message
    source: Literal["judge", "program", "person"] = "person"
    author: str = ""
    at: AwareDatetime


class Episode(Record):
    """One attempt of a policy at a case."""

    version: Literal[1] = 1
    id: str
    run: str
    task: str
    case: str
    split: Split
    attempt: int = Field(0, ge=0)
    """0 for the first try at this case in this run, 1 for the second, ..."""
    policy: str
    turns: tuple[Turn, ...]
    metrics: tuple[Metric, ...] = ()
    failure: Failure | None = None
    started_at: AwareDatetime
    tags: dict[str, str] = Field(default_factory=dict)
    demonstrations: tuple[Demonstration, ...] = ()
    """In the order they were given."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """What its source said of it that no other field holds."""

    def metric(self, name: str) -> Value | None:
        """The last value given to the episode-level metric `name`, or None."""
        return next((m.value for m in reversed(self.metrics) if m.name == name and m.turn is None), None)

    def total(self, field: Literal["latency_s", "processing_s", "cost_usd"]) -> float | None:
        """Sum of one cost over the turns; None as soon as one turn does not know it."""
        values = [getattr(t.reply, field) for t in self.turns]
        return None if not values or any(v is None for v in values) else float(sum(values))


def episode_id(run: str, case: str, attempt: int) -> str:
    """The id of an attempt: the same attempt has the same id, so a resumed run doubles nothing."""
    return digest([run, case, attempt])


def imported_id(source: str, native: str) -> str:
    """The id of an imported episode, from its source and its native id or line."""
    return digest([source, native])


def utc_now() -> datetime:
    """Now, with its time zone."""
    return datetime.now(UTC)
