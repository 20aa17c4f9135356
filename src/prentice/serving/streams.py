"""Server-sent events: cut out of the bytes as they come, and put together to the completion that they tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

DONE = b"[DONE]"
LONGEST_EVENT = 8_000_000
"""Bytes; what is longer is relayed, and not understood."""


class Events:
    """Cuts a stream of bytes into events; nothing of it is changed."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that `data` completes, each with the empty line that ends it."""
        self._rest += data
        while True:
            ends = [(place, len(end)) for end in (b"\n\n", b"\r\n\r\n") if (place := self._rest.find(end)) >= 0]
            if not ends:
                break
            place, length = min(ends)
            event, self._rest = self._rest[: place + length], self._rest[place + length :]
            yield event
        if len(self._rest) > LONGEST_EVENT:
            yield self.rest()

    def rest(self) -> bytes:
        """What is left at the end of the stream."""
        rest, self._rest = self._rest, b""
        return rest


def data_of(event: bytes) -> bytes:
    """The data of an event; empty for a comment."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def chunk_of(data: bytes) -> dict[str, Any] | None:
    """The chunk of an event's data; None if it is none."""
    try:
        chunk = from_json(data)
    except ValueError:
        return None
    return chunk if isinstance(chunk, dict) else None


def only_counts(chunk: dict[str, Any]) -> bool:
    """Whether a chunk says nothing but how many tokens there were."""
    return not chunk.get("choices") and isinstance(chunk.get("usage"), dict)


class Completion:
    """A completion that comes in chunks."""

    def __init__(self) -> None:
        self._whole: dict[str, Any] = {}
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish: Any = None
        self.error: Any = None
        """What the server said of a failure in mid-stream."""
        self.begun = False

    def add(self, chunk: dict[str, Any]) -> None:
        """Take in the next chunk; of several choices the first is kept."""
        self.error = chunk.get("error") or self.error
        for name, value in chunk.items():
            if name not in ("choices", "object") and value is not None:
                self._whole[name] = value
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                self.begun = True
                self._finish = choice.get("finish_reason") or self._finish
                self._add_delta(choice.get("delta"))

    def _add_delta(self, delta: Any) -> None:
        if not isinstance(delta, dict):
            return
        for name, value in delta.items():
            if name == "content" and isinstance(value, str):
                self._texts.append(value)
            elif name == "tool_calls" and isinstance(value, list):
                for call in value:
                    if isinstance(call, dict):
                        self._add_call(call)
            elif isinstance(value, str) and isinstance(self._message.get(name), str) and name != "role":
                self._message[name] += value  # reasoning and refusals come in pieces too
            elif value is not None and name not in ("content", "tool_calls", "role"):
                self._message[name] = value

    def _add_call(self, piece: dict[str, Any]) -> None:
        place = piece.get("index")
        call = self._calls.setdefault(place if isinstance(place, int) else len(self._calls), {"type": "function"})
        call["id"] = piece.get("id") or call.get("id")
        function = piece.get("function")
        told = call.setdefault("function", {"name": "", "arguments": ""})
        for name in ("name", "arguments"):
            if isinstance(function, dict) and isinstance(function.get(name), str):
                told[name] += function[name]

    def whole(self, finish: str | None = None) -> dict[str, Any]:
        """The completion so far, in the form of one that came at once.

        Args:
            finish: why it ended, where the stream did not say.
        """
        message = {**self._message, "content": "".join(self._texts) if self._texts else None}
        if self._calls:
            message["tool_calls"] = [self._calls[place] for place in sorted(self._calls)]
        choice = {"index": 0, "message": message, "finish_reason": self._finish or finish}
        return {**self._whole, "object": "chat.completion", "choices": [choice]}
