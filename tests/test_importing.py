"""Logs as episodes: what becomes what, in every format of the page, and that nothing a source said is lost."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.errors import DataError, UnknownNameError
from prentice.records import Episode, Message, Metric, Usage, imported_id
from prentice.records.importing import FORMATS, LogOptions, Rejected, read_logs
from prentice.records.importing.storing import Imported, import_logs
from prentice.records.store import Store

PAGE = Path(__file__).parents[1] / "docs" / "bring-your-logs.md"
USER = {"role": "user", "content": "hi"}
REPLY = {"role": "assistant", "content": "ho"}
CALL = {"id": "k", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, **options: Any) -> list[Episode]:
    """The episodes of a log without faults."""
    found = list(read_logs(path, LogOptions(**options)))
    assert [each for each in found if isinstance(each, Rejected)] == []
    return [each for each in found if isinstance(each, Episode)]


def one(folder: Path, row: object, **options: Any) -> Episode:
    [episode] = read(write(folder / "log.jsonl", [row]), **options)
    return episode


def samples() -> dict[str, str]:
    """File name → content, as the page shows it."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w.]+)`,.*?```\w+\n(.*?)```", text, flags=re.MULTILINE | re.DOTALL))


def test_the_real_conversations_are_76_episodes_with_460_tool_calls_and_29_rewards(data: Path) -> None:
    found = read(data / "llm_logs_openai.jsonl")
    assert len(found) == 76
    assert sum(len(turn.reply.message.tool_calls) for episode in found for turn in episode.turns) == 460
    assert sum(episode.metric("reward") == 1.0 for episode in found) == 29
    assert sum(episode.metric("success") is True for episode in found) == 29
    raw = [json.loads(line) for line in (data / "llm_logs_openai.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [episode.case for episode in found] == [row["id"] for row in raw]
    for episode, row in zip(found, raw, strict=True):
        last = episode.turns[-1]
        said = [*last.request.messages, last.reply.message]
        assert [message.content for message in said] == [m["content"] or "" for m in row["messages"]][: len(said)]
        assert len(said) + len(episode.extra.get("trailing", [])) == len(row["messages"])  # type: ignore[arg-type]
        assert episode.extra["metadata"] == row["metadata"]


WANT = {
    "chats.jsonl": ("openai", ["On its way.", "Gladly."], [2, 1]),
    "calls.jsonl": ("openai", ["4", "6"], [1, 1]),
    "tuning.jsonl": ("openai", ["Good day!", "Bye."], [2, 1]),
    "dataset.json": ("openai", ["Lima", "N'Djamena"], [1, 1]),
    "share.jsonl": ("sharegpt", ["Noon.", "The first."], [2, 1]),
    "spans.jsonl": ("otel", ["No.", "Yes."], [1, 1]),
    "generations.jsonl": ("langfuse", ["Until six.", "On Sundays."], [1, 1]),
    "tickets.csv": ("table", ["On its way.", "Yes."], [1, 1]),
}


def test_every_sample_of_the_page_is_read_as_its_format(tmp_path: Path) -> None:
    assert samples().keys() == WANT.keys()
    for name, content in samples().items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        source, replies, turns = WANT[name]
        found = read(tmp_path / name)
        assert [episode.run for episode in found] == [f"import:{source}"] * 2
        assert [episode.turns[-1].reply.text for episode in found] == replies
        assert [len(episode.turns) for episode in found] == turns


def test_the_page_names_every_format_and_every_reason() -> None:
    from typing import get_args

    from prentice.records.importing.faults import Reason

    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"| `{name}` |" not in text] == []
    assert [reason for reason in get_args(Reason) if reason not in text] == []


def test_every_reply_of_a_chat_is_a_turn_that_shows_all_that_was_said_before(tmp_path: Path) -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "k", "content": "7"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
    row = {"id": "a", "model": "m", "messages": [USER, asked, result, REPLY, USER], "tools": [tool], "temperature": 0.5}
    episode = one(tmp_path, row)
    first, second = episode.turns
    assert first.request.messages == (Message(role="user", content="hi"),)
    assert first.reply.finish_reason == "tool_calls"
    assert second.request.messages == (*first.request.messages, first.reply.message, second.request.messages[2])
    assert second.request.messages[2] == Message(role="tool", content="7", tool_call_id="k")
    assert (second.reply.text, second.reply.model, episode.policy) == ("ho", "m", "m")
    assert second.request.tools[0].parameters == {"type": "object"}
    assert episode.extra == {
        "temperature": 0.5,
        "tools": {"0": {"strict": True}},
        "trailing": [{"role": "user", "content": "hi"}],
    }
    assert (episode.id, episode.case, episode.task) == (imported_id("import:openai", "a"), "a", "log")
    assert episode.started_at == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_pair_is_one_turn_with_its_usage_times_and_cost(tmp_path: Path) -> None:
    choice = {"index": 0, "message": {**REPLY, "refusal": None}, "finish_reason": "length"}
    usage = {"prompt_tokens": "9", "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
    response = {"id": "r", "created": 1_700_000_000, "model": "m-1", "choices": [choice], "usage": usage}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    request = {"model": "m", "messages": [USER, REPLY, USER], "response_format": schema, "seed": 3}
    row = {"request": request, "response": json.dumps(response), "latency_ms": 250, "cost": 0.01, "thumbs": "up"}
    episode = one(tmp_path, row)
    [turn] = episode.turns
    assert len(turn.request.messages) == 3
    assert turn.request.response_schema == {"type": "object"}
    reply = turn.reply
    assert (reply.finish_reason, reply.model, reply.latency_s, reply.cost_usd) == ("length", "m-1", 0.25, 0.01)
    assert reply.usage == Usage(input_tokens=9, cached_tokens=3, output_tokens=4)
    assert episode.started_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (episode.metric("thumbs"), episode.metric("success"), episode.case) == (True, True, "r")
    assert episode.extra["request"]["seed"] == 3  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"reward": 1}, {"reward": 1.0, "success": True}),
        ({"reward": 0.5}, {"reward": 0.5}),
        ({"reward": "0"}, {"reward": 0.0, "success": False}),
        ({"reward": None}, {}),
        ({"success": False, "reward": 1}, {"success": False, "reward": 1.0}),
        ({"score": 1}, {"score": 1.0}),
        ({"rating": "good"}, {"rating": "good"}),
        ({"thumbs": "down"}, {"thumbs": False, "success": False}),
        ({"metadata": {"reward": 1.0}}, {"reward": 1.0, "success": True}),
        ({"metadata": {"reward": 1.0}, "reward": 0}, {"reward": 0.0, "success": False}),
        ({"scores": {"exact": True}, "metrics": {"cost": 2}}, {"exact": True, "cost": 2.0}),
        ({"scores": [{"name": "tone", "value": 3, "source": "EVAL"}]}, {"tone": 3.0}),
    ],
)
def test_outcomes_become_metrics_and_a_reward_of_0_or_1_says_success(
    tmp_path: Path, fields: dict[str, object], want: dict[str, object]
) -> None:
    found = one(tmp_path, {"messages": [USER, REPLY], **fields}).metrics
    assert {metric.name: metric.value for metric in found} == want


