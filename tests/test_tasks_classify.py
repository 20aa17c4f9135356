"""The classify task: reading cases, prompts, grading, trivial policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from prentice.config import build
from prentice.errors import ConfigError, DataError, UnknownNameError
from prentice.models import ScriptedModel
from prentice.records import Sampling
from prentice.rollouts import play
from prentice.tasks import TASKS
from prentice.tasks.classify import Classify, ClassifyConfig

HEADER = "id,split,text,label\n"
ROWS = """p1,prompt,Where is it?,late
a,train,It came late,late
b,train,Too late,late
c,train,I lost it,lost
d,test,Gone,lost
"""


def task(tmp_path: Path, text: str = HEADER + ROWS) -> Classify:
    """A task on a small file."""
    (tmp_path / "cases.csv").write_text(text, encoding="utf-8")
    return Classify(ClassifyConfig(cases=Path("cases.csv"), instructions="Which?"), tmp_path)


def test_splits_and_labels_come_from_the_file(tmp_path: Path) -> None:
    classify = task(tmp_path)
    assert [case.id for case in classify.cases("train")] == ["a", "b", "c"]
    assert [case.id for case in classify.cases("test")] == ["d"]
    assert classify.labels == ("late", "lost")


def test_the_constant_part_of_the_prompt_comes_first_and_only_the_teacher_sees_the_labels(tmp_path: Path) -> None:
    classify = task(tmp_path)
    teacher = classify.render("classify", {"text": "Hello"}, "teacher")
    student = classify.render("classify", {"text": "Hello"}, "student")
    assert [m.content for m in student.messages] == ["Which?", "Hello"]
    assert teacher.messages[0].content == (
        "Which?\nAnswer with one of these labels. An example of each:\nlate: Where is it?\nlost"
    )
    assert teacher.messages[1].content == "Hello"
    assert teacher.choices == student.choices == ("late", "lost")


@pytest.mark.parametrize(("answer", "success"), [("lost", True), ("late", False)])
async def test_success_is_the_right_label(tmp_path: Path, answer: str, success: bool) -> None:
    classify = task(tmp_path)
    episode = await play(
        ScriptedModel([answer]), classify.environment("teacher"), classify.cases("test")[0], run="r", task="classify"
    )
    assert episode.metric("success") is success


async def test_an_episode_holds_no_answer_key(tmp_path: Path) -> None:
    secret = "label-that-nobody-says"
    classify = task(tmp_path, HEADER + f"a,train,one,{secret}\nb,train,two,other\n")
    case = classify.cases("train")[0]
    assert case.expected == secret
    episode = await play(ScriptedModel(["other"]), classify.environment("teacher"), case, run="r", task="classify")
    held = episode.model_dump()
    for turn in held["turns"]:
        turn["request"].pop("choices")  # every episode lists all labels, whichever is right
        turn["request"]["messages"] = turn["request"]["messages"][1:]
    assert secret not in str(held)


async def test_the_trivial_policy_gives_the_most_frequent_training_label(tmp_path: Path) -> None:
    classify = task(tmp_path)
    (policy,) = classify.baselines().values()
    request = classify.render("classify", {"text": "Hello"}, "teacher")
    assert (await policy.generate(request, Sampling())).text == "late"


def test_the_fingerprint_changes_with_cases_and_instructions(tmp_path: Path) -> None:
    one = task(tmp_path).fingerprint()
    assert task(tmp_path).fingerprint() == one
    assert task(tmp_path, HEADER + ROWS + "e,test,New,late\n").fingerprint() != one


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,split,text\na,train,x\n", r"cases\.csv:1: column 'label' is missing"),
        (HEADER + "a,train,,late\n", r"cases\.csv:2: text is empty"),
        (HEADER + "a,dev,x,late\n", r"cases\.csv:2: split 'dev' is not one of"),
        (HEADER + "a,train,x,late\na,test,y,late\n", r"cases\.csv:3: id 'a' occurred in line 2"),
        (HEADER, r"cases\.csv: no cases"),
        (HEADER + 'a,train,"x,late\n', r"cases\.csv"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task(tmp_path, text).cases("train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    classify = Classify(ClassifyConfig(cases=Path("none.csv"), instructions="Which?"), tmp_path)
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        classify.cases("train")


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no task named 'clasify' \(did you mean 'classify'"):
        TASKS.load("clasify")


def test_an_unknown_key_of_the_task_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'instructions'"):
        build(ClassifyConfig, {"cases": "c.csv", "instruction": "?"}, "prentice.toml: [task]")


async def test_texts_and_labels_in_other_scripts_go_through_as_they_are(tmp_path: Path) -> None:
    said = [("ส่งช้า", "ล่าช้า"), ("包裹丢了", "丢失"), ("أين طلبي؟", "متأخر"), ("Where 👩🏽‍🚀 is it?", "⏰ late")]
    lines = [
        f"{split}{n},{split},{text},{label}" for split in ("train", "test") for n, (text, label) in enumerate(said)
    ]
    classify = task(tmp_path, HEADER + "\n".join(lines))
    assert set(classify.labels) == {label for _, label in said}
    for case, (text, label) in zip(classify.cases("test"), said, strict=True):
        for answer, success in ((label, True), ("丢失" if label != "丢失" else "متأخر", False)):
            episode = await play(
                ScriptedModel([answer]), classify.environment("student"), case, run="r", task="classify"
            )
            assert episode.turns[0].request.messages[-1].content == text
            assert episode.metric("success") is success
