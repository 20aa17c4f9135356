"""Named entities measured: the example on WNUT-17, and CoNLL++, whose text cannot be shipped, from PRENTICE_DATA."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import tasks_students as students
from parts import MissingDataError
from prentice.app.cli.terminal import terminal_progress
from prentice.pipeline import Project
from prentice.pipeline.record import Recorder
from prentice.records import Split

Row = dict[str, Any]
NER = students.EXAMPLES / "ner"
TEACHER, BASE = "local:qwen2.5-coder-1.5b", "local:smollm2-135m"
ATTEMPTS, LABELLED, HELD_OUT, YARDSTICK, ARM_CASES = 600, 1000, 400, 40, 200
"""Texts of CoNLL++ from the first on: the teacher's to learn from, people's, held out, the base's, the arms'."""
CONLL = """\
Find the names in the text and reply with a JSON object: type → list of the names of that type, in their order, copied \
letter by letter. Leave out types of which there are none; reply {} where there are no names at all.

person: names of people
organization: names of companies, sports teams, ministries, parties, papers
location: names of countries, cities, places
miscellaneous: nationalities, languages, events, cups and leagues, titles of works"""


def example_rows() -> list[Row]:
    """The example's report, WNUT-17: teacher, base, student and the trivial baseline."""
    return students.policy_rows("ner_wnut", students.student_run("ner"))


def student_rows() -> list[Row]:
    """CoNLL++, from the teacher's curated work."""
    outcome = students.student_run("ner", *_conll("teacher"))
    student = students.result(outcome, "student")
    assert student.difference is not None
    told = "student minus teacher, exact, CoNLL++"
    return [
        *students.policy_rows("ner", outcome),
        students.difference_row("ner_success_diff_low", student.difference, student.n, told),
    ]


def live_rows() -> list[Row]:
    """Teacher and student in turns, CoNLL++."""
    settings = _conll("teacher")
    return students.live_rows("ner", students.student_run("ner", *settings).student, *settings)


def arm_rows() -> list[Row]:
    """Curated work, all work and people's labels of the same number, three seeds, CoNLL++."""
    return students.arm_rows(
        "ner", *_conll("teacher"), 'ablate.arms=["all","human"]', 'ablate.equal=["tokens"]', f"ablate.cases={ARM_CASES}"
    )


def human_rows() -> list[Row]:
    """A student of 1 000 labelled texts of CoNLL++ against the teacher, entity F1 on the same held-out texts."""
    many_rows = ("train.sft.epochs=3", "train.sft.batch=32")
    outcome = students.student_run("ner", *_conll("people"), *many_rows)
    student, teacher = students.result(outcome, "student"), students.result(outcome, "teacher")
    f1 = student.measures_to_teacher["entity F1"]
    told = f"F1 {student.measures['entity F1'].value:.3f} and {teacher.measures['entity F1'].value:.3f} on CoNLL++"
    return [
        students.difference_row("ner_f1_human_minus_teacher", f1, student.n, told) | {"ours": f1.value},
        *students.policy_rows("ner_people", outcome),
    ]


def _conll(who: str) -> list[str]:
    """Settings for CoNLL++ with a recording to learn from, the teacher's or people's, and of the real teacher's work on
    held-out texts. What is missing of it is recorded first, which takes half an hour."""
    data = os.environ.get("PRENTICE_DATA")
    if data is None:
        raise MissingDataError("CoNLL++ is not shipped: set PRENTICE_DATA to the folder of conllpp.csv (docs/ner.md)")
    overrides = [
        f"task.cases={data}/conllpp.csv",
        f"task.instructions={CONLL}",
        "task.draw=0",
        f"evaluate.cases={HELD_OUT}",
    ]
    project = Project(NER, [*overrides, "rollout.concurrency=2"])
    folder = project.home / "conll"
    _record(project, folder / "teacher" / "test.jsonl.gz", TEACHER, "test", HELD_OUT)
    _record(project, folder / "teacher" / "base.jsonl.gz", BASE, "test", YARDSTICK)
    if who == "teacher":
        _record(project, folder / who / "train.jsonl.gz", TEACHER, "train", ATTEMPTS)
    else:
        _record(project, folder / who / "train.jsonl.gz", "task:answer key", "train", LABELLED)
        for name in ("test", "base"):
            shutil.copy(folder / "teacher" / f"{name}.jsonl.gz", folder / who)
    attempts = ATTEMPTS if who == "teacher" else LABELLED
    recording = f"recorded:{(folder / who).relative_to(NER)}/*.jsonl.gz"
    return [*overrides, f"rollout.cases={attempts}", f"teacher.model={recording}"]


def _record(project: Project, out: Path, policy: str, split: Split, limit: int) -> None:
    if not out.exists():
        role = "base" if policy == BASE else "teacher"
        recorder = Recorder(project, policy=policy, split=split, limit=limit, role=role)
        recorder.record(out, terminal_progress())


if __name__ == "__main__":
    _conll("teacher")
