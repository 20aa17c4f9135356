"""Named entities measured: students of a recorded teacher on WNUT-17, and of people's labels on CoNLL++."""

from __future__ import annotations

import os
import sys
from typing import Any

import tasks_students as students
from prentice.app.cli.terminal import terminal_progress
from prentice.pipeline import Project
from prentice.pipeline.record import Recorder
from prentice.records import Split

Row = dict[str, Any]
NER = students.EXAMPLES / "ner"
TEACHER = "local:qwen2.5-coder-1.5b"
LABELLED, CONLL_TEST = 1000, 500
"""Labelled texts of CoNLL++ to learn from; held-out texts that teacher and student answer, from the first on."""
CONLL = """\
Find the names in the text and reply with a JSON object: type → list of the names of that type, in their order, copied \
letter by letter. Leave out types of which there are none; reply {} where there are no names at all.

person: names of people
organization: names of companies, sports teams, ministries, parties, papers
location: names of countries, cities, places
miscellaneous: nationalities, languages, events, cups and leagues, titles of works"""


def student_rows() -> list[Row]:
    """The example's report: teacher, base, student and the trivial baseline on held-out messages."""
    outcome = students.student_run("ner")
    student = students.result(outcome, "student")
    assert student.difference is not None
    return [
        *students.policy_rows("ner", outcome),
        students.difference_row("ner_success_diff_low", student.difference, student.n, "student minus teacher, exact"),
    ]


def live_rows() -> list[Row]:
    """Teacher and student in turns."""
    return students.live_rows("ner", students.student_run("ner").student)


def arm_rows() -> list[Row]:
    """Curated work, all work and people's labels of the same number, three seeds."""
    return students.arm_rows("ner", 'ablate.arms=["all","human"]', "ablate.cases=400")


def human_rows() -> list[Row]:
    """CoNLL++: a student of 1 000 labelled texts against the teacher, entity F1 on the same held-out texts."""
    outcome = students.student_run("ner", *_people_as_teacher(), f"evaluate.cases={CONLL_TEST}")
    student, teacher = students.result(outcome, "student"), students.result(outcome, "teacher")
    f1 = student.measures_to_teacher["entity F1"]
    told = f"F1 {student.measures['entity F1'].value:.3f} and {teacher.measures['entity F1'].value:.3f} on CoNLL++"
    return [
        students.difference_row("ner_f1_human_minus_teacher", f1, student.n, told) | {"ours": f1.value},
        *students.policy_rows("ner_conll", outcome),
    ]


def _people_as_teacher() -> list[str]:
    """CoNLL++ with a recording of its labels to learn from, and of the real teacher to be compared with."""
    data = os.environ.get("PRENTICE_DATA")
    if data is None:
        sys.exit("CoNLL++ cannot be shipped: set PRENTICE_DATA to the folder that holds conllpp.csv")
    overrides = [f"task.cases={data}/conllpp.csv", f"task.instructions={CONLL}", f"rollout.cases={LABELLED}"]
    project = Project(NER, overrides)
    folder = project.home / "conll"
    played: list[tuple[Split, str, int]] = [("train", "task:answer key", LABELLED), ("test", TEACHER, CONLL_TEST)]
    for split, policy, limit in played:
        out = folder / f"{split}.jsonl.gz"
        if not out.exists():
            Recorder(project, policy=policy, split=split, limit=limit, role="teacher").record(out, terminal_progress())
    return [*overrides, f"teacher.model=recorded:{folder.relative_to(NER)}/*.jsonl.gz"]
