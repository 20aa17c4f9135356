"""A task of one's own: reading cases, prompts, grading, the policies that it brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prentice.config import build
from prentice.errors import ConfigError, DataError, UnknownNameError
from prentice.models import ScriptedModel
from prentice.pipeline import Project
from prentice.records import Episode, Failure, Sampling
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play, play_all
from prentice.tasks.text import FUNCTION, Text, TextConfig

ROWS = """id,split,text,expected
p,prompt,Pay 7 EUR,7
a,train,Sum 12.00,12.00
b,train,Total 5,5
c,train,All in all 5,5
d,val,Sum 3,3
e,test,Costs 80.50,80.50
"""
NUMBER = {"kind": "number"}


def task(folder: Path, rows: str = ROWS, name: str = "cases.csv", **settings: Any) -> Text:
    """A task on a small file."""
    (folder / name).write_text(rows, encoding="utf-8")
    section = {"cases": name, "instructions": "What is the total?", "grade": NUMBER, **settings}
    return Text(build(TextConfig, section, "[task]"), folder)


async def played(one: Text, reply: str, split: Any = "test", number: int = 0) -> Episode:
    """One episode of a policy that says this."""
    case = one.cases(split)[number]
    return await play(ScriptedModel([reply]), one.environment("teacher"), case, run="r", task="text")


def test_rows_fall_into_their_splits_and_prompt_rows_are_never_played(tmp_path: Path) -> None:
    one = task(tmp_path)
    assert {split: [case.id for case in one.cases(split)] for split in ("train", "val", "test")} == {
        "train": ["a", "b", "c"],
        "val": ["d"],
        "test": ["e"],
    }


def test_the_teacher_sees_the_worked_examples_and_the_student_the_instructions_alone(tmp_path: Path) -> None:
    one = task(tmp_path)
    teacher, student = (one.render(FUNCTION, {"text": "Sum 1"}, audience) for audience in ("teacher", "student"))
    assert [m.content for m in teacher.messages] == ["What is the total?", "Pay 7 EUR", "7", "Sum 1"]
    assert [m.role for m in teacher.messages] == ["system", "user", "assistant", "user"]
    assert [m.content for m in student.messages] == ["What is the total?", "Sum 1"]


def test_instructions_may_be_a_file_and_the_students_others(tmp_path: Path) -> None:
    (tmp_path / "long.md").write_text("\ufeffRead the note.\nSay the total.\n", encoding="utf-8")
    one = task(tmp_path, instructions="long.md", student_instructions="Total?")
    teacher, student = (one.render(FUNCTION, {"text": "x"}, audience) for audience in ("teacher", "student"))
    assert teacher.messages[0].content == "Read the note.\nSay the total."
    assert student.messages[0].content == "Total?"


def test_several_columns_come_in_through_the_prompt(tmp_path: Path) -> None:
    rows = 'id,split,subject,body,expected\na,train,Bill,"Pay {5}",5\nb,test,Bill,Pay 6,6\n'
    one = task(tmp_path, rows, prompt="Subject: {subject}\n{body}")
    request = one.render(FUNCTION, one.cases("train")[0].inputs, "student")
    assert request.messages[-1].content == "Subject: Bill\nPay {5}"


def test_json_lines_keep_values_that_are_no_texts(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "split": "train", "text": "a", "lines": [1, 2], "expected": 4},
        {"id": 2, "split": "test", "text": "b", "lines": [], "expected": 5.5},
    ]
    one = task(tmp_path, "\n".join(map(json.dumps, lines)), "cases.jsonl", prompt="{text} {lines}")
    assert one.render(FUNCTION, one.cases("train")[0].inputs, "student").messages[-1].content == "a [1, 2]"
    assert one.demonstration(one.cases("test")[0]) == "5.5"


@pytest.mark.parametrize(("reply", "right"), [("80.50", True), ("EUR 80.5", True), ("8050", False), ("no idea", False)])
async def test_an_episode_is_one_graded_turn(tmp_path: Path, reply: str, right: bool) -> None:
    episode = await played(task(tmp_path), reply)
    assert (len(episode.turns), episode.metric("success"), episode.failure) == (1, right, None)


async def test_an_episode_holds_no_answer_key(tmp_path: Path) -> None:
    secret = "987654"
    one = task(tmp_path, f"id,split,text,expected\na,train,x,{secret}\nb,test,y,{secret}\n")
    assert one.cases("train")[0].expected == secret
    assert secret not in (await played(one, "1", "train")).model_dump_json()


async def test_labels_are_choices_of_every_policy_and_listed_for_the_teacher(tmp_path: Path) -> None:
    rows = "id,split,text,expected\na,train,x,late\nb,train,z,late\nc,train,v,lost\nd,test,y,late\n"
    one = task(tmp_path, rows, grade={"kind": "label"})
    teacher, student = (one.render(FUNCTION, {"text": "x"}, audience) for audience in ("teacher", "student"))
    assert teacher.choices == student.choices == ("late", "lost")
    assert teacher.messages[0].content == "What is the total?\n\nAnswer with one of these labels.\nlate\nlost"
    assert (await played(one, "late")).metric("success") is True


async def test_a_schema_holds_replies_and_each_field_is_a_metric(tmp_path: Path) -> None:
    rows = 'id,split,text,expected\na,train,x,"{""n"": 1}"\nb,test,y,"{""n"": 2}"\n'
    one = task(tmp_path, rows, grade={"kind": "json", "response_schema": {"type": "object"}})
    episode = await played(one, '{"n": 2}')
    assert episode.turns[0].request.response_schema == {"type": "object"}
    assert {m.name: m.value for m in episode.metrics} == {"valid_json": True, "field.n": True, "success": True}


async def test_a_training_case_without_an_answer_gets_no_metric_and_one_of_test_is_refused(tmp_path: Path) -> None:
    one = task(tmp_path, "id,split,text,expected\na,train,x,\nb,test,y,2\n")
    episode = await played(one, "1", "train")
    assert (episode.metrics, episode.failure) == ((), None)
    with pytest.raises(DataError, match=r"cases\.csv:3: expected is empty"):
        task(tmp_path, "id,split,text,expected\na,train,x,1\nb,test,y,\n").cases("test")


async def test_a_grader_that_breaks_is_a_failure_of_the_metric_not_a_score_of_0(tmp_path: Path) -> None:
    (tmp_path / "breaking_grader.py").write_text("def grade(a, b, c):\n    raise OSError('disk')\n", encoding="utf-8")
    one = task(tmp_path, grade={"kind": "python", "function": "breaking_grader.py:grade"})
    episode = await played(one, "1")
    assert episode.failure is not None
    assert (episode.failure.where, episode.metric("success")) == ("metric", None)
    assert "OSError: disk" in episode.failure.message


def test_a_grader_that_waits_for_ever_fails_its_episode_and_is_counted(tmp_path: Path) -> None:
    code = "import asyncio\nasync def grade(a, b, c):\n    await asyncio.sleep(3600)\n"
    (tmp_path / "waiting_grader.py").write_text(code, encoding="utf-8")
    one = task(tmp_path, grade={"kind": "python", "function": "waiting_grader.py:grade"})
    with Store.open(tmp_path / "s.db") as store:
        run = play_all(one, ScriptedModel(lambda _: "5"), one.cases("train"), store, RolloutConfig(step_timeout_s=0.2))
        found = list(store.episodes(run=run))
    assert [e.failure.message for e in found if e.failure] == [
        "gave no answer within 0.2 s ([rollout] step_timeout_s)"
    ] * 3
    assert all(e.metric("success") is None for e in found)


def test_a_grader_that_computes_for_ever_is_stopped_with_its_process(tmp_path: Path) -> None:
    code = "def grade(a, b, c):\n    while True:\n        pass\n"
    (tmp_path / "busy_grader.py").write_text(code, encoding="utf-8")
    one = task(tmp_path, grade={"kind": "python", "function": "busy_grader.py:grade"})
    config = RolloutConfig(processes=1, step_timeout_s=1)
    with Store.open(tmp_path / "s.db") as store:
        run = play_all(one, ScriptedModel(lambda _: "5"), one.cases("train")[:2], store, config)
        found = list(store.episodes(run=run))
    assert [(e.failure.where, e.metric("success")) for e in found if e.failure] == [("environment", None)] * 2
    assert all("1 s" in e.failure.message for e in found if e.failure)


SCRIPTS = [("ส่งช้า ๆ", "ช้า"), ("包裹还没到", "迟到"), ("أين طلبي؟", "متأخر"), ("Where 👩🏽‍🚀 is it?", "⏰ late")]


@pytest.mark.parametrize("kind", ["exact", "label"])
async def test_texts_and_answers_in_other_scripts_go_through_as_they_are(tmp_path: Path, kind: str) -> None:
    rows = [("train", *pair) for pair in SCRIPTS] + [("test", *pair) for pair in SCRIPTS]
    lines = [{"id": f"{n}", "split": s, "text": text, "expected": answer} for n, (s, text, answer) in enumerate(rows)]
    one = task(tmp_path, "\n".join(map(json.dumps, lines)), "cases.jsonl", grade={"kind": kind})
    for number, (text, answer) in enumerate(SCRIPTS):
        episode = await played(one, answer, number=number)
        assert episode.turns[0].request.messages[-1].content == text
        assert episode.metric("success") is True
        assert (await played(one, SCRIPTS[number - 1][1], number=number)).metric("success") is False
        assert one.demonstration(one.cases("train")[number]) == answer


async def test_a_judge_is_opened_as_the_project_says_and_counted_apart(tmp_path: Path) -> None:
    one = task(tmp_path, grade={"kind": "judge", "model": "local:judge", "rubric": "good?"})
    opened: list[str] = []

    def open_model(spec: str) -> ScriptedModel:
        opened.append(spec)
        return ScriptedModel(lambda _: "no")

    one.open_model = open_model
    assert one.has_models
    episode = await played(one, "1")
    assert (opened, episode.metric("success"), episode.metric("judge_calls")) == (["local:judge"], False, 1.0)
    await played(one, "1")
    assert opened == ["local:judge"]


async def test_a_grader_of_ones_own_is_named_by_its_module(tmp_path: Path) -> None:
    (tmp_path / "own_grader.py").write_text(
        "from prentice.records import Metric\n"
        "from prentice.tasks.graders import Grader, GraderConfig\n"
        "class Mine(Grader):\n"
        "    Config = GraderConfig\n"
        "    def __init__(self, config, folder, keys):\n"
        "        self.keys = keys\n"
        "    def key(self, expected):\n"
        "        return str(expected)\n"
        "    async def grade(self, answer):\n"
        "        return (Metric(name='success', value=answer.text in self.keys),)\n",
        encoding="utf-8",
    )
    one = task(tmp_path, grade={"kind": "own_grader:Mine"})
    assert (await played(one, "5")).metric("success") is True
    assert (await played(one, "6")).metric("success") is False


BROKEN = """
from prentice.records import Metric
from prentice.tasks.graders import Grader, GraderConfig
class Mine(Grader):
    Config = GraderConfig
    def __init__(self, config, folder, keys):
        pass
    def key(self, expected):
        return {"5": "five", "12.00": "x", "3": "x", "80.50": "x", "7": "x"}[expected]
    async def grade(self, answer):
        raise LookupError("no such word")
