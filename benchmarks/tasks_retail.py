"""The retail desk measured: gold solutions, the scripted customer, and what a student learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prentice.app.cli.terminal import terminal_progress
from prentice.models.policy import Policy
from prentice.pipeline import Project
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.statistics import wilson
from prentice.tasks.retail import Retail, agents
from prentice.tasks.retail.desk import Desk, replay

Row = dict[str, Any]
RETAIL = Path(__file__).parents[1] / "examples" / "retail"


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
