"""What an ablation would do, before it does: which students, on how many rows, and about how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from prentice.models.specs import RECORDED
from prentice.pipeline.ablation.arms import Pool
from prentice.pipeline.ablation.curation import Arms
from prentice.pipeline.ablation.leaving_out import chains_of, runs_of
from prentice.pipeline.ablation.plan import Run
from prentice.pipeline.ablation.pools import played, stored
from prentice.pipeline.ablation.sizes import curated_rows, sizes_of
from prentice.pipeline.ablation.work import Work
from prentice.pipeline.project import Project
from prentice.progress import Silent
from prentice.records import Episode
from prentice.records.store import Store
from prentice.tasks import Case

Spent = Mapping[Pool, tuple[Sequence[Case], int]]
"""Pool → cases, and tries of each."""


def forecast_curation(project: Project) -> list[str]:
    """The arms with their rows, and the students that are still to be trained."""
    work, compared = Work.of(project, Silent()), Arms.of(project)
    attempts = compared.pools
    spent: Spent = {"wide": (attempts.cases, 1)}
    if compared.deep:
        spent = {**spent, "deep": (attempts.deep, attempts.tries)}

    def runs(episodes: Mapping[Pool, Sequence[Episode]], scratch: Path) -> list[Run]:
        compared.fill(work, episodes, scratch)
        return compared.runs(work)

    lines = _forecast(work, spent, runs)
    return [*lines, *(f"left out: {name}: {reason}" for name, reason in compared.left_out.items())]


def forecast_sizes(project: Project) -> list[str]:
    """The numbers of rows, and the students that are still to be trained."""
    work, rules = Work.of(project, Silent()), project.config.rollout
    cases = project.task.cases("train")[: rules.cases or None]

    def runs(episodes: Mapping[Pool, Sequence[Episode]], scratch: Path) -> list[Run]:
        return sizes_of(work, episodes["wide"], scratch).runs(work)

    return _forecast(work, {"wide": (cases, rules.tries)}, runs)


def forecast_stages(project: Project) -> list[str]:
    """The chains, and the students that are still to be trained."""
    chains, work, rules = chains_of(project), Work.of(project, Silent()), project.config.rollout
    cases = project.task.cases("train")[: rules.cases or None]

    def runs(episodes: Mapping[Pool, Sequence[Episode]], scratch: Path) -> list[Run]:
        return runs_of(work, chains, curated_rows(work, episodes["wide"], scratch))

    lines = _forecast(work, {"wide": (cases, rules.tries)}, runs)
    return [*(f"{name}: {' → '.join(chain)}" for name, chain in chains.items()), *lines]


def _forecast(
    work: Work, spent: Spent, runs: Callable[[Mapping[Pool, Sequence[Episode]], Path], list[Run]]
) -> list[str]:
    lines = [f"teacher: {tries} of each of {len(cases):,} cases" for cases, tries in spent.values()]
    with TemporaryDirectory() as scratch:
        episodes = _episodes(work.project, spent, Path(scratch))
        missing = {pool: len(cases) * tries - len(episodes[pool]) for pool, (cases, tries) in spent.items()}
        if any(missing.values()):
            ahead = f"teacher: {sum(missing.values()):,} attempts at most are to be played first"
            return [*lines, f"{ahead}; how many rows they give is known then"]
        planned = runs(episodes, Path(scratch))
    return [*lines, *_students(work, planned)]


def _episodes(project: Project, spent: Spent, scratch: Path) -> dict[Pool, list[Episode]]:
    """What the store holds of the teacher's attempts; a recording gives all of them without a call."""
    if project.config.teacher.model.startswith(RECORDED):
        with Store.open(scratch / "store.db") as store:
            return {pool: played(project, *asked, store, Silent()) for pool, asked in spent.items()}
    if not project.has_store:
        return {pool: [] for pool in spent}
    with project.store() as store:
        return {pool: stored(project, *asked, store) for pool, asked in spent.items()}


def _students(work: Work, runs: Sequence[Run]) -> Iterator[str]:
    known = work.known(runs)
    first = {(run.arm, run.budget): run for run in reversed(runs)}
    for (arm, budget), run in reversed(first.items()):
        rows = f"{len(run.rows.split('train')):,} rows, {run.sft.epochs:.4g} epochs, {run.tokens:,.0f} tokens"
        yield f"{arm} ({budget}): {rows}"
    missing = {run.key: run for run in runs if run.key not in known}
    visits, plays = sum(run.visits for run in missing.values()), len(missing) * len(work.cases)
    yield (
        f"{len(missing) + len(known)} students, {len(known)} of them done; "
        f"the others visit {visits:,.0f} rows and play {plays:,} cases"
    )
    if known and missing:
        train = median(each.seconds / each.visits for each in known.values())
        play = median(each.play_seconds for each in known.values())
        yield f"about {(visits * train + len(missing) * play) / 3600:.1f} hours at the pace of those that are done"
