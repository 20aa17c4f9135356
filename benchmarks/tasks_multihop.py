"""Agentic retrieval measured: students of a recorded teacher, beside it, their base, and the question as query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tasks_students as students
from prentice.pipeline import Project
from prentice.statistics import paired_difference
from prentice.tasks.multihop import QUESTION_AS_QUERY

Row = dict[str, Any]
ALONE = {"teacher", "base", "student", QUESTION_AS_QUERY}
"""Who is compared where one student has both functions."""
ARM_ATTEMPTS, ARM_CASES = 392, 100
"""Of the teacher's attempts, those that arms learn from, and held-out questions that each of their students plays: from
the first on."""


def student_rows() -> list[Row]:
    """The example's report; then, on all held-out questions, the student beside the question as query: teacher and base
    play the first ones alone."""
    outcome = students.student_run("multihop")
    everyone = students.student_run("multihop", "evaluate.cases=0", 'evaluate.policies=["student"]')
    rows = [*students.policy_rows("multihop", outcome), *students.policy_rows("multihop_all", everyone)]
    for name, other, asked in (("base", "base", outcome), ("question", QUESTION_AS_QUERY, everyone)):
        ours, theirs = _hits([students.result(asked, role).run for role in ("student", other)])
        told = f"student minus {other}, all gold passages found"
        rows.append(
            students.difference_row(
                f"multihop_student_minus_{name}_low", paired_difference(ours, theirs), len(theirs), told
            )
        )
    student = students.result(outcome, "student")
    if student.difference is not None:
        told = "student minus teacher, all gold passages found"
        rows.append(students.difference_row("multihop_success_diff_low", student.difference, student.n, told))
    return rows


def each_rows() -> list[Row]:
    """One student for each function, beside the one of both."""
    outcome = students.student_run("multihop", "student.one_each=true")
    return [row for row in students.policy_rows("multihop", outcome) if row["policy"] not in ALONE]


def live_rows() -> list[Row]:
    """Teacher and student in turns."""
    outcome = students.student_run("multihop")
    return students.live_rows("multihop", outcome.student)


def arm_rows() -> list[Row]:
    """Curated work and all work, three seeds. People have left no searches to learn from."""
    sizes = (f"rollout.cases={ARM_ATTEMPTS}", f"ablate.cases={ARM_CASES}")
    return students.arm_rows("multihop", 'ablate.arms=["all"]', 'ablate.equal=["tokens"]', *sizes)


def _hits(runs: Sequence[str]) -> list[Sequence[bool]]:
    """Of each stored run, whether each held-out question that all of them have played was a success, in their order."""
    project = Project(students.EXAMPLES / "multihop")
    with project.store() as store:
        played = [{e.case: e for e in store.episodes(run=run)} for run in runs]
    wanted = [case.id for case in project.task.cases("test") if all(case.id in found for found in played)]
    return [[found[case].metric("success") is True for case in wanted] for found in played]
