"""What the replies of a function look like: labels, objects with fixed keys, calls of tools, or free text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from prentice.estimation.calls import Call
from prentice.estimation.sketches import Histogram, Sample, key_of
from prentice.records import Message, Record

KEPT_REPLIES = 2_000
KEPT_SHAPES = 100
_SHOWN = 5
_LONGEST_SHOWN = 60


class Frequent(Record):
    """A reply, a set of keys or a tool, and the share of its kind that it makes up."""

    text: str
    share: float
    keys: tuple[str, ...] = ()
    """Of a tool: the names of the arguments it was called with."""


class Outputs(Record):
    """The replies of a function."""

    distinct: int
    """Different replies; estimated beyond a few thousand."""
    entropy_bits: float
    """Of the distribution of replies: 0 where all are the same, 1 for a fair coin, log2 of `distinct` at most."""
    top: tuple[Frequent, ...]
    """The most frequent replies."""
    tools: float
    """Share of the replies that call tools."""
    tool_names: tuple[Frequent, ...]
    unreadable_arguments: int
    """Calls of tools whose arguments are no JSON object."""
    objects: float
    """Share of the replies that are a JSON object."""
    shapes: int
    """Different sets of keys among those."""
    top_shapes: tuple[Frequent, ...]
    tokens_p50: int
    tokens_p95: int
    """Of the text and the calls in a reply, estimated from characters."""
    truncated: int
    """Replies that were cut at their greatest length."""
    empty: int
    """Replies with neither text nor calls."""


@dataclass(slots=True)
class _Seen:
    calls: int = 0
    text: str = ""


@dataclass(slots=True)
class _Tool:
    calls: int = 0
    text: str = ""
    keys: Sample[_Seen] = field(default_factory=lambda: Sample[_Seen](KEPT_SHAPES, _Seen))


class OutputTally:
    """Takes in the replies of one function."""

    def __init__(self) -> None:
        self._replies = Sample[_Seen](KEPT_REPLIES, _Seen)
        self._shapes = Sample[_Seen](KEPT_SHAPES, _Seen)
        self._tools = Sample[_Tool](KEPT_SHAPES, _Tool)
        self._tokens = Histogram()
        self._calls = self._with_tools = self._objects = self._tool_calls = 0
        self._truncated = self._empty = self._unreadable = 0

    def add(self, call: Call) -> None:
        """Take in one reply."""
        message = call.turn.reply.message
        self._calls += 1
        self._tokens.add(call.answer_tokens)
        self._truncated += call.turn.reply.finish_reason in ("length", "max_tokens", "MAX_TOKENS")
        self._empty += not message.content.strip() and not message.tool_calls
        _see(self._replies, call.reply, lambda: _shown(message))
        if message.tool_calls:
            self._call_tools(message)
        elif (keys := _keys(message.content)) is not None:
            self._objects += 1
            _see(self._shapes, _hash(keys), lambda: ", ".join(keys)[:400])

    def result(self) -> Outputs:
        """What there was."""
        replies = [seen.calls for seen in self._replies]
        total = sum(replies)
        tools = sorted(self._tools, key=lambda tool: (-tool.calls, tool.text))
        return Outputs(
            distinct=self._replies.distinct,
            entropy_bits=-math.fsum(n / total * math.log2(n / total) for n in replies) + 0.0 if total else 0.0,
            top=_top(self._replies),
            tools=self._with_tools / max(1, self._calls),
            tool_names=tuple(
                Frequent(
                    text=tool.text,
                    share=tool.calls / self._tool_calls,
                    keys=tuple(sorted(key.text for key in tool.keys)),
                )
                for tool in tools
            ),
            unreadable_arguments=self._unreadable,
            objects=self._objects / max(1, self._calls),
            shapes=self._shapes.distinct,
            top_shapes=_top(self._shapes),
            tokens_p50=self._tokens.quantile(0.5),
            tokens_p95=self._tokens.quantile(0.95),
            truncated=self._truncated,
            empty=self._empty,
        )

    def _call_tools(self, message: Message) -> None:
        self._with_tools += 1
        for asked in message.tool_calls:
            self._tool_calls += 1
            keys = _keys(asked.arguments)
            self._unreadable += keys is None
            tool = self._tools.of(_hash([asked.name]))
            if tool is not None:
                tool.calls, tool.text = tool.calls + 1, asked.name
                for key in keys or ():
                    _see(tool.keys, _hash([key]), lambda key=key: key[:_LONGEST_SHOWN])  # type: ignore[misc]


def _keys(text: str) -> list[str] | None:
    """The keys of the JSON object that the text is, sorted; None where it is none."""
    from pydantic_core import from_json

    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not bare.startswith("{"):
        return None
    try:
        value: Any = from_json(bare)
    except ValueError:
        return None
    return sorted(value) if isinstance(value, dict) else None


def _see(sample: Sample[_Seen], key: int, text: Callable[[], str]) -> None:
    seen = sample.of(key)
    if seen is None:
        return
    if not seen.calls:
        seen.text = text()
    seen.calls += 1


def _hash(words: Iterable[str]) -> int:
    return key_of(*(word.encode("utf-8", "surrogatepass") for word in words))


def _shown(message: Message) -> str:
    said = [message.content, *(f"{call.name}({call.arguments})" for call in message.tool_calls)]
    text = " ".join(" ".join(said).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _top(sample: Sample[_Seen]) -> tuple[Frequent, ...]:
    total = sum(seen.calls for seen in sample)
    ordered = sorted(sample, key=lambda seen: (-seen.calls, seen.text))[:_SHOWN]
    return tuple(Frequent(text=seen.text, share=seen.calls / total) for seen in ordered)
