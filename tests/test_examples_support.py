"""The shipped example: its cases come from the data they are said to come from, its recording fits them."""

from __future__ import annotations

from pathlib import Path

from prentice.models.specs import read_recording
from prentice.pipeline import Project
from support_cases import cases

TOP = Path(__file__).parents[1]
SUPPORT = TOP / "examples" / "support"


def test_the_cases_are_drawn_from_banking77_as_the_script_says(data: Path) -> None:
    assert (SUPPORT / "cases.csv").read_text(encoding="utf-8") == cases(data)


def test_no_held_out_text_is_learnt_from_or_shown_in_the_prompt() -> None:
    task = Project(SUPPORT).task
    held_out = {str(case.inputs["text"]).lower() for case in task.cases("test")}
    learnt = {str(case.inputs["text"]).lower() for case in task.cases("train")}
    shown = task.render("classify", {"text": ""}, "teacher").messages[0].content.lower().splitlines()
    assert len(held_out) == 1000
    assert len(learnt) == 3000
    assert not held_out & learnt
    assert not {line.partition(": ")[2] for line in shown} & (held_out | learnt)


def test_the_recording_holds_what_the_docs_say() -> None:
    project = Project(SUPPORT)
    recording = read_recording(project.config.teacher.model, SUPPORT)
    first = {
        split: [e for e in recording.replies if e.split == split and e.attempt == 0] for split in ("train", "test")
    }
    assert {split: len(episodes) for split, episodes in first.items()} == {"train": 3000, "test": 1000}
    assert sum(e.attempt == 2 for e in recording.replies) >= 600
    assert len(recording.yardstick) == 400
    assert {e.failure for e in recording.replies} == {None}
    assert recording.live == "local:qwen2.5-coder-1.5b"
