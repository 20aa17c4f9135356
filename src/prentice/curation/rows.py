"""Rows of training data on their way through curation: what the student will be shown, and what it shall say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter

from prentice.curation.facts import said
from prentice.records import Example, Message, Request, Tool, Turn, digest

Render = Callable[[str, Mapping[str, JsonValue]], Request]
"""The student's prompt for a prompt's name and inputs. It is all that curation knows of a task."""

_CHAT = TypeAdapter(tuple[tuple[Message, ...], tuple[Tool, ...]])


@dataclass(eq=False, slots=True)
class Row:
    """One turn as training data; `fate` is empty while it is in, else the reason it was dropped."""

    example: Example
    choices: tuple[str, ...]
    prompt: bytes
    """What the student is shown, as bytes to compare."""
    fate: str = ""

    @property
    def reply(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What the student shall say, to compare."""
        return said(self.example.reply)


def make_row(episode: str, case: str, turn: int, source: Turn, render: Render) -> Row:
    """Show the student's prompt instead of the policy's; keep the policy's own reply."""
    request = render(source.request.function, source.request.inputs)
    example = Example(
        id=digest([episode, turn]),
        episode=episode,
        case=case,
        turn=turn,
        messages=request.messages,
        tools=request.tools,
        reply=source.reply.message,
    )
    return Row(example, source.request.choices, prompt_bytes(request.messages, request.tools), _unusable(source))


def prompt_bytes(messages: Sequence[Message], tools: Sequence[Tool]) -> bytes:
    """Equal for equal prompts only."""
    return _CHAT.dump_json((tuple(messages), tuple(tools)))


def still_in(rows: Iterable[Row]) -> list[Row]:
    """The rows that were not dropped."""
    return [row for row in rows if not row.fate]


def draw(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on `seed` and `names` alone, so that more data moves no earlier choice."""
    text = "\0".join([str(seed), *names]).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:6]) / 2**48


def _unusable(source: Turn) -> str:
    message = source.reply.message
    if not message.content and not message.tool_calls:
        return "empty reply"
    if source.reply.finish_reason == "length" and message.content not in source.request.choices:
        return "reply cut at max_tokens"
    return ""
