"""Bad rows: each is named with file, line and reason, none stops an import, none costs a good one."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.errors import PrenticeError
from prentice.privacy import PrivacyConfig, Redactor
from prentice.records import Episode
from prentice.records.importing import FORMATS, LogOptions, Rejected, read_logs
from prentice.records.importing.faults import Reason
from prentice.records.importing.storing import import_logs
from prentice.records.importing.values import MOST_BYTES
from prentice.records.store import Store
from records_examples import json_objects, json_values

USER: dict[str, Any] = {"role": "user", "content": "hi"}
REPLY: dict[str, Any] = {"role": "assistant", "content": "ho"}
GOOD = json.dumps({"messages": [USER, REPLY]}).encode()


def chat(*messages: object, **fields: object) -> bytes:
    return json.dumps({"messages": list(messages), **fields}).encode()


def calling(**call: object) -> bytes:
    return chat(USER, {"role": "assistant", "tool_calls": [call]})


BAD: list[tuple[bytes, str, str]] = [
    (b'{"messages": [', "malformed JSON", "EOF"),
    (b'{"messages": [], "x": NaN}', "malformed JSON", "expected value at column"),
    (b'{"messages": "\\ud800"}', "malformed JSON", "escape"),
    (b"\x00" * 40, "malformed JSON", "column 1"),
    (GOOD.replace(b"hi", b"h\xe9"), "not UTF-8", "byte 0xe9 at 45"),
    (GOOD.decode().encode("utf-16-le"), "malformed JSON", ""),
    (b"[1, 2]", "not a JSON object", "[1, 2]"),
    (b"null", "not a JSON object", "None"),
    (b'{"rows": 1}', "no conversation in it", "no messages among rows"),
    (b'{"request": {}, "response": {}}', "no conversation in it", "no messages among"),
    (b'{"request": 5, "response": {}}', "no conversation in it", "request is 5"),
    (b'{"messages": [], "model": "m"}', "empty conversation", ""),
    (b'{"messages": "none"}', "malformed message", "messages is 'none'"),
    (chat(USER), "no assistant message", "1 messages"),
    (b'{"request": {"messages": [{"role": "user"}]}, "response": {"error": 1}}', "no assistant message", "no choices"),
    (chat({"role": "robot", "content": "hi"}, REPLY), "unknown role", "messages.0.role is 'robot', known: system"),
    (chat({"content": "hi"}, REPLY), "unknown role", "messages.0.role is None"),
    (chat({**USER, "content": 5}, REPLY), "malformed message", "messages.0.content is 5"),
    (chat("hi", REPLY), "malformed message", "messages.0 is 'hi'"),
    (calling(id="k", function={"name": "f"}), "call without arguments", "messages.1.tool_calls.0 calls 'f'"),
    (calling(id="k", function={"arguments": "{}"}), "malformed tool call", "its name is None"),
    (calling(id=5, function={"name": "f", "arguments": "{}"}), "malformed tool call", "its id is 5"),
    (chat(USER, {"role": "assistant", "tool_calls": "f"}), "malformed tool call", "tool_calls is 'f'"),
    (chat({"role": "tool", "content": "7"}, REPLY), "tool result without a call", "messages.0.tool_call_id is None"),
    (chat(USER, REPLY, {"role": "tool", "tool_call_id": "k"}), "tool result without a call", "tool_call_id is 'k'"),
    (chat(USER, REPLY, tools=[{"description": "x"}]), "malformed tool", "tools.0.name"),
    (chat(USER, REPLY, tools="find"), "malformed tool", "tools is 'find'"),
    (chat(USER, REPLY, reward="good"), "wrong value", "reward is 'good', not a number"),
    (chat(USER, REPLY, success="maybe"), "wrong value", "success is 'maybe', neither yes nor no"),
    (chat(USER, REPLY, usage={"prompt_tokens": -3}), "wrong value", "usage.prompt_tokens is -3, less than 0"),
    (chat(USER, REPLY, usage={"prompt_tokens": 1.5}), "wrong value", "not a whole number"),
    (chat(USER, REPLY, usage=7), "wrong value", "usage is 7"),
    (chat(USER, REPLY, created_at="yesterday"), "wrong value", "created_at is 'yesterday', not a moment"),
    (chat(USER, REPLY, latency_s="fast"), "wrong value", "latency_s is 'fast'"),
    (b'{"messages": [{"role": "user"}, {"role": "assistant"}], "cost": 1e999}', "wrong value", "cost is inf"),
    (chat(USER, REPLY, metadata=json.loads("[" * 250 + "]" * 250)), "malformed JSON", "recursion limit"),
    (chat(*[USER, REPLY] * 2_501), "conversation too long", "5,002 messages"),
]


@pytest.mark.parametrize(("row", "reason", "detail"), BAD, ids=lambda each: str(each)[:40])
def test_a_bad_row_is_named_and_the_rows_around_it_come_in(
    tmp_path: Path, row: bytes, reason: str, detail: str
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(GOOD + b"\n" + row + b"\n\n" + GOOD + b"\n")
    first, bad, last = read_logs(path, LogOptions(format="openai"))
    assert isinstance(first, Episode)
    assert isinstance(last, Episode)
    assert isinstance(bad, Rejected)
    assert (bad.file, bad.line, bad.reason) == (str(path), 2, reason)
    assert detail in bad.detail
    assert "\n" not in str(bad)


def test_a_line_that_is_too_long_is_passed_by(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(GOOD + b"\n" + b"x" * (MOST_BYTES + 1) + b"\n" + GOOD)
    first, bad, last = read_logs(path)
    assert isinstance(bad, Rejected)
    assert (bad.line, bad.reason) == (2, "line too long")
    assert isinstance(first, Episode)
    assert first == last


def test_what_no_store_can_keep_is_named_and_a_long_id_is_kept_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(GOOD + b"\n" + chat(USER, REPLY, id="i" * 3_000) + b"\n")
    episode = json.loads(next(each for each in read_logs(path) if isinstance(each, Episode)).model_dump_json())
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(episode | {"case": "c" * 3_000, "id": "x"}), encoding="utf-8")
    told = list[Rejected]()
    with Store.open(tmp_path / "s.db") as store:
        assert import_logs([path, other], store, refuse=told.append).new == 2
        assert {len(each.case) for each in store.episodes()} == {32}
    assert [(Path(each.file).name, each.reason) for each in told] == [("other.jsonl", "cannot be stored")]


def test_a_damaged_csv_row_costs_itself_alone(tmp_path: Path) -> None:
    rows = [f'"q {n}, ""x""","a\n{n}"' if n % 3 else f"q {n},a {n}" for n in range(30)]
    rows[7] = '"q 7,a 7'
    rows[12] = "q 12"
    rows[17] = "q 17,a,b"
    rows[23] = "q 23,"
    path = tmp_path / "log.csv"
    path.write_bytes(("prompt,answer\n" + "\n".join(rows) + "\n").encode().replace(b"q 27", b"q \xff27"))
    found = list(read_logs(path))
    bad = [each for each in found if isinstance(each, Rejected)]
    asked = [each.turns[0].request.messages[0].content for each in found if isinstance(each, Episode)]
    assert [name.split()[1].rstrip(",") for name in asked] == [
        str(n) for n in range(30) if n not in {7, 12, 17, 23, 27}
    ]
    assert [each.reason for each in bad] == [
        "malformed table row", "malformed table row", "malformed table row", "empty cell", "not UTF-8",
    ]  # fmt: skip
    lines = path.read_bytes().split(b"\n")
    assert all(f"q {n}".encode() in lines[each.line - 1] for n, each in zip([7, 12, 17, 23], bad[:4], strict=True))


