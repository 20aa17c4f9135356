"""Episodes as rows of the store's tables, and back: nothing is lost, and no message is written twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import is_, itemgetter
from typing import Any, NoReturn

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from prentice.errors import DataError
from prentice.records.chats import Message, Reply, Request, TokenLogprob, Tool, Usage
from prentice.records.episodes import Demonstration, Episode, Failure, Metric, Turn, imported_id
from prentice.records.history import Said, shown_messages
from prentice.records.schema import ID_LENGTH

Row = dict[str, Any]
Read = Mapping[Any, Any]
"""A row as SQLAlchemy gives it, by column name."""
LONG = 512
"""Messages of so many characters of JSON are shared between episodes; for shorter ones looking them up costs more."""
_TOOLS = TypeAdapter(tuple[Tool, ...])
_MESSAGE = TypeAdapter(Message).serializer
_PARTS = ("tools", "choices", "response_schema")
_HASHED = itemgetter("function", "inputs", "said", "shown", *_PARTS)
_USAGE = ("input_tokens", "cached_tokens", "output_tokens")
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class EpisodeRows:
    """One episode as rows, but for the number that the database gives it; `texts` maps a hash to its text."""

    episode: Row
    turns: list[Row] = field(default_factory=list)
    metrics: list[Row] = field(default_factory=list)
    tags: list[Row] = field(default_factory=list)
    feedback: list[Row] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    size: int = 0
    """About how many characters of text it holds."""


def text_hash(text: str) -> str:
    """Hash of a text's bytes, not of its meaning: the order of a schema's keys is part of a prompt."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970, exactly."""
    return (moment - _1970) // timedelta(microseconds=1)


def moment_text(moment: datetime) -> str:
    """ISO 8601 with its offset; in UTC where that is less than a second, which Python 3.11 reads as none."""
    offset = moment.utcoffset() or timedelta()
    return (moment.astimezone(UTC) if abs(offset) < timedelta(seconds=1) else moment).isoformat()


def tag_key(name: str, value: str) -> str:
    """What a tag is found by: its name and value as JSON, or their hash where that is long."""
    text = to_json([name, value]).decode()
    return text if len(text) <= 200 else text_hash(text)


def to_rows(episode: Episode) -> EpisodeRows:
    """Take an episode apart.

    Raises: DataError if it holds what no database can keep: NaN in its inputs, half a surrogate pair, a huge integer.
    """
    try:
        return _to_rows(episode)
    except ValueError as error:
        problem = f"episode {episode.id[:80]!r} (case {episode.case[:80]!r}) cannot be stored: {error}"
        raise DataError(problem, "text must be whole Unicode, numbers finite") from error


def _to_rows(episode: Episode) -> EpisodeRows:
    rows = EpisodeRows(_episode_row(episode))
    said, parts = Said(_message_key), _Parts(rows.texts)
    for position, turn in enumerate(episode.turns):
        rows.turns.append({"position": position, **_turn_row(turn, said, parts)})
    rows.metrics = [metric_row(position, metric) for position, metric in enumerate(episode.metrics)]
    rows.feedback = [_demonstration_row(episode.id, n, shown) for n, shown in enumerate(episode.demonstrations)]
    rows.tags = [{"tag": tag_key(name, value)} for name, value in episode.tags.items()]
    rows.episode["content_hash"] = content_hash(rows.turns)
    rows.size = sum(len(turn["said"]) + len(turn["inputs"]) for turn in rows.turns) + sum(map(len, rows.texts.values()))
    _check_storable([rows.episode], ("id", "run", "task", "case_id", "policy", "failure_message"), ("attempt",))
    _check_storable(rows.turns, ("function", "model", "finish_reason"), (*_USAGE, "attempts"))
    _check_storable(rows.metrics, ("name", "text"), ("turn",))
    _check_storable(rows.feedback, ("author",), ("turn",))
    return rows


def content_hash(turns: Iterable[Read]) -> str:
    """Hash of what was asked and replied, without ids, times and costs: equal for two equal conversations."""
    # a row is written as JSON: no text of one column can look like the border to the next
    return hashlib.sha256(to_json(list(map(_HASHED, turns)))).hexdigest()[:32]


def _check_storable(rows: Sequence[Row], texts: Iterable[str], integers: Iterable[str]) -> None:
    """Check what a driver would refuse without saying whose it is; JSON was checked when it was written."""
    for name in texts:
        "".join([row[name] or "" for row in rows]).encode()
    for name in integers:
        for number in [row[name] for row in rows]:
            if number is not None and not -(2**63) <= number < 2**63:
                raise ValueError(f"{name} = {number} does not fit 64 bits")


