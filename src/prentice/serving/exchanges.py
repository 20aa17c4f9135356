"""One call as it crossed the wire, and the record that it becomes.

On its way it may wait on a disk as it is: what has to be read, checked and made of it takes longer than a client should
wait for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from pydantic import ConfigDict, TypeAdapter

from prentice.records import Call, Failure, Turn, utc_now
from prentice.records.episodes import Split
from prentice.records.importing.chats import Tools
from prentice.records.importing.conversations import LogOptions
from prentice.records.importing.openai import read_openai
from prentice.serving.labels import Labels, stored_id


@dataclass(slots=True)
class Exchange:
    """One call as it crossed the wire."""

    asked: dict[str, Any]
    """The request's body, without our own field."""
    labels: Labels
    episode: str
    """The client's name of the episode, or one made for it."""
    at: datetime = field(default_factory=utc_now)
    answered: dict[str, Any] | None = None
    """The completion; None where the call failed."""
    problem: str = ""
    """Why it failed."""
    latency_s: float | None = None
    policy: str = ""
    """Who answers, where that differs from the recorder's own."""
    id: str = field(default_factory=lambda: uuid4().hex)


@dataclass(slots=True)
class Origin:
    """What all calls of a recorder have in common."""

    run: str = "record"
    task: str = "recorded"
    policy: str = ""
    """Who answers: `openai`, a URL; the model's name is added."""
    split: Split = "train"


@dataclass(slots=True)
class Waiting:
    """An exchange that waits on a disk, with where it comes from: another process may make the record of it."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    exchange: Exchange
    origin: Origin

    def line(self) -> bytes:
        """As JSON.

        Raises: ValueError for what is no JSON, such as half a surrogate pair.
        """
        return _WAITING.dump_json(self)

    def call(self, tools: Tools) -> Call:
        """The record.

        Raises: RowError or ValidationError naming what keeps it from being one.
        """
        exchange, origin, labels = self.exchange, self.origin, self.exchange.labels
        turn = None if exchange.answered is None else _turn(exchange, tools)
        model = str(exchange.asked.get("model") or "unknown")
        policy = exchange.policy or origin.policy
        return Call(
            id=exchange.id,
            episode=stored_id(exchange.episode),
            run=origin.run,
            task=origin.task,
            case=labels.case or exchange.episode,
            split=labels.split or origin.split,
            policy=f"{policy}:{model}" if policy else model,
            at=exchange.at,
            turn=turn,
            failure=Failure(where="model", message=exchange.problem) if turn is None else None,
            tags={"episode": exchange.episode, **labels.tags},
        )


_WAITING = TypeAdapter(Waiting)
_BEGINS = b'{"exchange":'


def read_waiting(line: bytes) -> Waiting | Call:
    """What waited: an exchange, or the call that a guard had to see first.

    Raises: ValidationError if it is neither.
    """
    return _WAITING.validate_json(line) if line.startswith(_BEGINS) else Call.model_validate_json(line)


def _turn(exchange: Exchange, tools: Tools) -> Turn:
    row = {
        "request": dict(exchange.asked),
        "response": dict(exchange.answered or {}),
        "latency_s": exchange.latency_s,
    }
    draft = read_openai(row, LogOptions(function=exchange.labels.function), tools)
    turn = draft.turns[0]
    return Turn(request=turn.request, reply=turn.reply, extra={**draft.extra, "at": exchange.at.isoformat()})
