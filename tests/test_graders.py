"""Graders: what each calls right, what it calls wrong, and what is its own breaking."""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from prentice.config import build
from prentice.errors import ConfigError, DataError, JudgeError, MetricError, UnknownNameError
from prentice.models import ScriptedModel
from prentice.tasks.graders import GRADERS, Answer, Grader
from prentice.tasks.graders.number import read_number


def grader(kind: str, folder: Path = Path(), keys: tuple[JsonValue, ...] = (), **settings: Any) -> Grader:
    """A grader as a project would make it."""
    grader_class = GRADERS.load(kind)
    config = build(grader_class.Config, {"kind": kind, **settings}, "[task.grade]")
    made: Grader = grader_class(config, folder, keys)
    return made


async def grades(one: Grader, reply: str, expected: JsonValue, judge: ScriptedModel | None = None) -> dict[str, Any]:
    """The metrics of a reply by name."""
    metrics = await one.grade(Answer(reply, expected, {"text": "Hello"}, judge))
    return {metric.name: metric.value for metric in metrics}


@pytest.mark.parametrize("kind", sorted(GRADERS.rows))
def test_every_built_in_documents_each_of_its_keys(kind: str) -> None:
    config = GRADERS.load(kind).Config
    assert config.model_fields["kind"].default == kind
    assert not [name for name, field in config.model_fields.items() if not field.description]


def test_an_unknown_grader_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'number'"):
        GRADERS.load("numbers")


@pytest.mark.parametrize(
    ("reply", "settings", "right"),
    [
        (" Paris \n", {}, True),
        ("New  York", {}, False),
        ("paris", {}, False),
        ("paris", {"ignore_case": True}, True),
        ("Pa ris", {}, False),
        ("", {}, False),
    ],
)
async def test_exact_compares_texts_less_what_is_ignored(reply: str, settings: dict[str, Any], right: bool) -> None:
    assert (await grades(grader("exact", **settings), reply, "Paris"))["success"] is right


async def test_exact_takes_white_space_for_one_space_unless_it_counts() -> None:
    assert (await grades(grader("exact"), "New  York", "New York"))["success"] is True
    assert (await grades(grader("exact", ignore_space=False), "New  York", "New York"))["success"] is False


async def test_labels_hold_replies_to_what_the_cases_expect_and_synonyms_stand_for_them() -> None:
    one = grader("label", keys=("refund", "card", "refunds", None), synonyms={"refunds": "refund"})
    assert one.choices == ("card", "refund")
    assert (await grades(one, "refund", "refunds"))["success"] is True
    assert (await grades(one, "card", "refund"))["success"] is False
    assert one.key(" refunds ") == "refund"
    with pytest.raises(ValueError, match="'cash' is none of the labels: card, refund"):
        one.key("cash")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "there are no labels"),
        ({"choices": ["a", "a"]}, "'a' stands there twice"),
        ({"choices": ["a"], "synonyms": {"b": "c"}}, "'c' is no label"),
    ],
)
def test_labels_that_cannot_be_are_the_users_to_fix(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grader("label", **settings)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", "12"),
        (" 12.50 \n", "12.50"),
        ("-3", "-3"),
        ("−3", "-3"),
        ("+3", "3"),
        ("1,234.50 EUR", "1234.50"),
        ("EUR 1,234.50", "1234.50"),
        ("$80", "80"),
        ("-$80", "-80"),
        ("€ -80", "-80"),
        ("1 234 567", "1234567"),
        ("1\u202f234 kr", None),
        ("1'000.5", "1000.5"),
        ("25%", "25"),
        ("1,23", None),
        ("1,2345", None),
        ("12,345,6", None),
        ("1,234 567", None),
        ("1e3", None),
        ("The total is 12", None),
        ("12 apples", None),
        ("12.", None),
        (".5", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("٣", None),
        ("9" * 61, None),
    ],
)
def test_a_number_is_what_the_docs_say_and_nothing_else(text: str, value: str | None) -> None:
    assert read_number(text) == (None if value is None else Decimal(value))


def test_with_a_decimal_comma_points_set_thousands_apart() -> None:
    assert read_number("1.234,50 EUR", ",") == Decimal("1234.50")
    assert read_number("1.234", ",") == 1234
    assert read_number("1.5", ",") is None


