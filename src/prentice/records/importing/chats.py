"""Messages and tools as sources write them → ours. What a message says beyond our fields is noted by its position."""

from __future__ import annotations

import marshal
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from prentice.records.base import first_fault
from prentice.records.chats import Message, Role, Tool, ToolCall
from prentice.records.importing.faults import RowError, shown

Notes = dict[str, Any]
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "tool": "tool",
    "function": "tool",
}
MOST_MESSAGES = 5_000
"""Longest conversation: every turn shows all before it, so its cost grows with the square of this."""
_KNOWN = {"role", "content", "tool_calls", "tool_call_id"}
_TOOLS_KEPT = 64
_MESSAGE = TypeAdapter(Message).validator
"""Makes a message in two thirds of the time that its class takes."""


@dataclass(slots=True)
class Chat:
    """The messages of a conversation, and by position what else the source says of them."""

    messages: list[Message] = field(default_factory=list)
    notes: dict[str, Notes] = field(default_factory=dict)
    _asked: dict[str, None] = field(default_factory=dict, init=False)
    """Ids of all calls so far."""
    _open: list[str] = field(default_factory=list, init=False)
    """Ids of the calls without a result yet, in order."""

    def add(self, raw: Any) -> None:
        """Take in the next message.

        Raises: RowError naming its position and what is wrong.
        """
        number = len(self.messages)
        if not isinstance(raw, dict):
            raise RowError("malformed message", f"messages.{number} is {shown(raw)}, not an object")
        named = raw.get("role")
        role = ROLES.get(named) if isinstance(named, str) else None
        if role is None:
            raise RowError("unknown role", f"messages.{number}.role is {shown(named)}, known: {', '.join(ROLES)}")
        notes: Notes = {} if named == role else {"role": named}
        content = raw.get("content")
        if not isinstance(content, str):
            content = _content(content, role, f"messages.{number}", notes)
        fields: dict[str, Any] = {"role": role, "content": content}
        if role == "assistant":
            fields["tool_calls"] = self._calls(raw, f"messages.{number}", notes)
        elif role == "tool":
            fields["tool_call_id"] = self._answered(raw, f"messages.{number}")
        if not raw.keys() <= _KNOWN:
            fields["content"] = _rest(raw, role, content, notes)
        if notes:
            self.notes[str(number)] = notes
        self.messages.append(_MESSAGE.validate_python(fields))

    def _calls(self, raw: Notes, place: str, notes: Notes) -> tuple[ToolCall, ...]:
        entries = raw.get("tool_calls") or []
        if raw.get("function_call"):  # the form before there were several calls in one message
            entries = [{"function": raw["function_call"]}]
        if not entries:
            return ()
        if not isinstance(entries, list):
            raise RowError("malformed tool call", f"{place}.tool_calls is {shown(entries)}, not a list")
        calls = tuple(
            _call(entry, f"{place}.tool_calls.{number}", f"call_{len(self.messages)}_{number}")
            for number, entry in enumerate(entries)
        )
        more = {str(place): rest for place, entry in enumerate(entries) if (rest := _rest_of_call(entry))}
        if more:
            notes["tool_calls"] = more
        self._open = [call.id for call in calls]
        self._asked.update(dict.fromkeys(self._open))
        return calls

    def _answered(self, raw: Notes, place: str) -> str:
        """The id of the call that a tool's message answers; where it names none, the next one without a result."""
        named = raw.get("tool_call_id")
        if named is None and self._open:
            named = self._open[0]
        if not isinstance(named, str) or named not in self._asked:
            raise RowError("tool result without a call", f"{place}.tool_call_id is {shown(named)}")
        if named in self._open:
            self._open.remove(named)
        return named


def read_chat(raw: Any) -> Chat:
    """Read a list of messages.

    Raises: RowError.
    """
    if isinstance(raw, str):
        raw = json_in_text(raw)
    if not isinstance(raw, list):
        raise RowError("malformed message", f"messages is {shown(raw)}, not a list")
    if not raw:
        raise RowError("empty conversation")
    if len(raw) > MOST_MESSAGES:
        raise RowError("conversation too long", f"{len(raw):,} messages, at most {MOST_MESSAGES:,} are read")
    chat = Chat()
    for entry in raw:
        chat.add(entry)
    return chat


def json_in_text(text: str) -> Any:
    """The value of a JSON text, or the text itself where it is none."""
    if text[:1] not in {"{", "["}:
        return text
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


