"""What both ablations do alike: carry out what is missing, keep files up to date, know who else played the cases."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from prentice.errors import ConfigError, PrenticeError
from prentice.evaluation.ablation import Ablation, Trained
from prentice.evaluation.ablation_plots import plot
from prentice.evaluation.ablation_views import markdown
from prentice.models.specs import RECORDED
from prentice.pipeline.ablation.plan import AnyRun, Planner
from prentice.pipeline.ablation.play import carry_out, finished, tidy
from prentice.pipeline.ablation.pools import recorded
from prentice.pipeline.ablation.student import Student
from prentice.pipeline.bases import base_gguf
from prentice.pipeline.learning import success
from prentice.pipeline.project import TASK, Project
from prentice.progress import Bar, Progress, Silent
from prentice.records.store import Store
from prentice.rollouts import play_all, run_id
from prentice.runs import claimed, write_atomic
from prentice.tasks import Audience, Case

Results = Mapping[str, Trained]
"""Key of a run → what it came to."""
WAIT_SECONDS = 2.0
"""Between two looks at runs that other processes are at."""


@dataclass(frozen=True)
class Work:
    """An ablation at work."""

    project: Project
    progress: Progress
    student: Student
    cases: Sequence[Case]
    """Held out."""

    @classmethod
    def of(cls, project: Project, progress: Progress) -> Work:
        """On the project's student and held-out cases.

        Raises: ConfigError if these are what the student learns from; PrenticeError if there are none.
        """
        config = project.config
        if config.evaluate.split == "train":
            raise ConfigError(
                '[evaluate] split = "train": students of an ablation would play what they have learnt from',
                'set it to "test"',
            )
        cases = project.task.cases(config.evaluate.split)[: config.ablate.cases or None]
        if not cases:
            raise PrenticeError(f"the task has no cases in the split {config.evaluate.split!r}", "add held-out cases")
        return cls(project, progress, Student.of(project, progress), cases)

    @property
    def home(self) -> Path:
        """Where runs and results lie."""
        return self.project.home / "ablate"

    @property
    def planner(self) -> Planner:
        """Turns rows into runs."""
        return Planner(self.student, [case.id for case in self.cases])

    def known(self, runs: Sequence[AnyRun]) -> dict[str, Trained]:
        """What was done before."""
        distinct = {run.key: run for run in runs}
        return {key: result for key, run in distinct.items() if (result := finished(self.home, run)) is not None}

    def carry_out(self, runs: Sequence[AnyRun], tell: Callable[[Results], Ablation]) -> tuple[Ablation, Path]:
        """Do what is missing, each piece of work once; after every run the files say what is known.

        Args:
            tell: makes the record of what is known.
        Returns: the record, and the folder of the files.
        """
        distinct, known = {run.key: run for run in runs}, self.known(runs)
        for key in known:
            self._tidied(key)
        size = {key: run.visits + len(self.cases) for key, run in distinct.items()}
        done = sum(size[key] for key in known)
        made = tell(known)
        with self.progress.bar(made.kind, sum(size.values()), "rows and cases", done=done) as bar:
            missing = deque(run for key, run in distinct.items() if key not in known)
            passed_over = 0
            while missing:
                run = missing.popleft()
                bar.advance(0, runs=f"{len(known)}/{len(distinct)}", at=f"{run.arm}, seed {run.seed}")
                result = self._result(run, bar)
                if result is None:  # another process is at it
                    missing.append(run)
                    passed_over += 1
                    if passed_over >= len(missing):
                        time.sleep(WAIT_SECONDS)
                    continue
                passed_over = 0
                known[run.key] = result
                made = tell(known)
                self._write(made)
            bar.advance(0, runs=f"{len(known)}/{len(distinct)}", at="end")
        return made, self._write(made)

    def _tidied(self, key: str) -> None:
        """Take away what a run that was killed at its very end has left."""
        with claimed(self.home / key) as mine:
            if mine:
                tidy(self.home / key)

    def _result(self, run: AnyRun, bar: Bar) -> Trained | None:
        """Carry a run out; None if another process does."""
        with claimed(self.home / run.key) as mine:
            if not mine:
                return None
            result = finished(self.home, run)
            if result is not None:
                bar.advance(run.visits + len(self.cases))
                return result
            return carry_out(run, self.student, self.cases, self.home, bar)

    def references(self) -> dict[str, float]:
        """Success of teacher and untrained base on the same cases, as far as it costs nothing to know."""
        found: dict[str, float] = {}
        with self.project.store() as store:
            if self._teacher_is_free():
                found["teacher"] = self._teacher(store)
            for name, audience, identity in self._compared_before():
                if name not in found and (value := self._stored(store, audience, identity)) is not None:
                    found[name] = value
        return found

    def _write(self, made: Ablation) -> Path:
        folder = self.home / made.kind
        write_atomic(folder / "ablation.json", made.model_dump_json(indent=1) + "\n")
        write_atomic(folder / "ablation.md", markdown(made))
        write_atomic(folder / "ablation.svg", plot(made))
        return folder

    def _teacher_is_free(self) -> bool:
        spec = self.project.config.teacher.model
        if spec.startswith(RECORDED):
            return recorded(self.project, self.cases, 1) == len(self.cases)
        return spec.startswith(TASK)

    def _teacher(self, store: Store) -> float:
        project, spec = self.project, self.project.config.teacher.model
        policy, identity = project.open_policy(spec), project.identity(spec)
        play_all(
            project.task,
            policy,
            self.cases,
            store,
            self.project.held_out_rules,
            identity=identity,
            progress=self.progress,
        )
        value = self._stored(store, "teacher", identity)
        assert value is not None
        return value

    def _compared_before(self) -> Iterator[tuple[str, Audience, str]]:
        """Who may have played the cases for a report: name, prompt, identity in the store, by number of threads."""
        project = self.project
        gguf = base_gguf(self.project, self.student.model, Silent())
        teacher = project.identity(project.config.teacher.model)
        for threads in range(1, (os.cpu_count() or 1) + 1):
            yield "teacher", "teacher", f"{teacher} live, {threads} threads"
            yield "base", "teacher", f"{gguf.parent.name}/{gguf.name}, {threads} threads"

    def _stored(self, store: Store, audience: Audience, identity: str) -> float | None:
        """Success on all cases, if all of them were played."""
        config = self.project.config.evaluate
        run = run_id(self.project.task, identity, audience, config.split, self.project.held_out_rules)
        values = {e.case: success(e, config.metric) for e in store.episodes(run=run)}
        asked = [values[case.id] for case in self.cases if case.id in values]
        return fmean(asked) if len(asked) == len(self.cases) else None
