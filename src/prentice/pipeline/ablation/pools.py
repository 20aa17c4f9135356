"""The teacher's work that arms learn from: equally many attempts, spent on many cases once or on fewer cases often.

Attempts belong to the teacher's own rollout run: what is stored is never played again, by neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prentice.errors import ConfigError
from prentice.models.specs import RECORDED, read_recording
from prentice.pipeline.ablation.arms import arms
from prentice.pipeline.ablation.config import AblateConfig
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Episode, digest
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all, run_id
from prentice.tasks import Case


@dataclass(frozen=True)
class Pools:
    """How the attempts are spent."""

    cases: tuple[Case, ...]
    """Wide: one try of each of these."""
    tries: int
    without: str = ""
    """Why there are no several tries of a case; empty where there are."""

    @property
    def attempts(self) -> int:
        """Of the teacher, for every arm."""
        return len(self.cases)

    @property
    def deep(self) -> tuple[Case, ...]:
        """`tries` tries of each of these; none where the teacher's several tries cannot be had."""
        return () if self.without else self.cases[: len(self.cases) // self.tries]


def pools(project: Project, config: AblateConfig) -> Pools:
    """Settle how many attempts there are.

    Raises: ConfigError if [ablate] asks for more of them than there are, or for too few to spend.
    """
    cases = project.task.cases("train")[: project.config.rollout.cases or None]
    wide, deep = len(cases), len(cases)
    without = "one try of a case shows no other to choose from: tries = 1" if config.tries == 1 else ""
    if not any(arm.pool == "deep" for name, arm in arms(config.tries, "").items() if name in config.arms):
        without = "no arm chooses among tries"
    if project.config.teacher.model.startswith(RECORDED):
        wide, deep = (recorded(project, cases, tries) for tries in (1, config.tries))
        if not deep and not without:
            without = f"the recording holds no case with {config.tries} tries"
    most = wide if without else min(wide, deep * config.tries)
    attempts = config.attempts or most
    if not without:
        attempts -= attempts % config.tries
    if not 0 < attempts <= most:
        least = 1 if without else config.tries
        raise ConfigError(
            f"[ablate] attempts = {config.attempts}: the {wide:,} cases there are allow {least} to {most:,}",
            "leave attempts at 0, or give the task more training cases",
        )
    return Pools(tuple(cases[:attempts]), config.tries, without)


def recorded(project: Project, cases: Sequence[Case], tries: int) -> int:
    """How many cases, from the first on, the teacher's recording holds so many tries of."""
    recording = read_recording(project.config.teacher.model, project.folder)
    known = {(digest(e.turns[0].request), e.attempt) for e in recording.replies if e.turns}
    environment = project.task.environment("teacher")
    for number, case in enumerate(cases):
        asked = digest(asyncio.run(environment.reset(case)))
        if any((asked, attempt) not in known for attempt in range(tries)):
            return number
    return len(cases)


def stored(project: Project, cases: Sequence[Case], tries: int, store: Store) -> list[Episode]:
    """The teacher's first `tries` attempts at each case, as far as they are stored."""
    if not cases:
        return []
    identity = project.identity(project.config.teacher.model)
    run = run_id(project.task, identity, "teacher", cases[0].split, _rules(project, tries))
    wanted = {case.id for case in cases}
    return [e for e in store.episodes(run=run) if e.case in wanted and e.attempt < tries]


def played(project: Project, cases: Sequence[Case], tries: int, store: Store, progress: Progress) -> list[Episode]:
    """As `stored`; what is missing is played before, as the rollout stage plays it."""
    if not cases:
        return []
    rules, spec = _rules(project, tries), project.config.teacher.model
    slots = rules.concurrency or 1
    policy = project.open_policy(spec, slots=slots, threads=project.config.threads, progress=progress)
    play_all(project.task, policy, cases, store, rules, identity=project.identity(spec), progress=progress)
    return stored(project, cases, tries, store)


def _rules(project: Project, tries: int) -> RolloutConfig:
    return project.config.rollout.model_copy(update={"tries": tries})