def test_a_damaged_value_of_an_array_costs_itself_alone(tmp_path: Path) -> None:
    text = json.dumps([{"id": n, "messages": [USER, REPLY]} for n in range(9)], indent=1).split("\n")
    places = [place for place, line in enumerate(text) if '"role": "user"' in line]
    text[places[2]] = '"role": "us'
    text[places[4] - 1] = ""
    text[places[6] + 2] = ""
    (tmp_path / "log.json").write_text("\n".join(text), encoding="utf-8")
    found = list(read_logs(tmp_path / "log.json"))
    cases = {each.case for each in found if isinstance(each, Episode)}
    assert cases == {str(n) for n in range(9) if n not in {2, 4, 6}}
    assert len([each for each in found if isinstance(each, Rejected)]) >= 3


def damaged(line: bytes, kind: int, dice: random.Random) -> bytes:
    """A line that is no longer what it was."""
    row = json.loads(line)
    said = row["messages"]
    if kind == 0:
        return line[: dice.randrange(1, len(line) - 2)]
    if kind == 1:
        place = dice.randrange(10, len(line) // 2)
        return line[:place] + b"\xff\xfe" + line[place:]
    if kind == 2:
        said[dice.randrange(len(said))]["role"] = "robot"
    elif kind == 3:
        next(each for each in said if each["role"] == "tool")["tool_call_id"] = "gone"
    elif kind == 4:
        del next(each for each in said if each.get("tool_calls"))["tool_calls"][0]["function"]["arguments"]
    elif kind == 5:
        row["messages"] = []
    elif kind == 6:
        row["messages"] = [each for each in said if each["role"] not in {"assistant", "tool"}]
    elif kind == 7:
        row["metadata"]["reward"] = "NaN"
    elif kind == 8:
        return line.replace(b'"role"', b'"r\x00le"', 1)
    else:
        return b"\x00" * 200
    return json.dumps(row).encode()


def test_of_a_copy_with_damaged_lines_every_good_one_comes_in_and_every_bad_one_is_named(
    tmp_path: Path, data: Path
) -> None:
    dice = random.Random(5)
    raw = (data / "llm_logs_openai.jsonl").read_bytes().splitlines()
    with_tools = [line for line in raw if b'"tool_calls"' in line]
    rows = [with_tools[n % len(with_tools)].replace(b'"id": "tau', f'"id": "{n}-tau'.encode(), 1) for n in range(200)]
    bad = {n: place % 10 for place, n in enumerate(sorted(dice.sample(range(200), 10)))}
    for n, kind in bad.items():
        rows[n] = damaged(rows[n], kind, dice)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(rows))
    told = list[Rejected]()
    with Store.open(tmp_path / "s.db") as store:
        result = import_logs([path], store, refuse=told.append)
        cases = {episode.case.split("-")[0] for episode in store.episodes()}
    assert [each.line - 1 for each in told] == sorted(bad)
    assert cases == {str(n) for n in range(200) if n not in bad}
    assert result.rejected.total() == len(bad)


