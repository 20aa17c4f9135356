"""`prentice ablate sizes`: how many examples a task needs, drawn from the curated rows of the whole rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prentice.evaluation.ablation import Ablation, ArmResult, Table, enough, summarised
from prentice.pipeline.ablation.arms import Rows, arms, rows_of
from prentice.pipeline.ablation.plan import Run
from prentice.pipeline.ablation.pools import played
from prentice.pipeline.ablation.work import Results, Work
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Episode, utc_now
from prentice.runs import claimed


@dataclass(frozen=True)
class Sizes:
    """Which numbers of rows are tried."""

    rows: Rows
    tried: tuple[int, ...]
    """Ascending."""
    left_out: tuple[int, ...]
    """More than there are."""

    @classmethod
    def of(cls, rows: Rows, asked: Sequence[int]) -> Sizes:
        """The sizes that there are rows for; where there are too few for one, all there are take its place."""
        there = len(rows.split("train"))
        less, more = sorted({s for s in asked if s <= there}), sorted({s for s in asked if s > there})
        return cls(rows, tuple(sorted({*less, *([there] if more else [])})), tuple(more))

    def runs(self, work: Work) -> list[Run]:
        """Every student that is to be trained."""
        config = work.project.config.ablate
        return work.planner.sizes(self.rows, self.tried, config.seeds, config.least_visits)


def ablate_sizes(project: Project, progress: Progress) -> tuple[Ablation, Path]:
    """Train and play students of every size; returns the result and the folder of its files."""
    work, rules = Work.of(project, progress), project.config.rollout
    cases = project.task.cases("train")[: rules.cases or None]
    with project.store() as store:
        episodes = played(project, cases, rules.tries, store, progress)
    with claimed(work.home / "rows", wait=True):  # a second process of the same command writes the same
        sizes = sizes_of(work, episodes, work.home / "rows" / "whole")
    runs, references = sizes.runs(work), work.references()
    return work.carry_out(runs, lambda results: told(work, sizes, runs, results, references))


def sizes_of(work: Work, episodes: Sequence[Episode], out: Path) -> Sizes:
    """Curate as [curate] says, into the folder `out`."""
    return Sizes.of(curated_rows(work, episodes, out), work.project.config.ablate.sizes)


def curated_rows(work: Work, episodes: Sequence[Episode], out: Path) -> Rows:
    """What [curate] keeps of these episodes, written to the folder `out`."""
    config = work.project.config
    curated = arms(config.ablate.tries, config.evaluate.metric)["curated"]
    return rows_of(curated, config.curate, episodes, work.project.task, out, work.progress)


def told(work: Work, sizes: Sizes, runs: Sequence[Run], results: Results, references: Mapping[str, float]) -> Ablation:
    """The record of what is known."""
    config, most = work.project.config.evaluate, str(sizes.tried[-1])
    arms = [
        ArmResult(
            name=str(size),
            students={r.seed: results[r.key] for r in runs if r.arm == str(size) and r.key in results},
        )
        for size in sizes.tried
    ]
    table = Table(title="curated rows", reference=most, arms=summarised(arms, most))
    reason = f"only {most} curated rows are there; all of them stand in its place"
    beyond = [ArmResult(name=str(size), left_out=reason) for size in sizes.left_out]
    return Ablation(
        kind="sizes",
        task=work.project.task.name,
        cases=len(work.cases),
        split=config.split,
        metric=config.metric,
        tables=(table.model_copy(update={"arms": (*table.arms, *beyond)}),),
        notes=(enough(table, config.margin),),
        references=dict(references),
        created=utc_now().isoformat(timespec="seconds"),
    )
