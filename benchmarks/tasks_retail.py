"""The retail desk measured: gold solutions, the scripted customer, and what a student learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tasks_students as students
from prentice.app.cli.terminal import terminal_progress
from prentice.models.policy import Policy
from prentice.pipeline import Project
from prentice.pipeline.bases import base_gguf, trainable_base
from prentice.records import Episode
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.statistics import paired_difference, wilson
from prentice.tasks.retail import Retail, agents
from prentice.tasks.retail.desk import Desk, replay

Row = dict[str, Any]
RETAIL = students.EXAMPLES / "retail"
ROUNDED = "train.sft.precision=bfloat16"
"""Long rows are bound by arithmetic."""


def gold_rows() -> list[Row]:
    """The reward of the gold solutions, replayed and played with the scripted customer; and of doing nothing."""
    task = _task()
    jobs = task.jobs
    replayed = [replay("retail", job.actions).reward(job) == 1 for job in jobs]
    untouched = [Desk("retail").reward(job) == 1 for job in jobs]
    served = _served(task, task.teachers()[agents.GOLD], "gold")
    return [
        _row("retail_gold_reward", replayed, "gold calls replayed"),
        _row("retail_gold_conversations", served, "gold agent and scripted customer, whole conversations"),
        _row("retail_nothing_reward", untouched, "no call at all"),
    ]


def student_rows() -> list[Row]:
    """What a student of the gold solutions does on the held-out tasks: whole conversations, and call by call beside
    its base, which is told the same, and the most frequent call."""
    outcome = students.student_run("retail", ROUNDED)
    whole = students.result(outcome, "student")
    played = _next_calls(outcome.student)
    right = {name: [e.metric("success") is True for e in episodes] for name, episodes in played.items()}
    names = {name: sum(e.metric("name_right") is True for e in episodes) for name, episodes in played.items()}
    n = len(right["student"])
    return [
        *students.policy_rows("retail", outcome),
        students.share("retail_success", whole.success, whole.n, "the student's whole conversations"),
        *(
            students.share(
                f"retail_next_call_{name}", wilson(sum(hits), n), n, f"{sum(hits)} of {n}: name and arguments"
            )
            for name, hits in right.items()
        ),
        *(
            students.share(f"retail_next_name_{name}", wilson(hits, n), n, f"{hits} of {n}: name alone")
            for name, hits in names.items()
        ),
        *(
            students.difference_row(
                f"retail_next_action_minus_{name}_low",
                paired_difference(right["student"], right[name]),
                n,
                f"student minus {name}, name and arguments of the next call",
            )
            for name in ("base", "frequent")
        ),
    ]


def _next_calls(exported: Path) -> dict[str, list[Episode]]:
    """Who → its reply to every call of the held-out gold conversations; student and base are shown the same."""
    project = Project(RETAIL, ["task.judged_by=next call"])
    task = project.task
    cases = task.cases("test")
    base = base_gguf(project, trainable_base(project, terminal_progress())[0], terminal_progress())
    players: dict[str, tuple[Policy, str]] = {
        "student": (project.open_student(next(exported.glob("*.gguf")), "student"), exported.name),
        "base": (project.open_student(base, "base"), base.parent.name),
        "frequent": (next(iter(task.baselines().values())), "frequent"),
    }
    found = {}
    with Store.open(project.home / "bench-next-call.db") as store:
        for name, (policy, identity) in players.items():
            print(f"next call: {name}", flush=True)
            rules = project.held_out_rules
            run = play_all(
                task, policy, cases, store, rules, audience="student", identity=identity, progress=terminal_progress()
            )
            by_case = {e.case: e for e in store.episodes(run=run)}
            found[name] = [by_case[case.id] for case in cases]
    return found


def _task() -> Retail:
    task = Project(RETAIL).task
    assert isinstance(task, Retail)
    return task


def _served(task: Retail, policy: Policy, name: str) -> Sequence[bool]:
    """Whether each task of the benchmark was solved, training tasks first."""
    cases = [*task.cases("train"), *task.cases("test")]
    file = Project(RETAIL).home / f"bench-{name}.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(file) as store:
        run = play_all(task, policy, cases, store, RolloutConfig(), progress=terminal_progress())
        found = {episode.case: episode.metric("success") is True for episode in store.episodes(run=run)}
    return [found[case.id] for case in cases]


def _row(name: str, hits: Sequence[bool], note: str) -> Row:
    share = wilson(sum(hits), len(hits))
    return {
        "name": name,
        "ours": share.value,
        "rival": None,
        "ratio": None,
        "unit": "share",
        "n": len(hits),
        "interval": [share.low, share.high],
        "note": f"{sum(hits)} of {len(hits)}: {note}",
    }