def _episode_row(episode: Episode) -> Row:
    failure = episode.failure
    for name in ("id", "run", "case"):
        if len(getattr(episode, name).encode()) > ID_LENGTH:
            raise ValueError(f"{name} is longer than {ID_LENGTH:,} bytes")
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
        "started_at": moment_text(episode.started_at),
        "started_us": microseconds(episode.started_at),
        "tags": to_json(episode.tags).decode(),
        "extra": _extra(episode.extra),
    }


def _extra(extra: Mapping[str, Any]) -> str | None:
    return _finite(to_json(extra).decode()) if extra else None


class _Parts:
    """The parts of requests that hardly change from turn to turn, written as JSON only where they did change."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        self._last: dict[str, tuple[Any, str | None]] = dict.fromkeys(_PARTS, (None, None))

    def keep(self, text: str) -> str:
        name = text_hash(text)
        self._texts[name] = text
        return name

    def row(self, request: Request) -> Row:
        return {
            "tools": self._hash("tools", request.tools or None),
            "choices": self._hash("choices", request.choices or None),
            "response_schema": self._hash("response_schema", request.response_schema),
        }

    def _hash(self, name: str, part: Any) -> str | None:
        if part is None:
            return None
        known, hashed = self._last[name]
        # equal is not enough for a schema: the order of its keys is part of the prompt
        if hashed is None or not _is_same(known, part):
            text = _TOOLS.dump_json(part).decode() if name == "tools" else to_json(part).decode()
            hashed = self.keep(_finite(text))
            self._last[name] = (part, hashed)
        return hashed


def _is_same(known: Any, part: Any) -> bool:
    """Whether they are one object, or tuples of the same: a record makes a tuple of its own of what it is given."""
    if known is part:
        return True
    return isinstance(part, tuple) and len(known) == len(part) and all(map(is_, known, part))


def _message_key(message: Message) -> Hashable:
    # a message's own hash takes ten times as long
    return message.role, message.content, message.tool_calls, message.tool_call_id


def _turn_row(turn: Turn, said: Said[Message], parts: _Parts) -> Row:
    request, reply = turn.request, turn.reply
    new, shown = said.add(request.messages, reply.message)
    bodies = [_MESSAGE.to_json(message, exclude_defaults=True).decode() for message in new]
    entries = [body if len(body) < LONG else f'"{parts.keep(body)}"' for body in bodies]
    return {
        "function": request.function,
        "inputs": _finite(to_json(request.inputs).decode()) if request.inputs else "{}",
        "said": f"[{','.join(entries)}]",
        "shown": f"[{','.join([f'[{start},{end}]' for start, end in shown])}]",
        **parts.row(request),
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "input_tokens": reply.usage.input_tokens,
        "cached_tokens": reply.usage.cached_tokens,
        "output_tokens": reply.usage.output_tokens,
        "latency_s": reply.latency_s,
        "processing_s": reply.processing_s,
        "cost_usd": reply.cost_usd,
        "attempts": reply.attempts,
        "token_logprobs": _logprobs(reply.token_logprobs) if reply.token_logprobs else "[]",
        "extra": _extra(turn.extra),
    }


def _logprobs(tokens: Sequence[TokenLogprob]) -> str:
    return to_json([(token.token, token.logprob) for token in tokens]).decode()


def _finite(text: str) -> str:
    """JSON text, unless it holds a number that JSON has no word for."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON compliant")

    if "NaN" in text or "Infinity" in text:
        json.loads(text, parse_constant=refuse)
    return text


def _demonstration_row(episode: str, number: int, shown: Demonstration) -> Row:
    return {
        "id": imported_id(episode, f"demonstration {number}"),
        "turn": shown.turn,
        "name": "demonstration",
        "source": shown.source,
        "author": shown.author,
        "at": moment_text(shown.at),
        "position": None,
        "demonstration": shown.message.model_dump_json(exclude_defaults=True),
    }


def metric_row(position: int, metric: Metric) -> Row:
    """A metric as a row of its episode's metrics."""
    value = metric.value
    return {
        "position": position,
        "name": metric.name,
        "source": metric.source,
        "turn": metric.turn,
        "flag": value if isinstance(value, bool) else None,
        "number": value if isinstance(value, float) else None,
        "text": value if isinstance(value, str) else None,
    }


def shared_texts(turn: Read) -> list[str]:
    """Hashes of the texts that a turn's row names."""
    named = [name for key in _PARTS if (name := turn[key]) is not None]
    return named + [entry for entry in from_json(turn["said"]) if isinstance(entry, str)]


