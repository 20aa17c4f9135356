"""A conversation → an episode: every assistant message is a turn, its request all that was said before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import JsonValue

from prentice.config import StageConfig, build
from prentice.errors import ConfigError
from prentice.records.base import digest
from prentice.records.chats import Message, Reply, Request, Tool, Usage
from prentice.records.episodes import Episode, Failure, Metric, Split, Turn, imported_id
from prentice.records.importing.chats import Chat, Notes
from prentice.records.importing.faults import RowError
from prentice.records.importing.fields import UNKNOWN_TIME

Splits = Literal["train", "val", "test", "auto"]
UNKNOWN_MODEL = "unknown"
FUNCTION = "chat"
"""The function of a call whose source names none."""
_LONGEST_ID = 1500
"""Bytes of an id that the store keeps as it is; longer ones go by their hash."""
_SPLITS: dict[object, Split] = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}


class LogOptions(StageConfig):
    """How logs are read."""

    format: str | None = None
    """One of `FORMATS`; None: told from the content."""
    task: str | None = None
    """What the episodes are about; None: the file's name without its endings."""
    split: Splits = "auto"
    """Where they go; auto: where the row says, else by hash of the case: 70 % train, 10 % val, 20 % test."""
    function: str | None = None
    """Which prompt of the task it is; None: as the source names it, else `chat`."""
    input: str | None = None
    """Of a table, the column with what was asked; None: found by its name."""
    output: str | None = None
    """Of a table, the column with what was answered; None: found by its name."""

    @classmethod
    def parse(cls, texts: Sequence[str], format_: str | None = None) -> Self:
        """Options as people write them, `split=train`; a value is a text, whatever it looks like.

        Raises: ConfigError naming what is wrong, or the nearest right name.
        """
        said = {"format": format_}
        for text in texts:
            name, sign, value = text.partition("=")
            if not sign:
                raise ConfigError(f"--read {text!r} has no `=`", "write --read task=support")
            said[name.strip()] = value
        return build(cls, said, "--read")


@dataclass(slots=True)
class Draft:
    """What a source says of an episode."""

    turns: tuple[Turn, ...]
    native: str | None = None
    """The id that the source gave it."""
    case: str | None = None
    """What it is an attempt at; None: its native id, else the hash of how it opens."""
    metrics: tuple[Metric, ...] = ()
    extra: dict[str, JsonValue] = field(default_factory=dict)
    started_at: datetime | None = None
    split: object = None
    failure: Failure | None = None


@dataclass(slots=True)
class Told:
    """What a source says of one reply, or of all of a conversation."""

    model: str = UNKNOWN_MODEL
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    latency_s: float | None = None
    cost_usd: float | None = None


def make_turn(  # what a request is made of, and what a reply is
    shown: tuple[Message, ...],
    reply: Message,
    told: Told,
    *,
    function: str,
    tools: tuple[Tool, ...] = (),
    schema: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
) -> Turn:
    """One call."""
    request = Request(function=function, inputs=inputs or {}, messages=shown, tools=tools, response_schema=schema)
    answer = Reply(
        message=reply,
        model=told.model,
        finish_reason=told.finish_reason or ("tool_calls" if reply.tool_calls else "stop"),
        usage=told.usage,
        latency_s=told.latency_s,
        cost_usd=told.cost_usd,
    )
    return Turn(request=request, reply=answer)


def chat_turns(
    chat: Chat, told: Told, *, function: str, tools: tuple[Tool, ...], schema: dict[str, Any] | None
) -> tuple[Turn, ...]:
    """Every assistant message as a turn. What is told of a single reply is told of the only one, or of none.

    Raises: RowError if there is no assistant message.
    """
    replies = [place for place, message in enumerate(chat.messages) if message.role == "assistant"]
    if not replies:
        raise RowError("no assistant message", f"{len(chat.messages)} messages")
    if len(replies) > 1:
        told = Told(told.model)
    messages = tuple(chat.messages)
    return tuple(
        make_turn(messages[:place], messages[place], told, function=function, tools=tools, schema=schema)
        for place in replies
    )


def trailing(chat: Chat) -> list[JsonValue]:
    """What was said after the last reply: no turn shows it."""
    last = max((place for place, message in enumerate(chat.messages) if message.role == "assistant"), default=-1)
    return [message.model_dump(mode="json", exclude_defaults=True) for message in chat.messages[last + 1 :]]


def chat_extra(chat: Chat, tools: Notes, rest: dict[str, Any]) -> dict[str, JsonValue]:
    """What was said of the conversation, its messages and tools that no field of a record holds."""
    own: dict[str, Any] = {"messages": chat.notes, "tools": tools, "trailing": trailing(chat)}
    known = {f"{name}_" if name in own else name: value for name, value in rest.items() if value is not None}
    return known | {name: notes for name, notes in own.items() if notes}


def make_episode(draft: Draft, line: bytes, source: str, task: str, options: LogOptions) -> Episode:
    """The episode.

    Args:
        line: the row as it was read: where the source gave no id, equal rows are the same episode.
        source: the name of the format.
    """
    run = f"import:{source}"
    native = draft.native or hashlib.sha256(line.strip()).hexdigest()[:32]
    case = draft.case or draft.native or _opening(draft.turns[0])
    case = case if len(case.encode()) <= _LONGEST_ID else digest(case)
    split = _SPLITS.get(draft.split) if isinstance(draft.split, str) else None
    return Episode(
        id=imported_id(run, native),
        run=run,
        task=options.task or task,
        case=case,
        split=options.split if options.split != "auto" else split or split_by_hash(case),
        policy=draft.turns[-1].reply.model,
        turns=draft.turns,
        metrics=draft.metrics,
        failure=draft.failure,
        started_at=draft.started_at or UNKNOWN_TIME,
        extra=draft.extra,
    )


def split_by_hash(case: str) -> Split:
    """70 % train, 10 % val, 20 % test; the same case always goes the same way."""
    place = int(hashlib.sha256(case.encode()).hexdigest()[:8], 16) / 2**32
    return "train" if place < 0.7 else "val" if place < 0.8 else "test"


def _opening(turn: Turn) -> str:
    return digest([message.model_dump(mode="json", exclude_defaults=True) for message in turn.request.messages])
