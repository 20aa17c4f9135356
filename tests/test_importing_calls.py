"""Logs whose rows are calls: OpenTelemetry spans and Langfuse observations, gathered into conversations."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from prentice.records import Episode, Failure, Metric, Usage, imported_id
from prentice.records.importing import LogOptions, Rejected, read_logs

BEGUN = 1_760_000_000_000_000_000
Attributes = dict[str, Any]


def otlp(value: Any) -> dict[str, Any]:
    """A value as OTLP writes it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [otlp(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": otlp(each)} for key, each in value.items()]}}
    return {"stringValue": value}


def pairs(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": key, "value": otlp(value)} for key, value in attributes.items()]


def span(trace: str, at: int, attributes: Attributes, events: Sequence[tuple[str, Attributes]] = ()) -> dict[str, Any]:
    begun = BEGUN + at * 10**9
    return {
        "traceId": trace,
        "spanId": f"{trace}{at}",
        "name": "chat m",
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(begun + 5 * 10**8),
        "attributes": pairs({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"} | attributes),
        "events": [{"name": name, "attributes": pairs(said)} for name, said in events],
    }


def write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def traces(path: Path, *spans: dict[str, Any]) -> Path:
    return write(path, [{"resourceSpans": [{"scopeSpans": [{"spans": [each]}]}]} for each in spans])


def text(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}], **more}


def episodes(*paths: Path) -> list[Episode]:
    found = list(read_logs(paths))
    assert [each for each in found if isinstance(each, Rejected)] == []
    return [each for each in found if isinstance(each, Episode)]


def test_spans_of_a_trace_are_one_episode_in_the_order_of_time(tmp_path: Path) -> None:
    call = {"role": "assistant", "parts": [{"type": "tool_call", "id": "k", "name": "f", "arguments": {"a": 1}}]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "k", "response": {"b": 2}}]}
    first = {
        "gen_ai.system_instructions": [{"type": "text", "content": "be kind"}],
        "gen_ai.input.messages": json.dumps([text("user", "hi")]),
        "gen_ai.output.messages": json.dumps([{**call, "finish_reason": "tool_call"}]),
        "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "f", "parameters": {"type": "object"}}]),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.response.model": "m-1",
        "gen_ai.agent.name": "greeter",
    }
    second = {
        "gen_ai.input.messages": [text("user", "hi"), call, result],  # structured, as events have it
        "gen_ai.output.messages": [text("assistant", "ho", finish_reason="stop")],
        "gen_ai.usage.cache_read.input_tokens": 4,
    }
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f"}
    path = traces(tmp_path / "t.jsonl", span("t", 2, second), span("t", 1, tool), span("t", 0, first))
    [episode] = episodes(path)
    assert (episode.id, episode.case) == (imported_id("import:otel", "t"), "t")
    asked, answered = episode.turns
    assert [message.content for message in asked.request.messages] == ["be kind", "hi"]
    assert asked.reply.message.tool_calls[0].arguments == '{"a":1}'
    assert (asked.reply.model, asked.reply.finish_reason, asked.reply.latency_s) == ("m-1", "tool_call", 0.5)
    assert asked.reply.usage == Usage(input_tokens=7, output_tokens=2)
    assert (asked.request.function, asked.request.tools[0].name) == ("greeter", "f")
    assert answered.request.messages[-1].content == '{"b":2}'
    assert (answered.reply.text, answered.reply.usage.cached_tokens) == ("ho", 4)
    assert episode.started_at == datetime.fromtimestamp(BEGUN / 1e9, UTC)


def test_a_conversation_of_several_traces_and_files_is_one_episode(tmp_path: Path) -> None:
    said = {"gen_ai.conversation.id": "c", "gen_ai.output.messages": json.dumps([text("assistant", "ho")])}
    files = [traces(tmp_path / f"{n}.jsonl", span(f"t{n}", n, said)) for n in (1, 0)]
    [episode] = episodes(*files)
    assert [turn.extra["trace"] for turn in episode.turns] == ["t0", "t1"]


OLDER: list[tuple[str, Attributes]] = [
    ("gen_ai.system.message", {"content": "be kind"}),
    ("gen_ai.user.message", {"content": "hi"}),
    (
        "gen_ai.assistant.message",
        {"tool_calls": json.dumps([{"id": "k", "function": {"name": "f", "arguments": "{}"}}])},
    ),
    ("gen_ai.tool.message", {"id": "k", "content": "7"}),
    ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": '{"content": "ho"}'}),
]


@pytest.mark.parametrize("where", ["span", "log records"])
def test_the_older_form_with_an_event_for_each_message_is_read(tmp_path: Path, where: str) -> None:
    records = [
        {"timeUnixNano": str(BEGUN + n), "traceId": "t", "spanId": "t0", "eventName": name, "body": otlp(said)}
        for n, (name, said) in enumerate(OLDER)
    ]
    logs = write(tmp_path / "l.jsonl", [{"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}])
    if where == "span":
        [episode] = episodes(traces(tmp_path / "t.jsonl", span("t", 0, {}, OLDER)))
    else:
        [episode] = episodes(logs, traces(tmp_path / "t.jsonl", span("t", 0, {})))
    [turn] = episode.turns
    roles = [message.role for message in turn.request.messages]
    assert roles == ["system", "user", "assistant", "tool"]
    assert turn.request.messages[3].tool_call_id == "k"
    assert (turn.reply.text, turn.reply.finish_reason) == ("ho", "stop")


def test_numbered_attributes_and_prompt_events_are_read(tmp_path: Path) -> None:
    numbered = {
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "hi",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.tool_calls.0.name": "f",
        "gen_ai.completion.0.tool_calls.0.arguments": "{}",
        "gen_ai.completion.0.finish_reason": "tool_calls",
    }
    events: list[tuple[str, Attributes]] = [
        ("gen_ai.content.prompt", {"gen_ai.prompt": '[{"role": "user", "content": "hi"}]'}),
        ("gen_ai.content.completion", {"gen_ai.completion": "ho"}),
    ]
    first, second = episodes(traces(tmp_path / "t.jsonl", span("a", 0, numbered), span("b", 0, {}, events)))
    assert first.turns[0].reply.message.tool_calls[0].name == "f"
    assert first.turns[0].reply.finish_reason == "tool_calls"
    assert second.turns[0].request.messages[0].content == "hi"
    assert second.turns[0].reply.text == "ho"


def test_a_call_without_content_is_named_and_a_failed_one_ends_its_episode(tmp_path: Path) -> None:
    said = {"gen_ai.output.messages": json.dumps([text("assistant", "ho")])}
    failed = span("t", 1, {}) | {"status": {"code": 2, "message": "503"}}
    path = traces(tmp_path / "t.jsonl", span("t", 0, said), failed, span("u", 0, {}))
    whole, empty = read_logs(path)
    assert isinstance(whole, Episode)
    assert (len(whole.turns), whole.failure) == (1, Failure(where="model", message="503"))
    assert isinstance(empty, Rejected)
    assert (empty.line, empty.reason) == (3, "no conversation in it")


def generation(id_: str, at: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "traceId": "t",
        "type": "GENERATION",
        "name": "answer",
        "startTime": f"2026-01-02T03:04:0{at}Z",
        "input": [{"role": "user", "content": "hi"}],
        "output": "ho",
        **fields,
    }


def test_generations_of_a_trace_are_one_episode_with_its_scores(tmp_path: Path) -> None:
    tools = {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    asked = {"role": "assistant", "tool_calls": [{"id": "k", "function": {"name": "f", "arguments": "{}"}}]}
    rows = [
        generation("b", 5, endTime="2026-01-02T03:04:07Z", usageDetails={"input": 3, "output": 1}, totalCost=0.5),
        {**generation("x", 2), "type": "SPAN"},
        generation("a", 1, input=tools, output=asked, model="m", metadata={"user": 1}),
        {"id": "s", "trace_id": "t", "name": "reward", "value": 1, "data_type": "NUMERIC", "source": "API"},
        {"id": "r", "traceId": "t", "observationId": "b", "name": "tone", "value": 0, "stringValue": "warm",
         "dataType": "CATEGORICAL", "source": "ANNOTATION"},
    ]  # fmt: skip
    [episode] = episodes(write(tmp_path / "g.jsonl", rows))
    first, second = episode.turns
    assert first.request.tools[0].name == "f"
    assert (first.reply.message.tool_calls[0].name, first.reply.model) == ("f", "m")
    assert first.extra == {"id": "a", "metadata": {"user": 1}}
    assert (second.reply.text, second.reply.latency_s, second.reply.cost_usd) == ("ho", 2.0, 0.5)
    assert second.reply.usage == Usage(input_tokens=3, output_tokens=1)
    assert (second.request.function, episode.case) == ("answer", "t")
    assert episode.metrics == (
        Metric(name="reward", value=1.0, source="program"),
        Metric(name="success", value=True, source="program"),
        Metric(name="tone", value="warm", source="person", turn=1),
    )


@pytest.mark.parametrize("layout", ["array", "trace", "csv", "blob"])
def test_every_export_of_langfuse_says_the_same(tmp_path: Path, layout: str) -> None:
    row = generation("a", 1, scores={"helpful": [1.0]}) if layout != "trace" else generation("a", 1)
    path = tmp_path / f"g.{'csv' if layout == 'csv' else 'json'}"
    if layout == "array":
        path.write_text(json.dumps([row], indent=2), encoding="utf-8")
    elif layout == "trace":
        score = {"name": "helpful", "value": 1, "dataType": "NUMERIC"}
        path.write_text(json.dumps({"trace": {"id": "t"}, "observations": [row], "scores": [score]}), encoding="utf-8")
    elif layout == "csv":
        cells = {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()}
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([cells.keys(), cells.values()])
    else:
        named = {"traceId": "trace_id", "startTime": "start_time"}
        blob = {named.get(key, key): value for key, value in row.items()} | {"input": json.dumps(row["input"])}
        path.write_text(json.dumps(blob), encoding="utf-8")
    [episode] = episodes(path)
    assert episode.run == "import:langfuse"
    assert episode.turns[0].request.messages[0].content == "hi"
    assert (episode.turns[0].reply.text, episode.metric("helpful")) == ("ho", 1.0)
    assert episode.started_at == datetime(2026, 1, 2, 3, 4, 1, tzinfo=UTC)


def test_memory_does_not_hold_the_calls_that_are_gathered(tmp_path: Path) -> None:
    import tracemalloc

    said = {"gen_ai.output.messages": json.dumps([text("assistant", "x" * 20_000)])}
    path = traces(tmp_path / "t.jsonl", *(span(f"t{n % 50}", n, said) for n in range(500)))
    tracemalloc.start()
    assert sum(len(found.turns) for found in read_logs(path, LogOptions()) if isinstance(found, Episode)) == 500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 10_000_000
    assert peak < 4_000_000