class Texts:
    """Shared texts that were read, by hash; each is checked and parsed once."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._parts: dict[str, Any] = {}
        self.bodies: dict[str, str] = {}

    def message(self, name: str) -> Message:
        """The message of this hash.

        Raises: ValueError or KeyError if it is not what was stored.
        """
        if name not in self._messages:
            self._messages[name] = Message.model_validate_json(self._body(name))
        return self._messages[name]

    def part(self, name: str | None, default: Any = ()) -> Any:
        """A part of a request: tuple of Tool, tuple of str (choices) or dict (response schema).

        Raises: ValueError or KeyError if it is not what was stored.
        """
        if name is None:
            return default
        if name not in self._parts:
            part = from_json(self._body(name))
            if isinstance(part, list):
                part = tuple(part) if isinstance(part[0], str) else _TOOLS.validate_python(part)
            self._parts[name] = part
        return self._parts[name]

    def clear(self) -> None:
        """Forget all."""
        for known in (self.bodies, self._messages, self._parts):
            known.clear()

    def _body(self, name: str) -> str:
        body = self.bodies[name]
        if text_hash(body) != name:
            raise ValueError(f"text {name} is not the one that was stored")
        return body


def from_rows(
    row: Read, turns: Sequence[Read], metrics: Sequence[Read], feedback: Sequence[Read], texts: Texts
) -> Episode:
    """Put an episode together again.

    Args:
        feedback: the rows of its feedback, of which the demonstrations are read; the rest is among its metrics.
    Raises: ValueError, TypeError or KeyError if the rows cannot be what was written.
    """
    where = row["failure_where"]
    if [t["position"] for t in turns] != list(range(len(turns))):
        raise ValueError("a turn is missing")
    if content_hash(turns) != row["content_hash"]:
        raise ValueError(f"episode {row['id']!r} does not say what was stored")
    said: list[Message] = []
    return Episode(
        version=row["version"],
        id=row["id"],
        run=row["run"],
        task=row["task"],
        case=row["case_id"],
        split=row["split"],
        attempt=row["attempt"],
        policy=row["policy"],
        turns=tuple(_turn(turn, said, texts) for turn in turns),
        metrics=tuple(metric_of(metric) for metric in metrics),
        failure=None if where is None else Failure(where=where, message=row["failure_message"]),
        started_at=datetime.fromisoformat(row["started_at"]),
        tags=from_json(row["tags"]),
        demonstrations=tuple(_demonstration(each) for each in feedback if each["demonstration"] is not None),
        extra=from_json(row["extra"] or "{}"),
    )


def _demonstration(row: Read) -> Demonstration:
    return Demonstration(
        turn=row["turn"],
        message=message_of(row["demonstration"]),
        source=row["source"],
        author=row["author"],
        at=datetime.fromisoformat(row["at"]),
    )


def message_of(text: str) -> Message:
    """A message from its JSON."""
    return Message.model_validate_json(text)


def _turn(row: Read, said: list[Message], texts: Texts) -> Turn:
    """One turn; what is new in it joins `said`."""
    for entry in from_json(row["said"]):
        said.append(texts.message(entry) if isinstance(entry, str) else Message.model_validate(entry))
    request = Request(
        function=row["function"],
        inputs=from_json(row["inputs"]),
        messages=shown_messages(said, from_json(row["shown"])),
        tools=texts.part(row["tools"]),
        choices=texts.part(row["choices"]),
        response_schema=texts.part(row["response_schema"], None),
    )
    reply = Reply(
        message=said[-1],
        model=row["model"],
        finish_reason=row["finish_reason"],
        usage=Usage(**{key: row[key] for key in _USAGE}),
        latency_s=row["latency_s"],
        processing_s=row["processing_s"],
        cost_usd=row["cost_usd"],
        attempts=row["attempts"],
        token_logprobs=tuple(TokenLogprob(token=t, logprob=p) for t, p in from_json(row["token_logprobs"])),
    )
    return Turn(request=request, reply=reply, extra=from_json(row["extra"] or "{}"))


def metric_of(row: Read) -> Metric:
    """The metric of a row.

    Raises: ValueError if it has no value, or several.
    """
    values = [row[kind] for kind in ("flag", "number", "text") if row[kind] is not None]
    if len(values) != 1:
        raise ValueError(f"metric {row['name']!r} has {len(values)} values")
    return Metric(name=row["name"], source=row["source"], turn=row["turn"], value=values[0])