def test_weights_of_a_fine_tuning_file_are_metrics_of_their_turns(tmp_path: Path) -> None:
    episode = one(tmp_path, {"messages": [USER, {**REPLY, "weight": 0}, USER, {**REPLY, "weight": 1}]})
    assert episode.metrics == (
        Metric(name="weight", value=0.0, source="program", turn=0),
        Metric(name="weight", value=1.0, source="program", turn=1),
    )


def test_other_forms_of_messages_are_understood_and_what_they_said_is_noted(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    asked = {"role": "assistant", "function_call": {"name": "f", "arguments": {"a": 1}}}
    said = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": parts, "name": "ann"},
        asked,
        {"role": "function", "name": "f", "content": {"b": 2}},
        {"role": "assistant", "content": None, "refusal": "no"},
    ]
    episode = one(tmp_path, {"messages": said, "functions": [{"name": "f"}]})
    *shown, result = episode.turns[-1].request.messages
    assert [message.role for message in shown] == ["system", "user", "assistant"]
    assert shown[1].content == "look"
    assert shown[2].tool_calls[0].arguments == '{"a":1}'
    assert (result.content, result.tool_call_id) == ('{"b":2}', shown[2].tool_calls[0].id)
    assert episode.turns[-1].reply.text == "no"
    assert episode.extra["messages"] == {
        "0": {"role": "developer"},
        "1": {"left_out": ["image_url"], "name": "ann"},
        "3": {"role": "function", "name": "f"},
        "4": {"refusal": "no"},
    }


