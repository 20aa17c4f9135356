"""Episodes as conversations for other tools: what was imported goes out and comes in again as it was."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.errors import DataError, UnknownNameError
from prentice.records import Episode, Message, Request, Tool, Turn
from prentice.records.exporting import write_logs
from prentice.records.importing import Rejected, read_logs
from prentice.records.store import Store
from records_examples import example, json_objects, json_values, texts

FORMS = ["openai", "messages", "sharegpt"]
names = st.sampled_from(["find", "sum", "f-1"])
some_text = texts | st.sampled_from(["{", '{"a": 1}', "[1, 2]", 'ä\n"\\', "\x00", "null"])
calls = st.lists(
    st.builds(
        lambda name, arguments: {"type": "function", "function": {"name": name, "arguments": arguments}},
        names,
        some_text | json_objects.map(json.dumps) | st.sampled_from(['{"a":1}', '{"a": 1}', "{}"]),
    ),
    max_size=2,
)
steps = st.lists(st.tuples(st.sampled_from(["user", "system", "assistant"]), some_text, calls), min_size=1, max_size=5)
tools = st.lists(
    st.builds(
        lambda name, words, schema: {
            "type": "function",
            "function": {"name": name, "description": words, "parameters": schema, "strict": True},
        },
        names,
        texts,
        json_objects,
    ),
    max_size=2,
)


@st.composite
def chat_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A good row: calls have ids of their own and results, something is said at the end that no turn shows."""
    said: list[dict[str, Any]] = []
    for role, text, asked in [*draw(steps), ("assistant", draw(some_text), [])]:
        message: dict[str, Any] = {"role": role, "content": text}
        if role == "assistant" and asked:
            message["tool_calls"] = [{"id": f"c{len(said)}-{n}", **call} for n, call in enumerate(asked)]
        said.append(message)
        said += [
            {"role": "tool", "tool_call_id": call["id"], "content": text, "name": "x"}
            for call in message.get("tool_calls", [])
        ]
    said += [{"role": "user", "content": "bye"}] * draw(st.integers(0, 1))
    row = {
        "messages": said,
        "model": "m",
        "reward": draw(st.sampled_from([0, 1, 0.25, None])),
        "more": draw(json_values),
    }
    return row | {"tools": draw(tools)} | ({"id": "native"} if draw(st.booleans()) else {})


def read(path: Path) -> list[Episode]:
    found = list(read_logs(path))
    assert [str(each) for each in found if isinstance(each, Rejected)] == []
    return [each for each in found if isinstance(each, Episode)]


def said_in(episode: Episode) -> list[tuple[tuple[Message, ...], Message, tuple[Tool, ...]]]:
    return [(turn.request.messages, turn.reply.message, turn.request.tools) for turn in episode.turns]


def ending(form: str) -> str:
    return "parquet" if form == "messages" else "jsonl"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(chat_rows(), st.sampled_from(FORMS))
