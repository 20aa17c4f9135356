"""Record a policy at work: play a split's cases and, where asked, write the episodes to a file others can replay."""

from __future__ import annotations

from pathlib import Path

from prentice.models.specs import RECORDED
from prentice.pipeline.forecast import calls_ahead
from prentice.pipeline.project import Project
from prentice.progress import Progress, Silent
from prentice.records import Split
from prentice.records.jsonl import write_episodes
from prentice.rollouts import play_all, run_id


class Recorder:
    """One recording.

    Args:
        project: whose task is played.
        policy: a spec as in `[teacher] model`; None = that one.
        split: which cases.
        limit: only the first so many; default: of training cases as many as [rollout] says, of others all.
        role: teacher, or base: the yardstick by which recorded times are scaled to another machine.
    """

    def __init__(self, project: Project, *, policy: str | None, split: Split, limit: int | None, role: str) -> None:
        self.project, self.role = project, role
        self.spec = policy or project.config.teacher.model
        self.split: Split = split
        limit = limit or (project.config.rollout.cases if split == "train" else 0)
        self.cases = project.task.cases(split)[: limit or None]

    def forecast(self) -> str:
        """Calls, tokens and dollars that are still ahead."""
        config = self.project.config.rollout
        stored: set[tuple[str, int]] = set()
        run = run_id(self.project.task, self.project.identity(self.spec), "teacher", self.split, config)
        if self.project.has_store:
            with self.project.store() as store:
                stored = store.attempts(run)
        todo = [case for case in self.cases for attempt in range(config.tries) if (case.id, attempt) not in stored]
        return calls_ahead(self.project, self.spec, todo, run)

    def record(self, out: Path | None, progress: Progress | None = None) -> int:
        """Play what is missing; return the number of episodes, stored ones included."""
        project, config, progress = self.project, self.project.config, progress or Silent()
        policy = project.open_policy(
            self.spec,
            slots=config.rollout.concurrency or 1,
            threads=config.threads,
            progress=progress,
        )
        wanted = {case.id for case in self.cases}
        with project.store() as store:
            run = play_all(
                project.task,
                policy,
                self.cases,
                store,
                config.rollout,
                identity=project.identity(self.spec),
                progress=progress,
            )
            rows = [e for e in store.episodes(run=run) if e.case in wanted and e.attempt < config.rollout.tries]
        if out is not None:
            # a recording of a recording keeps the name of who was recorded first
            role = {} if self.role == "teacher" or self.spec.startswith(RECORDED) else {"role": self.role}
            write_episodes(out, [e.model_copy(update={"tags": e.tags | role}) for e in rows])
        return len(rows)