def test_the_command_names_bad_rows_in_short_and_writes_all_of_them_where_asked(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(GOOD + b"\n" + b"{\n" * 25)
    run = CliRunner().invoke(app, ["import", str(tmp_path / "s.db"), str(log)])
    assert run.exit_code == 0
    assert "1 episodes stored" in run.stdout
    assert run.stdout.count("left out: ") == 21
    assert "... and 5 more" in run.stdout
    assert "25 rows left out: 25 malformed JSON" in run.stdout
    run = CliRunner().invoke(
        app, ["import", str(tmp_path / "s.db"), str(log), "--rejected", str(tmp_path / "bad.jsonl")]
    )
    assert "0 episodes stored" in run.stdout
    rows = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in rows] == list(range(2, 27))
    assert {row["reason"] for row in rows} == {"malformed JSON"}
    assert {Path(row["file"]).name for row in rows} == {"log.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.jsonl"], "gone.jsonl: no such file"),
        (["log.jsonl", "--as", "xml"], "no log format named 'xml'"),
        (["log.jsonl", "--read", "splt=train"], "did you mean 'split'?"),
        (["log.jsonl", "--read", "split=later"], 'split = "later"'),
        (["log.jsonl", "--read", "task"], "has no `=`"),
        (["log.jsonl", "--as", "otel"], ""),
    ],
)
def test_the_command_says_what_is_to_be_fixed(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(GOOD)
    names = [str(tmp_path / arguments[0]), *arguments[1:]]
    run = CliRunner().invoke(app, ["import", str(tmp_path / "s.db"), *names, "--dry-run"])
    assert run.exit_code == (2 if says else 0)
    assert says in run.output
    assert "Traceback" not in run.output
    assert not (tmp_path / "s.db").exists()


NAMES = """
role content tool_calls tool_call_id function name arguments id type messages tools usage reward metadata scores
conversations from value request response choices message traceId input output observations resourceSpans scopeSpans
spans attributes key stringValue events startTime prompt completion split created_at turns run case resourceLogs
scopeLogs logRecords body status code intValue arrayValue values parts weight system
"""
keys = st.sampled_from(sorted(set(NAMES.split())))
leaves = json_values | st.sampled_from(
    ["user", "assistant", "tool", "GENERATION", "gen_ai.choice", "{", "[1]", "f", 1e300]
)
rows = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=12
)


