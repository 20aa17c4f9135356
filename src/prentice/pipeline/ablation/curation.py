"""`prentice ablate curation`: the same student trained on the rows of every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prentice.errors import PrenticeError
from prentice.evaluation.ablation import Ablation, ArmResult, Table, summarised
from prentice.pipeline.ablation.arms import FEWEST_TO_AGREE, Arm, Pool, Rows, arms, rows_of
from prentice.pipeline.ablation.plan import Budget, Run
from prentice.pipeline.ablation.pools import Pools, played, pools
from prentice.pipeline.ablation.work import Results, Work
from prentice.pipeline.learning import success
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Episode, utc_now
from prentice.runs import claimed

CURATED = "curated"
TITLES: Mapping[Budget, str] = {
    "tokens": "equal supervised tokens",
    "cost": "equal teacher cost, own rows for the configured epochs",
}
Played = Mapping[Pool, Sequence[Episode]]


@dataclass
class Arms:
    """What is compared."""

    chosen: Sequence[Arm]
    pools: Pools
    rows: dict[str, Rows] = field(default_factory=dict)
    """Of each arm that has some."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Of the others: why."""
    faulty: dict[str, str] = field(default_factory=dict)
    """Of arms some of whose rows cannot be trained on: how many, and why the first one."""
    costs: dict[Pool, str] = field(default_factory=dict)
    """What the teacher's attempts took."""

    @classmethod
    def of(cls, project: Project) -> Arms:
        """Those that [ablate] names, still without rows."""
        config = project.config.ablate
        known = arms(config.tries, project.config.evaluate.metric)
        chosen = [arm for name, arm in known.items() if name == CURATED or name in config.arms]
        return cls(chosen, pools(project, config))

    @property
    def deep(self) -> bool:
        """Whether several tries of a case are needed."""
        return any(arm.pool == "deep" for arm in self.chosen) and not self.pools.without

    def fill(self, work: Work, episodes: Played, out: Path) -> None:
        """Curate the rows of every arm from the teacher's episodes, into folders of `out`.

        Raises: PrenticeError if the curated arm has none: all others are compared with it.
        """
        self.costs = {name: _cost(each) for name, each in episodes.items()}
        self.costs["people"] = "none of the teacher"
        for arm in self.chosen:
            try:
                self._fill(work, arm, episodes, out / arm.name)
            except PrenticeError as error:
                if arm.name == CURATED:
                    raise
                self.left_out[arm.name] = error.problem

    def _fill(self, work: Work, arm: Arm, episodes: Played, out: Path) -> None:
        tries = self.pools.tries
        if arm.name == "agreement" and tries < FEWEST_TO_AGREE:
            raise PrenticeError(f"tries = {tries}, and of fewer than {FEWEST_TO_AGREE} it says little that they agree")
        if arm.pool == "deep" and self.pools.without:
            raise PrenticeError(self.pools.without)
        source = episodes["wide" if arm.pool == "people" else arm.pool]
        rows = rows_of(arm, work.project.config.curate, source, work.project.task, out, work.progress)
        # of the curated rows each must be fit, as in any run; the other arms hold what curation was there to keep out
        if arm.name != CURATED:
            rows, self.faulty[arm.name] = work.student.trainable(rows, out)
        self.rows[arm.name] = rows

    def told(self, arm: Arm) -> str:
        """What an arm is, what the teacher took for it, and how many of its rows cannot be trained on."""
        cost = f" ({self.costs[arm.pool]})" if arm.pool in self.costs else ""
        return f"{arm.name}: {arm.meaning}{cost}{self.faulty.get(arm.name, '')}"

    def runs(self, work: Work) -> list[Run]:
        """Every student that is to be trained."""
        filled = [arm for arm in self.chosen if arm.name in self.rows]
        return work.planner.curation(filled, self.rows)


def ablate_curation(project: Project, progress: Progress) -> tuple[Ablation, Path]:
    """Train and play every arm; returns the result and the folder of its files. What is done is not done again."""
    work, compared = Work.of(project, progress), Arms.of(project)
    with claimed(work.home / "rows", wait=True):  # a second process of the same command writes the same
        episodes = teachers_work(work, compared)
        for episode in episodes["wide"]:
            success(episode, project.config.evaluate.metric)  # before hours are spent on what cannot be counted
        compared.fill(work, episodes, work.home / "rows")
    runs, references = compared.runs(work), work.references()
    return work.carry_out(runs, lambda results: told(work, compared, runs, results, references))


def teachers_work(work: Work, compared: Arms) -> Played:
    """The teacher's attempts in each pool; what is missing is played."""
    project, attempts = work.project, compared.pools
    with project.store() as store:
        episodes: dict[Pool, Sequence[Episode]] = {"wide": played(project, attempts.cases, 1, store, work.progress)}
        if compared.deep:
            episodes["deep"] = played(project, attempts.deep, attempts.tries, store, work.progress)
    return episodes


def _cost(episodes: Sequence[Episode]) -> str:
    text = f"{len(episodes):,} attempts"
    dollars, seconds = ([e.total(unit) for e in episodes] for unit in ("cost_usd", "processing_s"))
    if None not in dollars:
        return f"{text}, ${sum(d or 0.0 for d in dollars):,.2f}"
    return text if None in seconds else f"{text}, {sum(s or 0.0 for s in seconds):,.0f} CPU-s"


def told(
    work: Work, compared: Arms, runs: Sequence[Run], results: Results, references: Mapping[str, float]
) -> Ablation:
    """The record of what is known."""
    config = work.project.config.evaluate
    tables = [
        Table(title=TITLES[each], reference=CURATED, arms=summarised(_arms(compared, each, runs, results), CURATED))
        for each in work.project.config.ablate.equal
    ]
    return Ablation(
        kind="curation",
        task=work.project.task.name,
        cases=len(work.cases),
        split=config.split,
        metric=config.metric,
        tables=tuple(tables),
        notes=tuple(compared.told(arm) for arm in compared.chosen),
        references=dict(references),
        created=utc_now().isoformat(timespec="seconds"),
    )


def _arms(compared: Arms, budget: Budget, runs: Sequence[Run], results: Results) -> list[ArmResult]:
    return [
        ArmResult(
            name=arm.name,
            left_out=compared.left_out.get(arm.name, ""),
            students={
                run.seed: results[run.key]
                for run in runs
                if (run.arm, run.budget) == (arm.name, budget) and run.key in results
            },
        )
        for arm in compared.chosen
    ]