class Tools:
    """Reads tools; the same ones, which logs repeat in every row, are made once."""

    def __init__(self) -> None:
        self._made: dict[bytes, tuple[tuple[Tool, ...], Notes]] = {}

    def read(self, raw: Any) -> tuple[tuple[Tool, ...], Notes]:
        """The tools, and by position what else the source says of them.

        Raises: RowError.
        """
        if raw in (None, "", [], {}):
            return (), {}
        # not the object: 1 equals True, and the order of keys is part of the prompt; version 2 writes equals alike
        key = marshal.dumps(raw, 2)
        if key not in self._made:
            if len(self._made) >= _TOOLS_KEPT:
                self._made.clear()
            self._made[key] = _tools(json_in_text(raw) if isinstance(raw, str) else raw)
        return self._made[key]


def _tools(raw: Any) -> tuple[tuple[Tool, ...], Notes]:
    if isinstance(raw, dict):  # by name, as some sources have it
        raw = list(raw.values())
    if not isinstance(raw, list):
        raise RowError("malformed tool", f"tools is {shown(raw)}, not a list")
    tools, notes = list[Tool](), Notes()
    for position, entry in enumerate(raw):
        tool, rest = _tool(json_in_text(entry) if isinstance(entry, str) else entry, f"tools.{position}")
        tools.append(tool)
        if rest:
            notes[str(position)] = rest
    return tuple(tools), notes


def _tool(entry: Any, place: str) -> tuple[Tool, Notes]:
    if not isinstance(entry, dict):
        raise RowError("malformed tool", f"{place} is {shown(entry)}, not an object")
    inner = entry.get("function")
    said = inner if isinstance(inner, dict) else entry
    known = ("name", "description", "parameters", "input_schema")
    notes = {key: value for key, value in said.items() if key not in known and value is not None}
    notes |= {key: value for key, value in entry.items() if said is not entry and key not in {"function", "type"}}
    if notes.get("type") == "function":
        del notes["type"]
    fields = {
        "name": said.get("name") or entry.get("type"),  # a tool of the provider's own has a type and no name
        "description": said.get("description") or "",
        "parameters": said.get("parameters") or said.get("input_schema") or {},
    }
    try:
        return Tool.model_validate(fields), notes
    except ValidationError as error:
        key, words = first_fault(error)
        raise RowError("malformed tool", f"{place}.{key}: {words}") from error


def _call(entry: Any, place: str, made_id: str) -> ToolCall:
    if isinstance(entry, str):
        entry = json_in_text(entry)
    if not isinstance(entry, dict):
        raise RowError("malformed tool call", f"{place} is {shown(entry)}, not an object")
    inner = entry.get("function")
    said = inner if isinstance(inner, dict) else entry
    name, arguments, id_ = said.get("name"), said.get("arguments"), entry.get("id") or made_id
    if not isinstance(name, str) or not name:
        raise RowError("malformed tool call", f"{place}: its name is {shown(name)}")
    if arguments is None:
        raise RowError("call without arguments", f"{place} calls {shown(name)}")
    if not isinstance(id_, str):
        raise RowError("malformed tool call", f"{place}: its id is {shown(id_)}")
    return ToolCall(id=id_, name=name, arguments=as_text(arguments))


def _rest_of_call(entry: Any) -> Notes:
    known = {"id", "type", "function", "name", "arguments"}
    return {key: value for key, value in entry.items() if key not in known} if isinstance(entry, dict) else {}


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else to_json(value).decode()


def _content(raw: Any, role: Role, place: str, notes: Notes) -> str:
    if raw is None:
        return ""
    if isinstance(raw, list) and all(isinstance(part, str | dict) for part in raw):
        return _parts(raw, notes)
    if role == "tool":
        return as_text(raw)
    raise RowError("malformed message", f"{place}.content is {shown(raw)}, not a text or a list of parts")


def _parts(parts: list[Any], notes: Notes) -> str:
    """The text of a message in parts; what is no text, an image or a sound, is noted as left out."""
    texts, left_out = list[str](), list[str]()
    for part in parts:
        text = part if isinstance(part, str) else part.get("text", part.get("refusal"))
        if isinstance(text, str):
            texts.append(text)
        else:
            left_out.append(str(part.get("type")))
    if left_out:
        notes["left_out"] = left_out
    return "\n".join(texts)


def _rest(raw: Notes, role: Role, content: str, notes: Notes) -> str:
    """Note the fields that are not ours; a refusal is what was said, where nothing else was."""
    for key, value in raw.items():
        if key not in _KNOWN and value is not None and not (key == "function_call" and role == "assistant"):
            notes[key] = value
    refusal = raw.get("refusal")
    return refusal if not content and isinstance(refusal, str) else content
