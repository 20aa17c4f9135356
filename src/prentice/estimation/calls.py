"""An episode as the calls somebody paid for: sizes, hashes, and what each call shares with those before it.

Knows no prices and adds nothing up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from prentice.estimation.functions import Function, function_of
from prentice.estimation.sketches import key_of
from prentice.records import Episode, Message, Request, Tool, Turn

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for European languages; providers differ by a fifth or so."""


_TOOL_SETS = 100


class Call(NamedTuple):
    """One call, measured."""

    function: Function
    turn: Turn
    request: int
    """Hash of all that was asked; the ids of tool calls are left out, since providers draw them."""
    reply: int
    """Hash of the answer, likewise."""
    beginning: int
    """Hash of tools and system prompt, with which a request begins."""
    beginning_characters: int
    system: int
    """Hash of the system prompt alone."""
    repeated_characters: int
    """Of the prompt, those at its beginning that the call before it in its episode has sent already."""
    prompt_characters: int
    input_tokens: int
    """As the log says, else estimated from the characters."""
    output_tokens: int
    answer_tokens: int
    """Of the answer's text, estimated: what the log counts may hold hidden reasoning."""


class _Sized(NamedTuple):
    key: bytes
    characters: int


class Reader:
    """Reads episodes; tools that several of them share are measured once."""

    def __init__(self) -> None:
        self._tools: dict[tuple[int, ...], tuple[tuple[Tool, ...], _Sized]] = {}

    def calls(self, episode: Episode) -> Iterator[Call]:
        """The calls of an episode, in order."""
        chat = _Chat(self._tool_set)
        return (chat.read(turn) for turn in episode.turns)

    def _tool_set(self, tools: tuple[Tool, ...]) -> _Sized:
        key = tuple(map(id, tools))
        if key not in self._tools:
            if len(self._tools) >= _TOOL_SETS:
                self._tools.clear()
            text = json.dumps([tool.model_dump() for tool in tools], ensure_ascii=False) if tools else ""
            # they are kept, so that their ids stay theirs
            self._tools[key] = tools, _Sized(_key(text), len(text))
        return self._tools[key][1]


class _Chat:
    """Reads the turns of one episode, each message once: the turns of a chat share their messages."""

    def __init__(self, tool_set: Callable[[tuple[Tool, ...]], _Sized]) -> None:
        self._tool_set = tool_set
        self._messages: dict[int, _Sized] = {}
        self._functions: dict[tuple[object, ...], Function] = {}
        self._before: dict[str, tuple[bytes, list[_Sized]]] = {}

    def read(self, turn: Turn) -> Call:
        request, reply = turn.request, turn.reply
        sized = [self._message(message) for message in request.messages]
        tools = self._tool_set(request.tools)
        first = sum(1 for _ in takewhile(lambda message: message.role == "system", request.messages))
        system = b"".join(each.key for each in sized[:first])
        function = self._function(request, tools.key, system)
        repeated = self._repeated(function.key, tools, sized)
        characters = tools.characters + sum(each.characters for each in sized)
        answer = _sized(reply.message)
        usage = reply.usage
        return Call(
            function=function,
            turn=turn,
            request=key_of(tools.key, _form(request), b"".join(each.key for each in sized)),
            reply=key_of(answer.key),
            beginning=key_of(tools.key, system),
            beginning_characters=tools.characters + sum(each.characters for each in sized[:first]),
            system=key_of(system),
            repeated_characters=repeated,
            prompt_characters=characters,
            input_tokens=_tokens(characters) if usage.input_tokens is None else usage.input_tokens,
            output_tokens=_tokens(answer.characters) if usage.output_tokens is None else usage.output_tokens,
            answer_tokens=_tokens(answer.characters),
        )

    def _message(self, message: Message) -> _Sized:
        # the episode keeps its messages alive, so an id stands for one message
        found = self._messages.get(id(message))
        if found is None:
            found = self._messages[id(message)] = _sized(message)
        return found

    def _function(self, request: Request, tools: bytes, system: bytes) -> Function:
        known = (request.function, request.choices, id(request.response_schema), tools, system)
        if known not in self._functions:
            self._functions[known] = function_of(request)
        return self._functions[known]

    def _repeated(self, function: str, tools: _Sized, sized: list[_Sized]) -> int:
        before = self._before.get(function)
        self._before[function] = (tools.key, sized)
        if before is None or before[0] != tools.key:
            return 0
        same = takewhile(lambda pair: pair[0].key == pair[1].key, zip(before[1], sized, strict=False))
        return tools.characters + sum(each.characters for each, _ in same)


def _sized(message: Message) -> _Sized:
    parts = [
        message.role,
        message.content,
        *(text for call in message.tool_calls for text in (call.name, call.arguments)),
    ]
    return _Sized(_key(*parts), sum(map(len, parts[1:])))


def _key(*texts: str) -> bytes:
    return key_of(*(text.encode("utf-8", "surrogatepass") for text in texts)).to_bytes(8, "big")


def _form(request: Request) -> bytes:
    form: Sequence[object] = (request.choices, request.response_schema)
    return json.dumps(form, sort_keys=True).encode() if any(form) else b""


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)
