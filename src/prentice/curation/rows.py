"""Rows of training data on their way through curation: what the student will be shown, and what it shall say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter

from prentice.records import Episode, Example, Message, Request, Tool, Turn, digest
from prentice.records.chats import DISCONNECTED, said

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
    shown: bool = False
    """Whether the reply is a demonstration instead of the policy's own."""

    @property
    def reply(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What the student shall say, to compare."""
        return said(self.example.reply)


def make_row(episode: Episode, number: int, demonstration: Message | None, render: Render) -> Row:
    """Show the student's prompt instead of the policy's; keep the reply that was demonstrated, else the policy's own.

    Args:
        number: of the turn.
    """
    turn = episode.turns[number]
    request = render(turn.request.function, turn.request.inputs)
    example = Example(
        id=digest([episode.id, number]),
        episode=episode.id,
        case=episode.case,
        turn=number,
        messages=request.messages,
        tools=request.tools,
        reply=demonstration or turn.reply.message,
    )
    return Row(
        example,
        turn.request.choices,
        prompt_bytes(request.messages, request.tools),
        _unusable(turn, demonstration),
        demonstration is not None,
    )


def demonstrated(episode: Episode) -> dict[int, Message]:
    """Turn → what its reply should have been; of several demonstrations the last one counts."""
    return {each.turn: each.message for each in episode.demonstrations if each.turn < len(episode.turns)}


def prompt_bytes(messages: Sequence[Message], tools: Sequence[Tool]) -> bytes:
    """Equal for equal prompts only."""
    return _CHAT.dump_json((tuple(messages), tuple(tools)))


def shown_first(rows: Iterable[Row]) -> list[Row]:
    """Demonstrations before the policies' own replies, each in their order."""
    return sorted(rows, key=lambda row: not row.shown)


def still_in(rows: Iterable[Row]) -> list[Row]:
    """The rows that were not dropped."""
    return [row for row in rows if not row.fate]


def draw(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on `seed` and `names` alone, so that more data moves no earlier choice."""
    text = "\0".join([str(seed), *names]).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:6]) / 2**48


def _unusable(source: Turn, demonstration: Message | None) -> str:
    message = demonstration or source.reply.message
    if not message.content and not message.tool_calls:
        return "empty reply"
    if demonstration is not None:
        choices = source.request.choices
        return "demonstration is none of the choices" if choices and demonstration.content not in choices else ""
    if source.reply.finish_reason == "length" and message.content not in source.request.choices:
        return "reply cut at max_tokens"
    return "reply cut: its client left" if source.reply.finish_reason == DISCONNECTED else ""
