"""Rows with `conversations`, as ShareGPT has them: who said it in `from`, what in `value`."""

from __future__ import annotations

from typing import Any

from prentice.records.importing.chats import Tools, as_text, json_in_text
from prentice.records.importing.conversations import Draft, LogOptions
from prentice.records.importing.faults import RowError, shown
from prentice.records.importing.fields import Fields
from prentice.records.importing.openai import read_openai

CALLS = "function_call"
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant"}
_ROLES |= {CALLS: "assistant", "observation": "tool"}
_OURS = {"from", "value", "content"}


def read_sharegpt(row: Fields, options: LogOptions, tools: Tools) -> Draft:
    """A row that holds a conversation.

    Raises: RowError.
    """
    said = row.pop("conversations", None)
    if said is None:
        raise RowError(
            "no conversation in it", f"no conversations among {', '.join(map(str, row)) or 'no fields'}"[:200]
        )
    said = json_in_text(said) if isinstance(said, str) else said
    if not isinstance(said, list):
        raise RowError("malformed message", f"conversations is {shown(said)}, not a list")
    system = row.get("system")
    before = [{"role": "system", "content": row.pop("system")}] if isinstance(system, str) and system else []
    row["messages"] = [*before, *map(_message, said)] if said else []
    return read_openai(row, options, tools)


def _message(entry: Any) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("from"), str):
        if isinstance(entry, dict) and "from" in entry:
            raise RowError("unknown role", f"from is {shown(entry['from'])}")
        return entry  # rows that say `role` and `content` after all
    who, value = entry["from"], entry.get("value")
    message = {key: said for key, said in entry.items() if key not in _OURS}
    message["role"] = _ROLES.get(who, who)
    if who == CALLS:
        return {**message, "content": entry.get("content"), "tool_calls": _calls(value)}
    return {**message, "content": value}


def _calls(value: Any) -> list[Any]:
    """What a model asked for: a call, or a list of them, maybe as JSON text."""
    found = json_in_text(value) if isinstance(value, str) else value
    calls = found if isinstance(found, list) else [found]
    return [_call(call) if isinstance(call, dict) else call for call in calls]


def _call(call: Fields) -> Fields:
    arguments = call.get("arguments_text", call.get("arguments"))
    function = {"name": call.get("name"), "arguments": None if arguments is None else as_text(arguments)}
    return {"id": call.get("id"), "function": function}
