"""Calls of one conversation that lie anywhere in a log → one episode.

They are gathered in a database of their own that goes with the process, so that memory does not grow with the log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from pydantic_core import from_json, to_json

from prentice.records.episodes import Failure, Metric, Turn
from prentice.records.importing.chats import Chat, Tools, as_text, read_chat
from prentice.records.importing.conversations import FUNCTION, Draft, LogOptions, Told, make_turn
from prentice.records.importing.faults import RowError
from prentice.records.importing.fields import Fields, take_cost, take_seconds, take_text, take_time, take_usage
from prentice.records.importing.outcomes import score, with_success


@dataclass(slots=True)
class Entry:
    """Something a log says of a conversation."""

    key: str
    """The conversation."""
    at: float
    """When, in seconds since 1970; the order of the turns."""
    body: Fields
    """A call: `messages`, `reply`, and what else is known. Or what belongs to one, see `about`."""
    about: str = ""
    """Empty for a call; else the id of what it belongs to: a span, a conversation."""


@dataclass(slots=True)
class Call:
    """A call and where it was read."""

    file: str
    line: int
    body: Fields


@dataclass(slots=True)
class Group:
    """All calls of a conversation, by time."""

    key: str
    calls: list[Call] = field(default_factory=list)


class Gathering:
    """Entries by conversation."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a file without a name: on disk as soon as it is large
        self._database.execute("CREATE TABLE calls (key TEXT, at REAL, file TEXT, line INTEGER, body BLOB)")
        self._database.execute("CREATE TABLE notes (about TEXT, at REAL, body BLOB)")

    def add(self, entry: Entry, file: str, line: int) -> None:
        """Keep one."""
        body = to_json(entry.body)
        if entry.about:
            self._database.execute("INSERT INTO notes VALUES (?, ?, ?)", (entry.about, entry.at, body))
        else:
            self._database.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", (entry.key, entry.at, file, line, body))

    def groups(self) -> Iterator[Group]:
        """Every conversation with its calls, those first whose key sorts first."""
        self._database.execute("CREATE INDEX IF NOT EXISTS by_key ON calls (key, at)")
        self._database.execute("CREATE INDEX IF NOT EXISTS by_about ON notes (about, at)")
        found = self._database.execute("SELECT key, file, line, body FROM calls ORDER BY key, at, rowid")
        for key, rows in groupby(found, itemgetter(0)):
            yield Group(key, [Call(file, line, from_json(body)) for _, file, line, body in rows])

    def notes(self, about: str) -> list[Fields]:
        """What else was said of a span or a conversation, by time."""
        query = "SELECT body FROM notes WHERE about = ? ORDER BY at, rowid"
        return [from_json(body) for (body,) in self._database.execute(query, (about,))]

    def close(self) -> None:
        """Forget all."""
        self._database.close()


def call_turn(body: Fields, options: LogOptions, tools: Tools) -> Turn:
    """A call as a turn; what is known of it beyond our fields is in the turn's `extra`.

    Raises: RowError.
    """
    chat = read_chat(body.pop("messages")) if body.get("messages") else Chat()
    before = tuple(chat.messages)
    reply = body.pop("reply", None)
    if reply is None:
        raise RowError("no assistant message", "the call has no output")
    chat.add(reply)
    known, notes = tools.read(body.pop("tools", None))
    told = Told(
        model=take_text(body, "model") or "unknown",
        finish_reason=take_text(body, "finish_reason"),
        usage=take_usage(body),
        latency_s=take_seconds(body),
        cost_usd=take_cost(body),
    )
    function = options.function or take_text(body, "function") or FUNCTION
    turn = make_turn(before, chat.messages[-1], told, function=function, tools=known)
    extra: dict[str, Any] = {name: value for name, value in body.get("extra", {}).items() if value is not None}
    extra |= {name: value for name, value in (("messages", chat.notes), ("tools", notes)) if value}
    return turn.model_copy(update={"extra": extra})


class Conversation:
    """The calls of a group as they become turns."""

    def __init__(self, key: str) -> None:
        self._draft = Draft((), native=key)
        self._turns: list[Turn] = []
        self._metrics: list[Metric] = []
        self._places: dict[str, int] = {}
        """Turn by the id of its call."""

    def add(self, body: Fields, options: LogOptions, tools: Tools) -> None:
        """Take in the next call. One that failed has no reply: if it is the last, it ended the episode.

        Raises: RowError.
        """
        error, started_at = body.pop("error", None), take_time(body)
        if self._draft.started_at is None:
            self._draft.started_at = started_at
        self._draft.failure = Failure(where="model", message=as_text(error)) if error else None
        if error and body.get("reply") is None and self._turns:
            return
        scored = body.pop("scores", None) or []
        self._turns.append(call_turn(body, options, tools))
        self._places[str(body.get("id"))] = len(self._turns) - 1
        self.score(scored)

    def score(self, entries: list[Fields]) -> None:
        """Take in what its calls, or all of it, were found worth.

        Raises: RowError.
        """
        for entry in entries:
            about = entry.get("observationId") or entry.get("observation_id") if isinstance(entry, dict) else None
            metric = score(entry, "scores")
            self._metrics.append(metric.model_copy(update={"turn": self._places.get(str(about)) if about else None}))

    def draft(self) -> Draft | None:
        """What becomes the episode, if any call could be read."""
        if not self._turns:
            return None
        last = {(metric.name, metric.turn): metric for metric in self._metrics}
        whole = tuple(metric for metric in last.values() if metric.turn is None)
        parts = tuple(metric for metric in last.values() if metric.turn is not None)
        self._draft.turns, self._draft.metrics = tuple(self._turns), (*with_success(whole), *parts)
        return self._draft