def found_in(content: bytes, name: str, source: str | None) -> list[Episode | Rejected]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        options = LogOptions(format=source, input="input", output="output")
        found = list(read_logs(path, options))
        told = list[Rejected]()
        result = import_logs([path], None, options, dry_run=True, refuse=told.append)
        assert result.episodes + len(told) == len(found), "what is read is stored or named"
        return found


quietly = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no fault."""


@quietly
@given(st.lists(json_objects | st.dictionaries(keys, rows, max_size=6), max_size=4), st.sampled_from([*FORMATS]))
def test_any_json_is_an_episode_or_a_named_reason(some: list[Any], source: str) -> None:
    content = "".join(json.dumps(row) + "\n" for row in some)
    found = found_in(content.encode("utf-8", "surrogatepass"), "log.jsonl", source)
    if FORMATS[source].entries is None:
        assert len(found) == len(some), "a row is an episode or a reason"
    assert all(each.reason in get_args(Reason) for each in found if isinstance(each, Rejected))


@quietly
@given(
    st.binary(max_size=200), st.sampled_from(["log.jsonl", "log.json", "log.csv", "log.parquet", "log.xlsx", "log.gz"])
)
def test_any_bytes_are_rows_or_one_clear_error(content: bytes, name: str) -> None:
    for head in (b"", b"[", b"PAR1", b"PK\x03\x04", b'{"messages": ['):
        said = ""
        try:
            found_in(head + content, name, None)
        except PrenticeError as error:
            said = str(error)
        assert "\n" not in said


PAGE = (Path(__file__).parents[1] / "docs" / "bring-your-logs.md").read_text(encoding="utf-8")
SAMPLES = [line for line in PAGE.split("\n") if line.startswith("{") and "data_type" not in line]


@quietly
@given(st.data(), st.sampled_from(SAMPLES))
def test_a_good_row_in_which_something_changed_is_an_episode_or_a_named_reason(draw: st.DataObject, line: str) -> None:
    row = json.loads(line)
    spot: Any = row
    while True:
        places = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        place = draw.draw(st.sampled_from(places))
        if not isinstance(spot[place], dict | list) or not spot[place] or draw.draw(st.integers(0, 4)) == 0:
            spot[place] = draw.draw(json_values)
            break
        spot = spot[place]
    found = found_in(f"{line}\n{json.dumps(row)}\n{line}\n".encode(), "log.jsonl", None)
    assert any(isinstance(each, Episode) for each in found)


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize("mode", ["report", "redact"])
def test_what_a_guard_found_is_counted_wherever_rows_are_read(tmp_path: Path, mode: Any, processes: int) -> None:
    row = {
        "messages": [{"role": "user", "content": "I am jane.roe@example.com"}, {"role": "assistant", "content": "ok"}]
    }
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    guard = Redactor(PrivacyConfig(mode=mode))
    with Store.open(tmp_path / "store.db", guard) as store:
        result = import_logs([tmp_path / "log.jsonl"], store, LogOptions(), processes=processes)
        shown = next(store.episodes()).turns[0].request.messages[0].content
    assert result.found == {"email": 1}
    assert shown == ("I am [EMAIL_1]" if mode == "redact" else "I am jane.roe@example.com")
    assert guard.told(result.found).startswith("personal data: 1 email; ")
