"""OpenTelemetry spans of model calls (OTLP as JSON): a span is a call, the calls of a conversation are an episode.

Read are the GenAI conventions with messages in attributes (`gen_ai.input.messages`), those before with an event for
each message (on the span, or as log records of their own), and `gen_ai.prompt.0.content` as older libraries wrote it.
Spans that are no call of a model (tools, agents, HTTP) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from prentice.records.importing.calls import Entry
from prentice.records.importing.chats import as_text, json_in_text
from prentice.records.importing.faults import RowError, shown
from prentice.records.importing.fields import Fields, number

OPERATIONS = {"chat", "text_completion", "generate_content", "completion"}
_NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,4})\.(.+)")
_MESSAGE = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message")
_VALUES = ("stringValue", "boolValue", "doubleValue", "bytesValue")
_CONVERSATION = ("gen_ai.conversation.id", "session.id", "langfuse.session.id")


def fits_otel(row: Fields) -> bool:
    """Whether a row is OTLP."""
    return "resourceSpans" in row or "resourceLogs" in row


def otel_entries(row: Fields) -> Iterator[Entry | RowError]:
    """The calls of a row, and the events that lie apart from them."""
    for scope in _nested(row, "resourceSpans", "scopeSpans"):
        for span in _list(scope.get("spans")):
            try:
                entry = _span(span)
            except RowError as fault:
                yield fault
            else:
                if entry is not None:
                    yield entry
    for scope in _nested(row, "resourceLogs", "scopeLogs"):
        for record in _list(scope.get("logRecords")):
            if (event := _log_event(record)) is not None:
                yield event


def with_events(body: Fields, notes: list[Fields]) -> Fields:
    """A call with the messages that its events say, those on it and those that lay apart.

    Raises: RowError if nothing was said at all.
    """
    events = [*body.pop("events", ()), *notes]
    messages, replies = list(body.get("messages") or []), [body["reply"]] if body.get("reply") else []
    for event in events:
        name, said = event["name"], event["said"]
        if (role := _MESSAGE.fullmatch(name)) is not None:
            messages.append(_event_message(role[1], said))
        elif name == "gen_ai.choice":
            replies.append(_choice(said, body))
        elif name in {"gen_ai.content.prompt", "gen_ai.content.completion"}:
            kind = name.rpartition(".")[2]
            text = said.get(f"gen_ai.{kind}") or ""
            (messages if kind == "prompt" else replies).extend(_text_messages(text, kind))
        elif "gen_ai.input.messages" in said or "gen_ai.output.messages" in said:
            attributes = _newer(said)
            messages = attributes["messages"]
            replies = [attributes["reply"]] if attributes["reply"] else []
    if not replies and not body.get("error"):
        raise RowError("no conversation in it", "the call holds no messages: was capturing content switched on?")
    return body | {"messages": messages, "reply": replies[0] if replies else None}


def _span(span: Any) -> Entry | None:
    if not isinstance(span, dict):
        raise RowError("malformed message", f"a span is {shown(span)}, not an object")
    said = _attributes(span.get("attributes"))
    operation = said.pop("gen_ai.operation.name", None) or said.get("llm.request.type")
    model = said.pop("gen_ai.response.model", None) or said.get("gen_ai.request.model")
    if str(operation) not in OPERATIONS if operation else not model:
        return None
    trace, id_ = str(span.get("traceId") or ""), str(span.get("spanId") or "")
    begun, ended = (_seconds(span.get(name)) for name in ("startTimeUnixNano", "endTimeUnixNano"))
    body = _newer(said) if "gen_ai.output.messages" in said or "gen_ai.input.messages" in said else _numbered(said)
    key = next((str(said.pop(name)) for name in _CONVERSATION if said.get(name)), trace)
    if not key:
        raise RowError("wrong value", "the span has neither traceId nor gen_ai.conversation.id")
    finish = said.pop("gen_ai.response.finish_reasons", None)
    body |= {
        "model": model,
        "finish_reason": finish[0] if isinstance(finish, list) and finish else body.get("finish_reason"),
        "usage": _usage(said),
        "latency_s": ended - begun if begun and ended and ended >= begun else None,
        "started_at": begun or None,
        "function": said.pop("gen_ai.prompt.name", None) or said.pop("gen_ai.agent.name", None),
        "tools": said.pop("gen_ai.tool.definitions", None),
        "about": f"{trace}/{id_}",
        "error": _error(span.get("status")),
        "events": [event for event in map(_event, _list(span.get("events"))) if event is not None],
        "extra": said | {"trace": trace, "span": id_, "name": span.get("name")},
    }
    return Entry(key, begun or 0.0, body)


def _error(status: Any) -> str | None:
    failed = isinstance(status, dict) and status.get("code") in (2, "STATUS_CODE_ERROR")
    return str(status.get("message") or "error") if failed else None


def _usage(said: Fields) -> Fields:
    names = {
        "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "cached_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cached_tokens"),
    }
    return {ours: next((said.pop(name) for name in theirs if name in said), None) for ours, theirs in names.items()}


def _newer(said: Fields) -> Fields:
    """Messages in attributes, each in parts."""
    asked = _parts_messages(said.pop("gen_ai.input.messages", None))
    answered = _parts_messages(said.pop("gen_ai.output.messages", None))
    instructions = said.pop("gen_ai.system_instructions", None)
    if instructions:
        asked = [*_parts_messages([{"role": "system", "parts": _maybe_json(instructions)}]), *asked]
    reply = answered[0] if answered else None
    finish = reply.pop("finish_reason", None) if isinstance(reply, dict) else None
    return {"messages": asked, "reply": reply, "finish_reason": finish}


def _parts_messages(raw: Any) -> list[Any]:
    raw = _maybe_json(raw)
    if isinstance(raw, str):
        raise RowError("malformed message", f"messages are {shown(raw)}, not a JSON list")
    found = list[Any]()
    for message in _list(raw):
        if isinstance(message, dict) and "parts" in message:
            found += _from_parts(message)
        else:
            found.append(message)
    return found


def _from_parts(message: Fields) -> list[Fields]:
    """A message of parts as ours; every result of a tool is a message of its own."""
    texts, calls, results = list[Any](), list[Fields](), list[Fields]()
    parts = message["parts"]
    for part in [parts] if isinstance(parts, str) else _list(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" or isinstance(part, str):
            texts.append({"text": part if isinstance(part, str) else part.get("content")})
        elif kind == "tool_call":
            function = {"name": part.get("name"), "arguments": as_text(part.get("arguments") or {})}
            calls.append({"id": part.get("id"), "function": function})
        elif kind == "tool_call_response":
            said = part.get("response", part.get("result"))
            results.append({"role": "tool", "tool_call_id": part.get("id"), "content": as_text(said or "")})
        else:
            texts.append({"type": kind})
    rest = {key: value for key, value in message.items() if key != "parts"}
    if results and not texts and not calls:
        return results
    return [rest | {"content": texts} | ({"tool_calls": calls} if calls else {}), *results]


def _numbered(said: Fields) -> Fields:
    """Messages in attributes that are numbered, one for each field."""
    found: dict[str, dict[int, Fields]] = {"prompt": {}, "completion": {}}
    for name in list(said):
        if (match := _NUMBERED.fullmatch(name)) is not None:
            found[match[1]].setdefault(int(match[2]), {})[match[3]] = said.pop(name)
    asked, answered = ([_flat(place[n]) for n in sorted(place)] for place in found.values())
    reply = answered[0] if answered else None
    finish = reply.pop("finish_reason", None) if reply else None
    return {"messages": asked, "reply": reply, "finish_reason": finish}


def _flat(fields: Fields) -> Fields:
    calls: dict[str, Fields] = {}
    message: Fields = {}
    for name, value in fields.items():
        if name.startswith("tool_calls."):
            _, place, key = [*name.split(".", 2), ""][:3]
            calls.setdefault(place, {})[key] = value
        else:
            message[name] = value
    made = [{"id": call.pop("id", None), "function": call} for _, call in sorted(calls.items())]
    return message | ({"tool_calls": made} if made else {})


def _event(event: Any) -> Fields | None:
    name = event.get("name") if isinstance(event, dict) else None
    if not isinstance(name, str) or not name.startswith("gen_ai."):
        return None
    return {"name": name, "said": _attributes(event.get("attributes"))}


def _log_event(record: Any) -> Entry | None:
    if not isinstance(record, dict):
        return None
    said = _attributes(record.get("attributes"))
    name = record.get("eventName") or said.get("event.name")
    if not isinstance(name, str) or not name.startswith("gen_ai."):
        return None
    body = _maybe_json(_value(record.get("body")))
    about = f"{record.get('traceId') or ''}/{record.get('spanId') or ''}"
    at = _seconds(record.get("timeUnixNano")) or _seconds(record.get("observedTimeUnixNano")) or 0.0
    return Entry("", at, {"name": name, "said": said | (body if isinstance(body, dict) else {})}, about)


def _event_message(role: str, said: Fields) -> Fields:
    message: Fields = {"role": role, "content": _maybe_json_list(said.get("content"))}
    if said.get("tool_calls"):
        message["tool_calls"] = _maybe_json(said["tool_calls"])
    if role == "tool" and said.get("id"):
        message["tool_call_id"] = said["id"]
    return message


def _choice(said: Fields, body: Fields) -> Any:
    message = _maybe_json(said.get("message", said))
    body["finish_reason"] = said.get("finish_reason") or body.get("finish_reason")
    if not isinstance(message, dict):
        return {"role": "assistant", "content": _maybe_json_list(message)}
    calls = message.get("tool_calls") or said.get("tool_calls")
    content = _maybe_json_list(message.get("content"))
    return {"role": "assistant", "content": content} | ({"tool_calls": _maybe_json(calls)} if calls else {})


def _text_messages(text: Any, kind: str) -> list[Any]:
    found = _maybe_json(text)
    if isinstance(found, list):
        return found
    return [{"role": "user" if kind == "prompt" else "assistant", "content": as_text(text)}]


def _maybe_json(value: Any) -> Any:
    return json_in_text(value) if isinstance(value, str) else value


def _maybe_json_list(value: Any) -> Any:
    """Content in parts may have been written as text; an object is what was said."""
    found = _maybe_json(value)
    return found if isinstance(found, list) else value if value is None else as_text(value)


def _attributes(raw: Any) -> Fields:
    pairs = [pair for pair in _list(raw) if isinstance(pair, dict) and isinstance(pair.get("key"), str)]
    return {pair["key"]: _value(pair.get("value")) for pair in pairs}


def _value(raw: Any) -> Any:
    """A value of OTLP: wrapped in the name of its kind, whole numbers as text."""
    if not isinstance(raw, dict):
        return raw
    if raw.get("intValue") is not None:
        whole = number(raw["intValue"], "intValue")
        return int(whole)
    if isinstance(raw.get("arrayValue"), dict):
        return [_value(value) for value in _list(raw["arrayValue"].get("values"))]
    if isinstance(raw.get("kvlistValue"), dict):
        return _attributes(raw["kvlistValue"].get("values"))
    return next((raw[kind] for kind in _VALUES if kind in raw), None)


def _seconds(raw: Any) -> float:
    return 0.0 if raw in (None, "", 0, "0") else number(raw, "time", least=0) / 1e9


def _nested(row: Fields, outer: str, inner: str) -> Iterator[Fields]:
    for resource in _list(row.get(outer)):
        scopes = resource.get(inner) if isinstance(resource, dict) else None
        yield from (scope for scope in _list(scopes) if isinstance(scope, dict))


def _list(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else []
