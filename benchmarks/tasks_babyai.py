"""Navigation measured: three levels learnt together, and one that is never trained on."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import tasks_students as students
from prentice.app.cli.terminal import terminal_progress
from prentice.evaluation.measured import pass_hat
from prentice.pipeline import Project
from prentice.records.store import Store
from prentice.rollouts import play_all

Row = dict[str, Any]
LEVELS, UNSEEN = '["GoToObj", "GoToRedBall", "GoToLocal"]', "GoToDoor"
CASES = 200
TRIES = 4
"""Attempts of the teacher at each room."""


def student_rows() -> list[Row]:
    """Success on held-out rooms of the three levels, and of the unseen one."""
    learnt = (f"task.level={LEVELS}", f"evaluate.cases={CASES}")
    seen = students.student_run("babyai", *learnt)
    unseen = students.student_run("babyai", *learnt, f"task.test_level={UNSEEN}")
    there, here = students.result(unseen, "student"), students.result(seen, "student")
    told = f"{UNSEEN}, learnt from rooms of GoToObj, GoToRedBall and GoToLocal"
    return [
        students.share("babyai_levels_success", here.success, here.n, "held-out rooms of the three levels"),
        students.share("babyai_unseen_level_success", there.success, there.n, told),
        *students.policy_rows("babyai", seen),
        *students.policy_rows("babyai_unseen", unseen),
    ]


def try_rows() -> list[Row]:
    """How likely the clumsy teacher is to win a room of the three levels k times in a row. The student is greedy and a
    room always the same, so that its pass^k is its success."""
    project = Project(students.EXAMPLES / "babyai", [f"task.level={LEVELS}"])
    cases = project.task.cases("test")[:CASES]
    rules = project.held_out_rules.model_copy(update={"tries": TRIES})
    outcomes: defaultdict[str, list[bool]] = defaultdict(list)
    project.home.mkdir(parents=True, exist_ok=True)
    with Store.open(project.home / "bench-tries.db") as store:
        teacher = project.task.baselines()["clumsy expert"]
        run = play_all(project.task, teacher, cases, store, rules, progress=terminal_progress())
        for episode in store.episodes(run=run):
            outcomes[episode.case].append(episode.metric("success") is True)
    told = f"clumsy teacher, {TRIES} attempts at each of {len(outcomes)} rooms of the three levels"
    return [
        students.share(f"babyai_teacher_{name}", found, len(outcomes), told)
        for name, found in pass_hat(list(outcomes.values())).items()
    ]