@settings(deadline=None)
@given(
    st.decimals(-(10**12), 10**12, places=2, allow_nan=False), st.sampled_from(["{:f}", "{:,f}", "{:f} EUR", "${:,f}"])
)
def test_every_written_number_is_read_back(value: Decimal, form: str) -> None:
    if form.startswith("$"):
        value = abs(value)
    assert read_number(form.format(value)) == value


@settings(deadline=None)
@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_numbers(text: str) -> None:
    found = read_number(text)
    assert found is None or found.is_finite()


@pytest.mark.parametrize(
    ("reply", "settings", "right"),
    [
        ("80", {}, True),
        ("80.00 USD", {}, True),
        ("80.01", {}, False),
        ("80.01", {"tolerance": 0.01}, True),
        ("80.8", {"relative": 0.01}, True),
        ("80.81", {"relative": 0.01}, False),
        ("eighty", {"tolerance": 1000.0}, False),
    ],
)
async def test_a_number_may_be_off_by_the_tolerance(reply: str, settings: dict[str, Any], right: bool) -> None:
    assert (await grades(grader("number", **settings), reply, "80.00"))["success"] is right


async def test_a_reply_that_is_no_number_is_wrong_and_says_so() -> None:
    assert await grades(grader("number"), "I do not know", 80) == {"is_number": False, "success": False}
    assert await grades(grader("number"), "81.5", 80) == {"is_number": True, "error": 1.5, "success": False}


@pytest.mark.parametrize("key", ["", "about 80", True, None, [80]])
def test_an_answer_key_that_is_no_number_is_refused(key: JsonValue) -> None:
    with pytest.raises(ValueError, match="not a number"):
        grader("number").key(key)


def test_a_number_of_json_becomes_the_reply_that_people_would_write() -> None:
    assert grader("number").key(1e-7) == "0.0000001"
    assert grader("number", decimal=",").key(2.5) == "2,5"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"name": " Ann ", "age": 4.0}', {"valid_json": True, "field.name": True, "field.age": True, "success": True}),
        ('{"name": "Bob", "age": 4}', {"valid_json": True, "field.name": False, "field.age": True, "success": False}),
        ('{"name": "Ann"}', {"valid_json": True, "field.name": True, "field.age": False, "success": False}),
        (
            '{"name": "Ann", "age": 4, "x": 1}',
            {"valid_json": True, "field.name": True, "field.age": True, "success": False},
        ),
        (
            '{"name": "Ann", "age": true}',
            {"valid_json": True, "field.name": True, "field.age": False, "success": False},
        ),
        (
            '```json\n{"name": "Ann", "age": 4}\n```',
            {"valid_json": False, "field.name": False, "field.age": False, "success": False},
        ),
        (
            '{"name": "Ann", "name": "Ann", "age": 4}',
            {"valid_json": False, "field.name": False, "field.age": False, "success": False},
        ),
        ("[1]", {"valid_json": False, "field.name": False, "field.age": False, "success": False}),
        ("", {"valid_json": False, "field.name": False, "field.age": False, "success": False}),
    ],
)
async def test_json_is_graded_field_by_field(reply: str, expected: dict[str, bool]) -> None:
    assert await grades(grader("json"), reply, '{"name": "Ann", "age": 4}') == expected


async def test_named_fields_are_compared_and_others_may_be_anything() -> None:
    one = grader("json", fields=["age"])
    assert await grades(one, '{"age": 4, "x": 1}', {"age": 4, "name": "Ann"}) == {
        "valid_json": True,
        "field.age": True,
        "success": True,
    }
    with pytest.raises(ValueError, match="has no field 'age'"):
        one.key({"name": "Ann"})


def test_a_schema_comes_from_the_section_or_from_a_file_of_the_project(tmp_path: Path) -> None:
    schema = {"type": "object"}
    (tmp_path / "schema.json").write_text(json.dumps(schema), encoding="utf-8")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    assert grader("json", response_schema=schema).response_schema == schema
    assert grader("json", tmp_path, response_schema="schema.json").response_schema == schema
    for name, message in (
        ("none.json", "No such file"),
        ("list.json", "is an object"),
        ("broken.json", "not valid JSON"),
    ):
        with pytest.raises(ConfigError, match=message):
            grader("json", tmp_path, response_schema=name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1), JSON, min_size=1, max_size=4))