"""


async def test_a_grader_of_ones_own_that_breaks_is_a_failure_of_the_metric_and_a_key_that_it_cannot_take_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken_grader.py").write_text(BROKEN, encoding="utf-8")
    episode = await played(task(tmp_path, grade={"kind": "broken_grader:Mine"}), "5")
    assert episode.failure == Failure(where="metric", message="Mine raised LookupError: no such word")
    other = task(tmp_path, ROWS.replace("All in all 5,5", "All in all 6,6"), grade={"kind": "broken_grader:Mine"})
    with pytest.raises(DataError, match=r"cases.csv:5: expected: Mine.key raised KeyError: '6'"):
        other.cases("train")


async def test_the_trivial_policy_gives_the_most_frequent_training_answer(tmp_path: Path) -> None:
    one = task(tmp_path)
    (name, policy), *others = one.baselines().items()
    assert (name, others) == ("most frequent answer", [])
    assert (await policy.generate(one.render(FUNCTION, {"text": "x"}, "teacher"), Sampling())).text == "5"


def project(folder: Path, rows: str, teacher: str) -> Project:
    """A project whose teacher is the answer key."""
    (folder / "cases.csv").write_text(rows, encoding="utf-8")
    (folder / "prentice.toml").write_text(
        '[task]\nkind = "text"\ncases = "cases.csv"\ninstructions = "?"\n[task.grade]\nkind = "number"\n'
        f'[teacher]\nmodel = "{teacher}"\n',
        encoding="utf-8",
    )
    return Project(folder)


async def test_the_answer_key_can_teach_but_is_no_policy_to_compare_with(tmp_path: Path) -> None:
    opened = project(tmp_path, ROWS, "task:answer key")
    assert "answer key" not in opened.task.baselines()
    policy = opened.open_policy("task:answer key")
    for split in ("train", "val", "test"):
        for case in opened.task.cases(split):
            environment = opened.task.environment("teacher")
            episode = await play(policy, environment, case, run="r", task="text")
            assert episode.metric("success") is True


def test_there_is_no_answer_key_where_an_answer_is_missing(tmp_path: Path) -> None:
    opened = project(tmp_path, "id,split,text,expected\na,train,x,\nb,train,z,1\nc,test,y,2\n", "task:answer key")
    with pytest.raises(UnknownNameError, match="known: most frequent answer"):
        opened.open_policy("task:answer key")


def test_the_fingerprint_changes_with_cases_prompts_and_the_graders_code(tmp_path: Path) -> None:
    (tmp_path / "print_grader.py").write_text("def grade(a, b, c):\n    return True\n", encoding="utf-8")
    grade = {"kind": "python", "function": "print_grader.py:grade"}

    def prints() -> list[str]:
        return [
            task(tmp_path, grade=grade).fingerprint(),
            task(tmp_path, ROWS + "f,test,z,4\n", grade=grade).fingerprint(),
            task(tmp_path, instructions="Sum?").fingerprint(),
            task(tmp_path, prompt="{text}!").fingerprint(),
        ]

    first = prints()
    assert len(set(first)) == 4
    assert prints() == first
    (tmp_path / "print_grader.py").write_text("def grade(a, b, c):\n    return False\n", encoding="utf-8")
    assert [a == b for a, b in zip(prints(), first, strict=True)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("id,split,text\na,dev,x\n", r"cases\.csv:2: split 'dev' is not one of prompt, train, val, test"),
        ("id,text,expected\na,x,1\n", r"cases\.csv:2: there is no column split"),
        ("id,split,text,expected\n,train,x,1\n", r"cases\.csv:2: the case has no id"),
        ("id,split,text,expected\na,train, ,1\n", r"cases\.csv:2: the inputs are empty"),
        ("id,split,text,expected\na,train,x,1\na,test,y,2\n", r"cases\.csv:3: id 'a' occurred in line 2"),
        ("id,split,text,expected\na,train,x,about 1\n", r"cases\.csv:2: expected: 'about 1' is not a number"),
        ("id,split,text,expected\na,train,x\n", r"cases\.csv:2: the row has not as many columns"),
        ("id,split,note,expected\na,train,x,1\n", r"cases\.csv:2: the prompt shows \{text\}, which is no column"),
        ("id,split,text,expected\n", r"cases\.csv: no cases"),
    ],
)
def test_a_wrong_row_is_named_by_file_line_and_value(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task(tmp_path, rows).cases("train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grade": {}}, r"\[task.grade\] kind is missing"),
        ({"grade": {"kind": "number", "tolerence": 1}}, "did you mean 'tolerance'"),
        ({"grade": {"kind": "nummer"}}, "no grader named 'nummer'"),
        ({"instructions": "none.md"}, r"none\.md: No such file"),
        ({"prompt": "{a.b}"}, "is not the name of an input"),
        ({"prompt": "{text:d}"}, "Unknown format code 'd'"),
        ({"prompt": "{text"}, "a brace that stands for itself is written twice"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        _ = task(tmp_path, **settings).grader


def test_an_empty_file_of_instructions_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"empty\.md: the file is empty"):
        task(tmp_path, instructions="empty.md")
