"""Langfuse exports: every observation of a model's call is a call, those of a trace are an episode.

Read are exports of the user interface and the API (`traceId`), of blob storage (`trace_id`, input and output as JSON
text, scores in a file of their own), and a trace with its observations. Other kinds of observations are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prentice.records.importing.calls import Entry
from prentice.records.importing.chats import ROLES, as_text, json_in_text
from prentice.records.importing.faults import RowError, shown
from prentice.records.importing.fields import Fields, moment, number

_KINDS = {"GENERATION", "LLM"}
_INPUT_SCORE = {"trace_id", "traceId"}
_TIMES = {"start_time": "startTime", "end_time": "endTime"}
_NO_FIELDS = {"id", "type", "traceId", "trace_id", "startTime", "start_time", "endTime", "end_time"}


def fits_langfuse(row: Fields) -> bool:
    """Whether a row is of a Langfuse export."""
    traced = bool(row.keys() & _INPUT_SCORE)
    return isinstance(row.get("observations"), list) or (traced and ("type" in row or _is_score(row)))


def langfuse_entries(row: Fields) -> Iterator[Entry | RowError]:
    """The calls and scores of a row."""
    if isinstance(row.get("observations"), list):
        yield from _trace(row)
        return
    try:
        entry = _score(row) if _is_score(row) else _observation(row)
    except RowError as fault:
        yield fault
    else:
        if entry is not None:
            yield entry


def _is_score(row: Fields) -> bool:
    return "name" in row and "value" in row and "type" not in row


def _trace(row: Fields) -> Iterator[Entry | RowError]:
    """A trace with all that is in it."""
    inner = row.get("trace")
    about = inner if isinstance(inner, dict) else row
    key = about.get("id")
    if not isinstance(key, str) or not key:
        yield RowError("wrong value", f"the trace's id is {shown(key)}")
        return
    scores = [*_list(row.get("scores")), *(_list(about.get("scores")) if about is not row else [])]
    for observation in _list(row["observations"]):
        if isinstance(observation, dict):
            yield from langfuse_entries({"traceId": key, "type": "", **observation})
        else:
            yield RowError("not a JSON object", f"observation {shown(observation)}")
    for score in scores:
        if isinstance(score, dict):
            yield from langfuse_entries({"traceId": key, **score})


def _key(row: Fields) -> str:
    key = row.get("traceId") or row.get("trace_id")
    if not isinstance(key, str):
        raise RowError("wrong value", f"traceId is {shown(key)}, not a text")
    return key


def _score(row: Fields) -> Entry:
    return Entry("", 0.0, row, about=_key(row))


def _observation(row: Fields) -> Entry | None:
    if str(row.get("type")) not in _KINDS:
        return None
    key = _key(row)
    begun, ended = (_time(row, name) for name in _TIMES)
    asked, tools = _input(row)
    cost = row.get("totalCost") or row.get("total_cost") or row.get("calculatedTotalCost") or _total(row)
    used = {"input", "output", "usage", "usageDetails", "usage_details", "costDetails", "cost_details", "latency"}
    used |= {"model", "provided_model_name", "providedModelName", "totalCost", "total_cost", "calculatedTotalCost"}
    used |= {"scores", "tool_calls", "toolCalls", "tool_definitions", "toolDefinitions", "name"}
    body = {
        "id": row.get("id"),
        "messages": asked,
        "reply": _output(row),
        "tools": tools,
        "model": row.get("model") or row.get("provided_model_name") or row.get("providedModelName"),
        "usage": _usage(row),
        "latency_s": ended - begun if begun and ended and ended >= begun else row.get("latency") or None,
        "cost_usd": cost,
        "started_at": begun or None,
        "function": row.get("name") if isinstance(row.get("name"), str) else None,
        "error": row.get("statusMessage") or row.get("status_message") if row.get("level") == "ERROR" else None,
        "scores": _scores(row.get("scores")),
        "extra": {name: value for name, value in row.items() if name not in used | _NO_FIELDS or name == "id"},
    }
    return Entry(key, begun or 0.0, body)


def _time(row: Fields, name: str) -> float:
    value = row.get(_TIMES[name]) or row.get(name)
    return 0.0 if value is None else moment(value, name).timestamp()


def _total(row: Fields) -> Any:
    details = json_or(row.get("costDetails") or row.get("cost_details"))
    return details.get("total") if isinstance(details, dict) else None


def _usage(row: Fields) -> Fields | None:
    usage = json_or(row.get("usageDetails") or row.get("usage_details") or row.get("usage"))
    if isinstance(usage, dict):
        return usage
    names = {"input": ("inputTokens", "promptTokens", "inputUsage"), "output": ("outputTokens", "completionTokens")}
    names["output"] += ("outputUsage",)
    found = {ours: next((row[name] for name in theirs if row.get(name)), None) for ours, theirs in names.items()}
    return found if any(found.values()) else None


def _input(row: Fields) -> tuple[list[Any], Any]:
    """What was asked, as messages, and the tools."""
    asked = json_or(row.get("input"))
    tools = json_or(row.get("toolDefinitions") or row.get("tool_definitions"))
    if isinstance(asked, dict) and isinstance(asked.get("messages"), list):
        tools = tools or asked.get("tools")
        asked = asked["messages"]
    if isinstance(asked, dict) and str(asked.get("role")) in ROLES:
        asked = [asked]
    if isinstance(asked, list) and all(isinstance(message, dict) and "role" in message for message in asked):
        return asked, tools
    return ([{"role": "user", "content": as_text(asked)}] if asked not in (None, "") else []), tools


def _output(row: Fields) -> Any:
    """The reply: a message, the last of several, the first choice, a text, or an object that is written as JSON."""
    said = json_or(row.get("output"))
    if isinstance(said, dict) and isinstance(said.get("choices"), list) and said["choices"]:
        said = said["choices"][0]
    if isinstance(said, dict) and isinstance(said.get("message"), dict):
        said = said["message"]
    if isinstance(said, list) and said and all(isinstance(each, dict) and "role" in each for each in said):
        said = said[-1]
    calls = json_or(row.get("toolCalls") or row.get("tool_calls"))
    if isinstance(said, dict) and ("content" in said or "tool_calls" in said):
        known = {"tool_calls": calls} if calls and not said.get("tool_calls") else {}
        return {**said, **known, "role": "assistant"}
    if said in (None, "") and not calls:
        return None
    content = None if said in (None, "") else as_text(said)
    return {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})


def _scores(raw: Any) -> list[Any]:
    """Scores as a list; a table has them as an object of names with all values each got."""
    found = json_or(raw)
    if isinstance(found, dict):
        named = [(name, value[-1] if isinstance(value, list) and value else value) for name, value in found.items()]
        return [{"name": name, "value": _number(value)} for name, value in named if value not in (None, "", [])]
    return _list(found)


def _number(value: Any) -> Any:
    try:
        return number(value, "score")
    except RowError:
        return value


def json_or(value: Any) -> Any:
    """The value of a JSON text, anything else as it is."""
    return json_in_text(value) if isinstance(value, str) else value


def _list(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else []
