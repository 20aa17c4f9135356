"""Agentic retrieval measured: students of a recorded teacher, beside it, their base, and the question as query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tasks_students as students
from prentice.pipeline import Project
from prentice.statistics import paired_difference
from prentice.tasks.multihop import QUESTION_AS_QUERY

Row = dict[str, Any]
ARM_CASES = 100
"""Held-out questions that each student of an arm plays, from the first on."""


def student_rows() -> list[Row]:
    """The example's report, one student for each function beside the one of both; then without the teacher, which is
    recorded at the first held-out questions alone, on all of them."""
    outcome = students.student_run("multihop", "student.one_each=true")
    everyone = students.student_run("multihop", "evaluate.cases=0", 'evaluate.policies=["base","student"]')
    rows = [*students.policy_rows("multihop", outcome), *students.policy_rows("multihop_all", everyone)]
    hits = _hits({result.name: result.run for result in everyone.report.results})
    for name, other in (("base", "base"), ("question", QUESTION_AS_QUERY)):
        found = paired_difference(hits["student"], hits[other])
        told = f"student minus {other}, all gold passages found"
        rows.append(students.difference_row(f"multihop_student_minus_{name}_low", found, len(hits[other]), told))
    student = students.result(outcome, "student")
    if student.difference is not None:
        told = "student minus teacher, all gold passages found"
        rows.append(students.difference_row("multihop_success_diff_low", student.difference, student.n, told))
    return rows


def live_rows() -> list[Row]:
    """Teacher and student in turns."""
    return students.live_rows("multihop", students.student_run("multihop", "student.one_each=true").student)


def arm_rows() -> list[Row]:
    """Curated work and all work, three seeds. People have left no searches to learn from."""
    return students.arm_rows("multihop", 'ablate.arms=["all"]', 'ablate.equal=["tokens"]', f"ablate.cases={ARM_CASES}")


def _hits(runs: Mapping[str, str]) -> dict[str, Sequence[bool]]:
    """Role in the report → whether each held-out question was a success, in their order.

    Args:
        runs: role → the stored run that the report is about.
    """
    project = Project(students.EXAMPLES / "multihop")
    with project.store() as store:
        played = {role: {e.case: e for e in store.episodes(run=run)} for role, run in runs.items()}
    wanted = [case.id for case in project.task.cases("test")]
    return {role: [found[case].metric("success") is True for case in wanted] for role, found in played.items()}