async def test_every_object_is_its_own_right_answer(value: dict[str, Any]) -> None:
    one = grader("json")
    assert (await grades(one, one.key(value), value))["success"] is True


@settings(deadline=None)
@given(st.text(max_size=60))
async def test_no_reply_breaks_the_grader_of_json(reply: str) -> None:
    assert (await grades(grader("json"), reply, {"a": 1}))["success"] in (True, False)


@pytest.mark.parametrize(
    ("pattern", "reply", "expected", "right"),
    [
        (r"^\d{3}$", "123", None, True),
        (r"^\d{3}$", "1234", None, False),
        (r"total: (\d+)", "total: 12 EUR", "12", True),
        (r"total: (\d+)", "total: 13 EUR", "12", False),
        (r"(a)?b", "b", "a", False),
    ],
)
async def test_a_pattern_must_be_found_and_its_group_be_the_expected_text(
    pattern: str, reply: str, expected: str | None, right: bool
) -> None:
    assert (await grades(grader("regex", pattern=pattern), reply, expected))["success"] is right


def test_a_pattern_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="not a regular expression"):
        grader("regex", pattern="(")


def written(folder: Path, name: str, body: str) -> str:
    """A module of the user's with a function `grade`; its name must be new, since modules are loaded once."""
    (folder / f"{name}.py").write_text(f"def grade(reply, expected, inputs):\n    {body}\n", encoding="utf-8")
    return f"{name}.py:grade"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("return reply == expected", {"success": True}),
        ("return 0.5", {"score": 0.5, "success": False}),
        ("return 1", {"score": 1.0, "success": True}),
        ("return {'success': False, 'length': len(inputs['text'])}", {"success": False, "length": 5.0}),
        ("import numpy; return numpy.float32(0.5)", {"score": 0.5, "success": False}),
        ("import numpy; return {'success': numpy.bool_(True)}", {"success": True}),
    ],
)
async def test_a_function_gives_a_flag_a_number_or_several(tmp_path: Path, body: str, found: dict[str, Any]) -> None:
    function = written(tmp_path, f"grader_{abs(hash(body))}", body)
    assert await grades(grader("python", tmp_path, function=function), "a", "a") == found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "raised ZeroDivisionError: division by zero"),
        ("return None", "gave 'None', not true or false"),
        ("return float('nan')", "is nan"),
        ("return {'length': 3}", "gave no flag `success`, only length"),
        ("return {'success': True, 'note': 'fine'}", "'note' gave 'fine'"),
    ],
)
async def test_a_function_that_breaks_is_a_failure_of_the_metric_not_a_score(
    tmp_path: Path, body: str, message: str
) -> None:
    function = written(tmp_path, f"broken_{abs(hash(body))}", body)
    with pytest.raises(MetricError, match=message):
        await grades(grader("python", tmp_path, function=function), "a", "a")


async def test_a_function_that_changes_what_it_is_given_leaves_the_case_as_it_was(tmp_path: Path) -> None:
    body = "return expected.pop() == 'b' and inputs['seen'].append(1) is None"
    function = written(tmp_path, "greedy_grader", body)
    expected: JsonValue = ["a", "b"]
    inputs: dict[str, JsonValue] = {"seen": []}
    one = grader("python", tmp_path, function=function)
    for _ in range(2):
        (success,) = await one.grade(Answer("x", expected, inputs))
        assert success.value is True
    assert (expected, inputs) == (["a", "b"], {"seen": []})


@pytest.mark.parametrize(("name", "body"), [("half_a_grader", "def grade(:"), ("late_grader", "raise OSError('disk')")])
def test_a_file_that_raises_when_it_is_imported_is_the_users_to_fix(tmp_path: Path, name: str, body: str) -> None:
    (tmp_path / f"{name}.py").write_text(body, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"importing {name} raised (SyntaxError|OSError)") as caught:
        grader("python", tmp_path, function=f"{name}.py:grade")
    assert f"{name}.py" in caught.value.hint


def test_a_file_that_says_itself_what_is_wrong_is_not_spoken_for(tmp_path: Path) -> None:
    body = 'from prentice.errors import DataError\nraise DataError("words.txt: empty", "fill it")\n'
    (tmp_path / "outspoken_grader.py").write_text(body, encoding="utf-8")
    with pytest.raises(DataError, match=r"^words.txt: empty") as caught:
        grader("python", tmp_path, function="outspoken_grader.py:grade")
    assert caught.value.hint == "fill it"