def test_results_without_an_id_answer_the_open_calls_in_order(tmp_path: Path) -> None:
    calls = [{**CALL, "id": "x"}, {**CALL, "id": "y"}]
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    episode = one(tmp_path, {"messages": [USER, {"role": "assistant", "tool_calls": calls}, *results, REPLY]})
    assert [message.tool_call_id for message in episode.turns[-1].request.messages[-2:]] == ["x", "y"]


def test_equal_openings_without_an_id_are_one_case_and_go_to_one_split(tmp_path: Path) -> None:
    rows = [{"messages": [USER, {**REPLY, "content": str(n)}]} for n in range(20)]
    found = read(write(tmp_path / "log.jsonl", rows))
    assert len({episode.id for episode in found}) == 20
    assert len({(episode.case, episode.split) for episode in found}) == 1


def test_auto_splits_are_70_10_20_and_stable_and_rows_may_say_theirs(tmp_path: Path) -> None:
    rows = [{"id": n, "messages": [USER, REPLY]} for n in range(2_000)]
    splits = Counter(episode.split for episode in read(write(tmp_path / "log.jsonl", rows)))
    assert 1_330 < splits["train"] < 1_470
    assert 150 < splits["val"] < 250
    assert one(tmp_path, {"messages": [USER, REPLY], "split": "validation"}).split == "val"
    assert one(tmp_path, {"messages": [USER, REPLY], "split": "validation"}, split="test").split == "test"


def test_options_name_task_and_function(tmp_path: Path) -> None:
    episode = one(tmp_path, {"messages": [USER, REPLY]}, task="support", function="greet")
    assert (episode.task, episode.turns[0].request.function) == ("support", "greet")


@pytest.mark.parametrize("layout", ["one line", "a row a line", "pretty", "objects", "gzip", "bom", "crlf"])
def test_rows_are_found_however_the_json_is_laid_out(tmp_path: Path, layout: str) -> None:
    rows = [{"id": n, "messages": [USER, {**REPLY, "content": f'{{"a": [\n"{n}"}}\\'}]} for n in range(30)]
    lines = "\n".join(map(json.dumps, rows))
    text = {
        "one line": json.dumps(rows),
        "a row a line": f"[\n{lines}\n]".replace("}\n{", "},\n{"),
        "pretty": json.dumps(rows, indent=2),
        "objects": "\n".join(json.dumps(row, indent=1) for row in rows),
        "bom": f"\ufeff{lines}",
        "crlf": lines.replace("\n", "\r\n"),
    }.get(layout, lines)
    path = tmp_path / ("log.jsonl.gz" if layout == "gzip" else "log.json")
    path.write_bytes(gzip.compress(text.encode()) if layout == "gzip" else text.encode())
    assert [episode.case for episode in read(path)] == [str(n) for n in range(30)]


def test_a_value_may_be_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    rows = [{"id": n, "messages": [USER, {**REPLY, "content": "\\ä\n" * 150_000}]} for n in range(3)]
    (tmp_path / "log.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert [len(episode.turns[0].reply.text) for episode in read(tmp_path / "log.json")] == [450_000] * 3


def test_parquet_rows_are_read_as_if_their_empty_fields_were_not_there(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}], "reward": 1.0},
        {"id": "b", "messages": [USER, {"role": "assistant", "content": "ho", "tool_calls": None}], "reward": None},
    ]
    pl.DataFrame(rows, strict=False).write_parquet(tmp_path / "data.parquet")
    first, second = read(tmp_path / "data.parquet")
    assert (first.run, first.turns[0].reply.message.tool_calls[0].name) == ("import:messages", "f")
    assert (second.turns[0].reply.text, second.metrics) == ("ho", ())


