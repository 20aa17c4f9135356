"""`prentice ablate stages`: what each method of the chain adds, by training the student without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prentice.errors import ConfigError
from prentice.evaluation.ablation import Ablation, ArmResult, Table, summarised
from prentice.pipeline.ablation.arms import Rows
from prentice.pipeline.ablation.plan import Run
from prentice.pipeline.ablation.pools import played
from prentice.pipeline.ablation.sizes import curated_rows
from prentice.pipeline.ablation.work import Results, Work
from prentice.pipeline.project import MethodName, Project
from prentice.progress import Progress
from prentice.records import utc_now
from prentice.runs import claimed

WHOLE = "all stages"
Chains = Mapping[str, tuple[MethodName, ...]]
"""Name of an arm → the methods that its students go through."""


def chains_of(project: Project) -> Chains:
    """The project's chain, and that chain without each of its methods.

    Raises: ConfigError if it has one method alone: without it there is nothing to train.
    """
    chain = project.config.train.chain
    if len(chain) < 2:
        raise ConfigError(
            f"{project.file}: the student is trained by {chain[0]} alone, so no stage can be left out",
            "add another one, such as [train.cpt], [train.preference] or [train.grpo]",
        )
    without = {f"without {name}": chain[:place] + chain[place + 1 :] for place, name in enumerate(chain)}
    return {WHOLE: chain, **without}


def ablate_stages(project: Project, progress: Progress) -> tuple[Ablation, Path]:
    """Train and play the student by every chain; returns the result and the folder of its files."""
    chains, work, rules = chains_of(project), Work.of(project, progress), project.config.rollout
    cases = project.task.cases("train")[: rules.cases or None]
    with project.store() as store:
        episodes = played(project, cases, rules.tries, store, progress)
    with claimed(work.home / "rows", wait=True):  # a second process of the same command writes the same
        rows = curated_rows(work, episodes, work.home / "rows" / "whole")
    runs, references = runs_of(work, chains, rows), work.references()
    return work.carry_out(runs, lambda results: told(work, chains, runs, results, references))


def runs_of(work: Work, chains: Chains, rows: Rows) -> list[Run]:
    """Every student that is to be trained, one seed after the other."""
    return work.planner.chains(rows, chains, work.project.config.ablate.seeds)


def told(
    work: Work, chains: Chains, runs: Sequence[Run], results: Results, references: Mapping[str, float]
) -> Ablation:
    """The record of what is known."""
    config = work.project.config.evaluate
    arms = [
        ArmResult(name=name, students={r.seed: results[r.key] for r in runs if r.arm == name and r.key in results})
        for name in chains
    ]
    title = " → ".join(chains[WHOLE])
    return Ablation(
        kind="stages",
        task=work.project.task.name,
        cases=len(work.cases),
        split=config.split,
        metric=config.metric,
        tables=(Table(title=title, reference=WHOLE, arms=summarised(arms, WHOLE)),),
        references=dict(references),
        created=utc_now().isoformat(timespec="seconds"),
    )
