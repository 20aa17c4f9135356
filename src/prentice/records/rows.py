"""Episodes as rows of the store's tables, and back: nothing is lost, and equal texts are found by one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from prentice.records.chats import Message, Reply, Request, TokenLogprob, Tool, Usage
from prentice.records.episodes import Episode, Failure, Metric, Turn

Row = dict[str, Any]
Read = Mapping[Any, Any]
"""A row as SQLAlchemy gives it, by column name."""
_TOOLS = TypeAdapter(tuple[Tool, ...])


@dataclass(slots=True)
class EpisodeRows:
    """One episode as rows; `messages` and `parts` map a hash to its text."""

    episode: Row
    turns: list[Row] = field(default_factory=list)
    metrics: list[Row] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Texts:
    """Messages and parts of requests that were read, by hash."""

    messages: dict[str, Message] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)


def text_hash(text: str) -> str:
    """Hash of a text's bytes, not of its meaning: the order of a schema's keys is part of a prompt."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def to_rows(episode: Episode) -> EpisodeRows:
    """Take an episode apart.

    Raises: ValueError if it holds what no database can keep: NaN in its inputs, half a surrogate pair, a huge integer.
    """
    rows = EpisodeRows(_episode_row(episode))
    for position, turn in enumerate(episode.turns):
        rows.turns.append({"episode_id": episode.id, "position": position, **_turn_row(turn, rows)})
    for position, metric in enumerate(episode.metrics):
        rows.metrics.append({"episode_id": episode.id, "position": position, **_metric_row(metric)})
    for row in (rows.episode, *rows.turns, *rows.metrics):
        _check_storable(row)
    return rows


def _check_storable(row: Row) -> None:
    for name, value in row.items():
        if isinstance(value, str):
            value.encode()  # a driver would refuse half a surrogate pair without saying whose it is
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} = {value} does not fit 64 bits")


def _episode_row(episode: Episode) -> Row:
    failure = episode.failure
    return {
        "id": episode.id,
        "version": episode.version,
        "run": episode.run,
        "task": episode.task,
        "case_id": episode.case,
        "split": episode.split,
        "attempt": episode.attempt,
        "policy": episode.policy,
        "failure_where": failure and failure.where,
        "failure_message": failure and failure.message,
        "started_at": episode.started_at.isoformat(),
        "tags": to_json(episode.tags).decode(),
        "content_hash": episode.content_hash(),
    }


def _keep(texts: dict[str, str], text: str) -> str:
    name = text_hash(text)
    texts[name] = text
    return name


def _turn_row(turn: Turn, rows: EpisodeRows) -> Row:
    request, reply = turn.request, turn.reply
    messages = [_keep(rows.messages, message.model_dump_json()) for message in request.messages]
    schema = request.response_schema
    return {
        "function": request.function,
        "inputs": to_json(request.inputs).decode(),
        "messages": to_json(messages).decode(),
        "tools": _keep(rows.parts, _TOOLS.dump_json(request.tools).decode()) if request.tools else None,
        "choices": _keep(rows.parts, to_json(request.choices).decode()) if request.choices else None,
        "response_schema": None if schema is None else _keep(rows.parts, to_json(schema).decode()),
        "reply": _keep(rows.messages, reply.message.model_dump_json()),
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "input_tokens": reply.usage.input_tokens,
        "cached_tokens": reply.usage.cached_tokens,
        "output_tokens": reply.usage.output_tokens,
        "latency_s": reply.latency_s,
        "processing_s": reply.processing_s,
        "cost_usd": reply.cost_usd,
        "attempts": reply.attempts,
        "token_logprobs": to_json([(t.token, t.logprob) for t in reply.token_logprobs]).decode(),
    }


def _metric_row(metric: Metric) -> Row:
    value = metric.value
    return {
        "name": metric.name,
        "source": metric.source,
        "turn": metric.turn,
        "flag": value if isinstance(value, bool) else None,
        "number": value if isinstance(value, float) else None,
        "text": value if isinstance(value, str) else None,
    }


def message_hashes(turn: Read) -> list[str]:
    """Hashes of all messages of a turn's row, the reply's last."""
    return [*from_json(turn["messages"]), turn["reply"]]


def part_hashes(turn: Read) -> list[str]:
    """Hashes of the constant parts of a turn's request."""
    return [name for key in ("tools", "choices", "response_schema") if (name := turn[key]) is not None]


def read_message(name: str, body: str) -> Message:
    """Read a stored message.

    Raises: ValueError if it is not the one that was stored under this hash.
    """
    return Message.model_validate_json(_checked(name, body))


def read_part(name: str, body: str) -> Any:
    """Read a stored part of a request: tuple of Tool, tuple of str (choices) or dict (response schema).

    Raises: ValueError if it is not the one that was stored under this hash.
    """
    part = from_json(_checked(name, body))
    if not isinstance(part, list):
        return part
    return tuple(part) if isinstance(part[0], str) else _TOOLS.validate_python(part)


def _checked(name: str, body: str) -> str:
    if text_hash(body) != name:
        raise ValueError(f"text {name} is not the one that was stored")
    return body


def from_rows(row: Read, turns: Sequence[Read], metrics: Sequence[Read], texts: Texts) -> Episode:
    """Put an episode together again.

    Raises: ValueError, TypeError or KeyError if the rows cannot be what was written.
    """
    where = row["failure_where"]
    if [t["position"] for t in turns] != list(range(len(turns))):
        raise ValueError("a turn is missing")
    return Episode(
        version=row["version"],
        id=row["id"],
        run=row["run"],
        task=row["task"],
        case=row["case_id"],
        split=row["split"],
        attempt=row["attempt"],
        policy=row["policy"],
        turns=tuple(_turn(turn, texts) for turn in turns),
        metrics=tuple(_metric(metric) for metric in metrics),
        failure=None if where is None else Failure(where=where, message=row["failure_message"]),
        started_at=datetime.fromisoformat(row["started_at"]),
        tags=from_json(row["tags"]),
    )


def _turn(row: Read, texts: Texts) -> Turn:
    *asked, answered = (texts.messages[name] for name in message_hashes(row))
    tools, choices, schema = row["tools"], row["choices"], row["response_schema"]
    request = Request(
        function=row["function"],
        inputs=from_json(row["inputs"]),
        messages=tuple(asked),
        tools=() if tools is None else texts.parts[tools],
        choices=() if choices is None else texts.parts[choices],
        response_schema=None if schema is None else texts.parts[schema],
    )
    reply = Reply(
        message=answered,
        model=row["model"],
        finish_reason=row["finish_reason"],
        usage=Usage(**{key: row[key] for key in ("input_tokens", "cached_tokens", "output_tokens")}),
        latency_s=row["latency_s"],
        processing_s=row["processing_s"],
        cost_usd=row["cost_usd"],
        attempts=row["attempts"],
        token_logprobs=tuple(TokenLogprob(token=t, logprob=p) for t, p in from_json(row["token_logprobs"])),
    )
    return Turn(request=request, reply=reply)


def _metric(row: Read) -> Metric:
    values = [row[kind] for kind in ("flag", "number", "text") if row[kind] is not None]
    if len(values) != 1:
        raise ValueError(f"metric {row['name']!r} has {len(values)} values")
    return Metric(name=row["name"], source=row["source"], turn=row["turn"], value=values[0])
