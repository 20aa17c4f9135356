"""An ablation from its beginning to its files: pools → rows → runs → table. What is done is never done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prentice.errors import PrenticeError
from prentice.evaluation.ablation import Ablation, ArmResult, Table, Trained, summarised
from prentice.evaluation.ablation_views import markdown
from prentice.pipeline.ablation.arms import Arm, Rows, arms, rows_of
from prentice.pipeline.ablation.plan import Budget, Planner, Run
from prentice.pipeline.ablation.play import carry_out, finished
from prentice.pipeline.ablation.pools import Pools, attempts_at, pools
from prentice.pipeline.ablation.student import Student
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Episode, utc_now
from prentice.runs import write_atomic
from prentice.tasks import Case

TITLES: Mapping[Budget, str] = {
    "tokens": "equal supervised tokens",
    "cost": "equal teacher cost, own rows for the configured epochs",
}


@dataclass
class Work:
    """An ablation at work."""

    project: Project
    progress: Progress
    student: Student
    cases: Sequence[Case]
    """Held out."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Arm → why it has no rows."""
    costs: dict[str, str] = field(default_factory=dict)
    """Pool → what the teacher's attempts took."""

    @classmethod
    def of(cls, project: Project, progress: Progress) -> Work:
        """On the project's student and held-out cases."""
        config = project.config
        cases = project.task.cases(config.evaluate.split)[: config.ablate.cases or None]
        if not cases:
            raise PrenticeError(f"the task has no cases in the split {config.evaluate.split!r}", "add held-out cases")
        return cls(project, progress, Student.of(project, progress), cases)

    @property
    def home(self) -> Path:
        """Where runs and results lie."""
        return self.project.home / "ablate"

    def carry_out(self, runs: Sequence[Run]) -> dict[str, Trained]:
        """Key → result of every run; the same work is done once."""
        distinct = {run.key: run for run in runs}
        known = {key: result for key, run in distinct.items() if (result := finished(self.home, run)) is not None}
        size = {key: run.visits + len(self.cases) for key, run in distinct.items()}
        done = sum(size[key] for key in known)
        with self.progress.bar("ablation", sum(size.values()), "rows and cases", done=done) as bar:
            for key, run in distinct.items():
                if key in known:
                    continue
                bar.advance(0, runs=f"{len(known)}/{len(distinct)}", arm=f"{run.arm}, seed {run.seed}")
                known[key] = carry_out(run, self.student, self.cases, self.home, bar)
        return known


def ablate_curation(project: Project, progress: Progress) -> tuple[Ablation, Path]:
    """Train the same student on the rows of every arm; returns the result and the folder of its files."""
    work = Work.of(project, progress)
    chosen, rows = curation_rows(work)
    planner = Planner(work.student, [case.id for case in work.cases])
    runs = planner.curation([arm for arm in chosen if arm.name in rows], rows, project.config.ablate.seeds)
    results = work.carry_out(runs)
    made = _ablation(work, chosen, runs, results)
    folder = work.home / "curation"
    write_atomic(folder / "ablation.json", made.model_dump_json(indent=1) + "\n")
    write_atomic(folder / "ablation.md", markdown(made))
    return made, folder


def curation_rows(work: Work) -> tuple[list[Arm], dict[str, Rows]]:
    """Every arm that is asked for, and the rows of those that have some."""
    project, config = work.project, work.project.config.ablate
    known = arms(config.tries, project.config.evaluate.metric)
    chosen = [arm for name, arm in known.items() if name == "curated" or name in config.arms]
    attempts = pools(project, config)
    episodes = _played(work, attempts, deep=any(arm.pool == "deep" for arm in chosen))
    rows: dict[str, Rows] = {}
    for arm in chosen:
        try:
            rows[arm.name] = _rows(work, arm, attempts, episodes)
        except PrenticeError as error:
            if arm.name == "curated":
                raise
            work.left_out[arm.name] = error.problem
    return chosen, rows


def _played(work: Work, attempts: Pools, *, deep: bool) -> dict[str, list[Episode]]:
    with work.project.store() as store:
        played = {"wide": attempts_at(work.project, attempts.cases, 1, store, work.progress)}
        if deep:
            played["deep"] = attempts_at(work.project, attempts.deep, attempts.tries, store, work.progress)
    work.costs = {name: _cost(episodes) for name, episodes in played.items()}
    work.costs["people"] = "none of the teacher"
    return {**played, "people": played["wide"]}


def _rows(work: Work, arm: Arm, attempts: Pools, episodes: Mapping[str, Sequence[Episode]]) -> Rows:
    if arm.pool == "deep" and attempts.without:
        raise PrenticeError(attempts.without)
    config, out = work.project.config.curate, work.home / "rows" / arm.name
    return rows_of(arm, config, episodes[arm.pool], work.project.task, out, work.progress)


def _cost(episodes: Sequence[Episode]) -> str:
    dollars, seconds = ([e.total(unit) for e in episodes] for unit in ("cost_usd", "processing_s"))
    text = f"{len(episodes):,} attempts"
    if None not in dollars:
        return f"{text}, ${sum(d or 0.0 for d in dollars):,.2f}"
    if None not in seconds:
        return f"{text}, {sum(s or 0.0 for s in seconds):,.0f} CPU-s"
    return text


def _ablation(work: Work, chosen: Sequence[Arm], runs: Sequence[Run], results: Mapping[str, Trained]) -> Ablation:
    config = work.project.config.evaluate
    tables = []
    for budget, title in TITLES.items():
        rows = []
        for arm in chosen:
            mine = [run for run in runs if (run.arm, run.budget) == (arm.name, budget) and run.key in results]
            rows.append(
                ArmResult(
                    name=arm.name,
                    meaning=arm.meaning,
                    cost=work.costs.get(arm.pool, ""),
                    left_out=work.left_out.get(arm.name, ""),
                    students={run.seed: results[run.key] for run in mine},
                )
            )
        tables.append(Table(title=title, arms=summarised(rows, "curated")))
    return Ablation(
        kind="curation",
        task=work.project.task.name,
        cases=len(work.cases),
        split=config.split,
        metric=config.metric,
        tables=tuple(tables),
        created=utc_now().isoformat(timespec="seconds"),
    )