def test_a_function_that_is_not_there_or_takes_other_arguments_is_the_users_to_fix(tmp_path: Path) -> None:
    (tmp_path / "odd_grader.py").write_text("def grade(reply):\n    return True\nn = 1\n", encoding="utf-8")
    for function, message in (
        ("no_such_grader.py:grade", "no module named 'no_such_grader'"),
        ("odd_grader.py:other", "has no 'other'"),
        ("odd_grader.py:grade", "too many positional arguments"),
        ("odd_grader.py:n", "is no function"),
    ):
        with pytest.raises(ConfigError, match=message):
            grader("python", tmp_path, function=function)


def program(folder: Path, code: str, **settings: Any) -> Grader:
    """A grader that runs this Python program."""
    (folder / "program.py").write_text(code, encoding="utf-8")
    return grader("command", folder, command=[sys.executable, "program.py"], **settings)


READ = "import json, sys, os, time\nasked = json.load(sys.stdin)\n"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("sys.exit(0 if asked['reply'] == asked['expected'] else 1)", {"success": False}),
        (
            "print(json.dumps({'success': True, 'length': len(asked['inputs']['text'])}))",
            {"success": True, "length": 5.0},
        ),
        ("print(0.25)", {"score": 0.25, "success": False}),
    ],
)
async def test_a_program_answers_by_json_or_by_its_exit_code(tmp_path: Path, code: str, found: dict[str, Any]) -> None:
    assert await grades(program(tmp_path, READ + code), "a", "b") == found


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise KeyError('x')", "ended with code 1: KeyError: 'x'"),
        ("sys.exit(3)", "ended with code 3"),
        ("print('yes')", "which is not JSON"),
        ("print('true'); sys.exit(1)", "ended with code 1"),
        ("os.kill(os.getpid(), 9)", "ended with code -9"),
    ],
)
async def test_a_program_that_breaks_is_a_failure_of_the_metric(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        await grades(program(tmp_path, READ + code), "a", "b")


async def test_a_program_that_does_not_end_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(MetricError, match="did not end within 1 s"):
        await grades(program(tmp_path, code, timeout_s=1.0), "a", "b")
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    for _ in range(100):  # on a busy machine a signal takes its time; by itself the child would sleep for a minute
        if _is_gone(child):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("what the program started runs on")


def _is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").split()[2] == "Z"
    except FileNotFoundError:
        return True


async def test_a_program_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"command: \./none: No such file"):
        await grades(grader("command", tmp_path, command=["./none"]), "a", "b")


async def test_a_judge_says_yes_or_no_and_sees_the_case(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text("It is polite.", encoding="utf-8")
    one = grader("judge", tmp_path, model="local:x", rubric="rubric.md")
    seen: list[str] = []

    def answer(request: Any) -> str:
        seen.extend(message.content for message in request.messages)
        return "yes"

    assert await grades(one, "Good day", "Hello there", ScriptedModel(answer)) == {"judged": True, "success": True}
    assert seen[0].startswith("It is polite.")
    assert seen[1] == (
        "What was asked:\ntext: Hello\n\nA good reply would be:\nHello there\n\nThe reply to judge:\nGood day"
    )


@pytest.mark.parametrize(("said", "success_at", "right"), [("5", None, True), ("4", None, False), ("4", 4, True)])
async def test_a_judges_number_is_a_success_from_some_number_on(said: str, success_at: int | None, right: bool) -> None:
    one = grader("judge", model="local:x", rubric="good?", scale=[1, 5], success_at=success_at)
    found = await grades(one, "Good day", None, ScriptedModel([said]))
    assert found == {"judged": float(said), "success": right}


async def test_a_judge_that_says_something_else_is_a_failure_of_the_judge() -> None:
    with pytest.raises(JudgeError, match="said 'perhaps'"):
        await grades(grader("judge", model="local:x", rubric="good?"), "a", None, ScriptedModel(["perhaps"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": [5, 1]}, "does not rise"),
        ({"success_at": 3}, "is not on the scale"),
        ({"scale": [1, 5], "success_at": 6}, "is not on the scale"),
        ({"rubric": "none.md"}, r"none\.md: No such file"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_the_users_to_fix(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grader("judge", **{"model": "local:x", "rubric": "good?", **settings})