def test_what_came_in_goes_out_and_comes_in_again_as_the_same_conversation(row: dict[str, Any], form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second, third = (Path(folder) / f"{n}.{ending(form)}" for n in (1, 2, 3))
        log = first.with_suffix(".jsonl")
        log.write_text(json.dumps(row), encoding="utf-8")
        [episode] = read(log)
        assert write_logs(second, [episode], form) == 1
        [again] = read(second)
        assert again.run == f"import:{form}"
        assert said_in(again) == said_in(episode)
        assert {m.name: m.value for m in again.metrics} == {m.name: m.value for m in episode.metrics}
        assert (again.split, again.policy) == (episode.split, episode.policy)
        write_logs(third, [again], form)
        assert said_in(read(third)[0]) == said_in(episode)
        if form == "openai":
            assert again.extra == episode.extra
            if "id" in row:
                assert again.id == episode.id, "it is the same episode"


def test_the_real_conversations_go_out_and_come_in_as_they_were(tmp_path: Path, data: Path) -> None:
    episodes = read(data / "llm_logs_openai.jsonl")
    for form in FORMS:
        path = tmp_path / f"{form}.{ending(form)}"
        assert write_logs(path, episodes, form) == 76
        again = read(path)
        assert [said_in(episode) for episode in again] == [said_in(episode) for episode in episodes]
        assert [episode.metric("success") for episode in again] == [episode.metric("success") for episode in episodes]
    raw = [json.loads(line) for line in (data / "llm_logs_openai.jsonl").read_text(encoding="utf-8").splitlines()]
    out = [json.loads(line) for line in (tmp_path / "openai.jsonl").read_text(encoding="utf-8").splitlines()]
    for before, after in zip(raw, out, strict=True):
        for message in before["messages"]:
            message["content"] = message["content"] or ""
        assert {key: after[key] for key in before} == before, "a row goes out as it was, and with more"


def test_turns_that_are_no_growing_conversation_are_a_row_each(tmp_path: Path) -> None:
    apart = tuple(
        Turn(
            request=Request(function="f", messages=(Message(role="user", content=str(n)),)),
            reply=example().turns[0].reply,
        )
        for n in range(3)
    )
    assert (
        write_logs(tmp_path / "a.jsonl", [example(turns=apart), example("c2"), example("c3", turns=())], "openai") == 4
    )
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"].partition("#")[2] for row in rows] == ["0", "1", "2", ""]
    assert [len(row["messages"]) for row in rows[:3]] == [2, 2, 2]


def test_a_call_with_replies_before_it_stays_one_turn(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    choice = {"message": {"role": "assistant", "content": "d"}, "finish_reason": "length"}
    row = {"request": {"messages": said, "seed": 4}, "response": {"id": "r", "choices": [choice], "usage": usage}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    [episode] = read(tmp_path / "a.jsonl")
    write_logs(tmp_path / "b.jsonl", [episode], "openai")
    [again] = read(tmp_path / "b.jsonl")
    assert (again.id, again.turns, again.extra) == (episode.id, episode.turns, episode.extra)


def test_a_row_of_a_dataset_has_the_same_columns_whatever_is_in_it(tmp_path: Path) -> None:
    write_logs(tmp_path / "d.parquet", [example(), example("c2", metrics=())], "messages")
    frame = pl.read_parquet(tmp_path / "d.parquet")
    assert frame.columns == ["id", "messages", "tools", "model", "split", "metrics"]
    assert frame["metrics"].to_list() == ['{"success":true}', None]
    assert frame["messages"][0][0].keys() == {"role", "content", "tool_calls", "tool_call_id"}


@pytest.mark.parametrize(
    ("name", "form", "kind", "says"),
    [
        ("a.jsonl", "xml", UnknownNameError, "no form of export named 'xml'.*known: openai"),
        ("a.csv", "openai", DataError, r"a\.csv: not a kind of file for openai episodes.*name it \.jsonl"),
        ("a.parquet", "sharegpt", DataError, "not a kind of file for sharegpt"),
    ],
)
def test_an_unknown_form_or_kind_of_file_is_one_clear_error(
    tmp_path: Path, name: str, form: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        write_logs(tmp_path / name, [example()], form)
    assert list(tmp_path.iterdir()) == []


def test_an_episode_that_json_cannot_hold_is_named_and_an_older_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old", encoding="utf-8")
    broken = Message(role="user", content="\ud800")
    turn = Turn(request=Request(function="f", messages=(broken,)), reply=example().turns[0].reply)
    with pytest.raises(DataError, match=f"episode '{example().id}' cannot be written as JSON"):
        write_logs(path, [example("c2"), example(turns=(turn,))], "openai")
    assert path.read_text(encoding="utf-8") == "old"


def test_the_command_writes_conversations(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.add([example(), example("c2")])
    out = tmp_path / "out.jsonl"
    run = CliRunner().invoke(app, ["episodes", "export", str(tmp_path / "s.db"), str(out), "--as", "sharegpt"])
    assert run.exit_code == 0, run.output
    assert "2 conversations in " in run.output
    assert all("conversations" in json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
