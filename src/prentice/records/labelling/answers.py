"""A reply as text that a person can edit, and what is made of the edited text."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

from prentice.errors import DataError
from prentice.records.chats import Message, Request, ToolCall
from prentice.records.episodes import Turn
from prentice.records.feedback import LONGEST

_CALL = re.compile(r"(?:→|->)\s*([\w.:/-]+)\s*\((.*)\)\s*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PLAIN_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‟": '"', "‘": "'", "’": "'", "‚": "'", "\xa0": " "})
"""What word processors make of plain quotes and spaces."""


def as_text(message: Message) -> str:
    """The text of a reply, and below it one line for each call of a tool: `→ name({"key": "value"})`."""
    calls = [f"→ {call.name}({_one_line(call.arguments)})" for call in message.tool_calls]
    return "\n".join([*([message.content] if message.content else []), *calls])


def tidy(text: str) -> str:
    """The text without what editors and spreadsheets put around it: line ends are one character, none at either end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()


def corrected(turn: Turn, text: str) -> Message:
    """The reply that an edited text stands for.

    Raises: DataError if the text cannot be a reply to this request: it is empty or too long, holds a control character,
        is none of the choices, or no JSON where JSON was asked for.
    """
    text = tidy(text)
    check_text(text)
    if not text.strip():
        raise DataError("the answer is empty")
    if text == tidy(as_text(turn.reply.message)):
        return turn.reply.message
    if turn.request.choices:
        return Message(role="assistant", content=_choice(text, turn.request.choices))
    if _is_json(turn):
        return Message(role="assistant", content=_json(text))
    return _message(text, turn.request, turn.reply.message.tool_calls)


def check_text(text: str) -> None:
    """Refuse what no store and no file can keep.

    Raises: DataError naming the character.
    """
    found = _CONTROL.search(text)
    if found is not None:
        raise DataError(f"holds the control character U+{ord(found[0]):04X} at position {found.start() + 1}")
    if len(text) > LONGEST:
        raise DataError(f"has {len(text):,} characters; {LONGEST:,} are allowed")


def _choice(text: str, choices: Sequence[str]) -> str:
    if text in choices:
        return text
    wanted = _alike(text)
    found = [choice for choice in choices if _alike(choice) == wanted]
    if len(found) == 1:
        return found[0]
    near = difflib.get_close_matches(wanted, [_alike(choice) for choice in choices], n=3, cutoff=0.5)
    by_look = {_alike(choice): choice for choice in choices}
    hint = f"did you mean {' or '.join(by_look[each] for each in near)}?" if near else ""
    raise DataError(f"{shortened(text)} is none of the {len(choices)} choices", hint)


def _alike(text: str) -> str:
    return " ".join(text.translate(_PLAIN_QUOTES).split()).casefold()


def _is_json(turn: Turn) -> bool:
    """Whether the reply has to be a JSON object or list."""
    if turn.request.response_schema is not None:
        return True
    return isinstance(_loaded(turn.reply.message.content), dict | list)


def _json(text: str) -> str:
    for each in (text, text.translate(_PLAIN_QUOTES)):
        if isinstance(_loaded(each), dict | list):
            return each
    raise DataError(f"{shortened(text)} is no JSON object or list, as the reply has to be")


def _message(text: str, request: Request, before: Sequence[ToolCall]) -> Message:
    """Text, and the calls of tools in its last lines."""
    lines = text.split("\n")
    calls: list[tuple[str, str]] = []
    while request.tools and lines and (found := _CALL.fullmatch(lines[-1])) is not None:
        calls.insert(0, _checked_call(found[1], found[2], request))
        lines.pop()
    ids = [call.id for call in before]
    made = (
        ToolCall(id=ids[n] if n < len(ids) else f"call_{n}", name=name, arguments=arguments)
        for n, (name, arguments) in enumerate(calls)
    )
    return Message(role="assistant", content="\n".join(lines).rstrip(), tool_calls=tuple(made))


def _checked_call(name: str, arguments: str, request: Request) -> tuple[str, str]:
    known = [tool.name for tool in request.tools]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known[:10])}"
        raise DataError(f"no tool is named {shortened(name)}", hint)
    for each in (arguments, arguments.translate(_PLAIN_QUOTES)):
        if isinstance(_loaded(each), dict):
            return name, each
    raise DataError(f"the arguments of {name} are no JSON object: {shortened(arguments)}")


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _one_line(arguments: str) -> str:
    if "\n" not in arguments:
        return arguments
    loaded = _loaded(arguments)
    return " ".join(arguments.split()) if loaded is None else json.dumps(loaded, ensure_ascii=False)


def shortened(text: str, most: int = 60) -> str:
    """A text as errors quote it."""
    return repr(text if len(text) <= most else text[: most - 1] + "…")