def test_a_spreadsheet_is_a_table_and_the_rest_of_merged_cells_is_named(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in [(), ("Question", "Answer", "when"), ("a", "b", datetime(2026, 1, 2)), ("c", "d", None), (None, "e", 3)]:
        sheet.append(row)
    sheet.merge_cells("A4:A5")
    book.save(tmp_path / "t.xlsx")
    first, second, third = read_logs(tmp_path / "t.xlsx")
    assert isinstance(first, Episode)
    assert first.turns[0].request.inputs == {"Question": "a"}
    assert first.extra["when"] == "2026-01-02T00:00:00"
    assert isinstance(second, Episode)
    assert isinstance(third, Rejected)
    assert (third.line, third.reason) == (5, "empty cell")


def test_a_table_keeps_its_other_columns_and_takes_named_ones(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id;text;intent;tag\n1;"a;\nb";x;t\n2;c;y;\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"not a log of a known format.*--read output=COLUMN"):
        list(read_logs(path))
    first, second = read(path, output="intent")
    assert (first.turns[0].request.messages[0].content, first.turns[0].reply.text) == ("a;\nb", "x")
    assert (first.case, first.extra["tag"]) == ("1", "t")
    assert "tag" not in second.extra
    assert first.id != imported_id("import:table", "1"), "the 1 of another table is another row"


def test_what_is_exported_whole_comes_in_as_it_is(tmp_path: Path, data: Path) -> None:
    from prentice.records.jsonl import write_episodes

    some = read(data / "llm_logs_openai.jsonl")[:3]
    write_episodes(tmp_path / "e.jsonl", some)
    assert read(tmp_path / "e.jsonl", task="ignored") == some


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]", b"[\n]\n"])
def test_a_file_without_rows_gives_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.json").write_bytes(content)
    assert read(tmp_path / "log.json") == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"rows": 1}\n', r"a\.jsonl: not a log of a known format; its first row has fields rows.*known: "),
        ("a.db", b"SQLite format 3\0" + bytes(100), "not a log of a known format"),
        ("a.jsonl", "{}".encode("utf-16"), "the file is UTF-16.*iconv"),
        ("a.jsonl.gz", b"\x1f\x8b not gzip", "a.jsonl.gz: "),
        ("a.jsonl.gz", gzip.compress(b'{"messages": []}\n' * 5_000, mtime=0)[:-20], "damaged or cut short"),
        ("a.parquet", b"PAR1 and no more", "not a parquet file"),
        ("a.xlsx", b"PK\x03\x04 and no more", "not a spreadsheet"),
        ("a.xls", b"\xd0\xcf\x11\xe0" + bytes(20), "before 2007.*xlsx"),
    ],
)
def test_a_file_of_another_kind_is_one_clear_error(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        list(read_logs(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no log format named 'xml' \(known: prentice, otel"):
        list(read_logs(write(tmp_path / "a.jsonl", []), LogOptions(format="xml")))


def test_importing_twice_or_overlapping_exports_stores_nothing_twice(place: str | Path, tmp_path: Path) -> None:
    rows = [{"id": n, "messages": [USER, {**REPLY, "content": f"{n}" * 600}]} for n in range(600)]
    early, late = write(tmp_path / "early.jsonl", rows[:400]), write(tmp_path / "late.jsonl", rows[200:])
    with Store.open(place) as store:
        result = import_logs([early, late], store)
        assert (result.episodes, result.new) == (800, 600)
        assert import_logs([early], store).new == 0
        assert {episode.case for episode in store.episodes()} == {str(n) for n in range(600)}


def test_other_processes_read_the_same_as_this_one(tmp_path: Path, data: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes((data / "llm_logs_openai.jsonl").read_bytes() + b"{\n")
    told: dict[int, list[Rejected]] = {0: [], 1: []}
    stored, results = list[list[Episode]](), list[Imported]()
    for processes, rejected in told.items():
        with Store.open(tmp_path / f"{processes}.db") as store:
            results.append(import_logs([log], store, processes=processes, refuse=rejected.append))
            stored.append(list(store.episodes()))
    assert results[0] == results[1]
    assert stored[0] == stored[1]
    assert told[0] == told[1] != []


def test_an_id_with_other_content_is_named_and_the_first_stays(tmp_path: Path) -> None:
    first = {"id": "a", "messages": [USER, REPLY]}
    other = {"id": "a", "messages": [USER, {**REPLY, "content": "hm"}]}
    path = write(tmp_path / "log.jsonl", [first, other, first])
    told = list[Rejected]()
    with Store.open(tmp_path / "s.db") as store:
        result = import_logs([path], store, refuse=told.append)
        again = import_logs([write(tmp_path / "b.jsonl", [other])], store, refuse=told.append)
        dry = import_logs([path], None, dry_run=True)
        assert [episode.turns[0].reply.text for episode in store.episodes()] == ["ho"]
    assert [(Path(each.file).name, each.line, each.reason) for each in told] == [
        ("log.jsonl", 2, "same id, other content"),
        ("b.jsonl", 1, "same id, other content"),
    ]
    assert (result.episodes, result.new, again.new) == (2, 1, 0)
    assert dry == result


def test_a_dry_run_counts_what_an_import_stores_and_stores_nothing(tmp_path: Path, data: Path) -> None:
    log = data / "llm_logs_openai.jsonl"
    with Store.open(tmp_path / "s.db") as store:
        dry = import_logs([log], store, dry_run=True)
        assert store.count() == 0
        assert import_logs([log], store) == dry
        assert store.count() == 76
        assert import_logs([log], store, dry_run=True).new == 0
    assert (dry.turns, dry.tool_calls, dry.judged, dry.successes) == (997, 460, 76, 29)
    assert isinstance(dry, Imported)


def test_an_episode_comes_out_of_the_store_as_it_was_read(tmp_path: Path, data: Path) -> None:
    log = data / "llm_logs_openai.jsonl"
    with Store.open(tmp_path / "s.db") as store:
        import_logs([log], store)
        assert sorted(store.episodes(), key=lambda e: e.id) == sorted(read(log), key=lambda e: e.id)


def test_progress_is_told_in_bytes_of_the_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        path = write(tmp_path / name, [{"messages": [USER, REPLY]}] * 6_000)
        told = list[int]()
        for _ in read_logs(path, LogOptions(format="openai"), told.append):
            pass
        assert sum(told) == path.stat().st_size


def test_the_commands_of_the_page_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = samples()
    (tmp_path / "logs").mkdir()
    (tmp_path / "my-project").mkdir()
    (tmp_path / "my-project" / "prentice.toml").write_text(
        '[task]\nkind = "x"\n[teacher]\nmodel = "x:y"\n', encoding="utf-8"
    )
    files = {"logs.jsonl": "chats.jsonl", "tickets.csv": "tickets.csv", "traces.json": "spans.jsonl"}
    for name, sample in files.items():
        (tmp_path / name).write_text(made[sample], encoding="utf-8")
    (tmp_path / "logs" / "a.jsonl.gz").write_bytes(gzip.compress(made["chats.jsonl"].encode()))
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^prentice (.*?)\s*(?:#.*)?$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(commands) == 9
    for command in commands:
        words = [
            str(found) for word in command.split() for found in (sorted(Path().glob(word)) if "*" in word else [word])
        ]
        run = CliRunner().invoke(app, words)
        assert run.exit_code == 0, f"{command}: {run.output}"
    assert [episode.task for episode in read(tmp_path / "all.jsonl")].count("support") == 2
    assert {path.name for path in tmp_path.glob("*.*")} >= {"chats.jsonl", "dataset.parquet", "share.jsonl.gz"}
    assert len(read(tmp_path / "dataset.parquet")) == 4
