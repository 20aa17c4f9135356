"""All policies on the same held-out cases: plays what is not stored yet, then hands the episodes to `evaluation/`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from prentice.errors import ConfigError
from prentice.evaluation import compare, scale_recorded
from prentice.evaluation.compare import BASE, STUDENT, TEACHER
from prentice.models.policy import Policy
from prentice.models.recorded import RecordedModel
from prentice.models.specs import RECORDED, Recording, open_policy, read_recording
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Episode, Report
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.tasks import Audience, Case


def contest(
    project: Project,
    *,
    export: Path,
    base: Path,
    live_teacher: bool,
    facts: Mapping[str, JsonValue],
    progress: Progress,
) -> Report:
    """Play every policy of `[evaluate]` and the task's trivial ones, and compare them.

    Args:
        export, base: folders of the exported student and of the exported base.
        live_teacher: where the teacher is a recording, play the policy that was recorded instead.

    Raises: ConfigError for a policy that is none of teacher, base, student.
    """
    config = project.config.evaluate
    cases = project.task.cases(config.split)[: config.cases or None]
    contestants = _Contestants(project, export, base, live_teacher, progress)
    episodes: dict[str, Sequence[Episode]] = {}
    with project.store() as store:
        for role in (*config.policies, *project.task.baselines()):
            policy, audience = contestants.open(role)
            episodes[role] = _play(project, role, policy, audience, cases, store, progress)
    recording = contestants.recording
    scale = None
    if recording is not None and recording.yardstick and BASE in episodes:
        scale = scale_recorded(episodes[BASE], recording.yardstick)
    return compare(
        episodes,
        config=config,
        machine=f"{platform.machine()}, {contestants.threads} threads, {platform.system()}",
        recorded=(TEACHER,) if recording is not None else (),
        scale=scale,
        facts=facts,
    )


class _Contestants:
    """Opens a policy by its role in the report."""

    def __init__(self, project: Project, export: Path, base: Path, live_teacher: bool, progress: Progress) -> None:
        self.project, self.export, self.base, self.progress = project, export, base, progress
        spec = project.config.teacher.model
        self.recording: Recording | None = None
        if spec.startswith(RECORDED):
            recording = read_recording(spec, project.folder)
            if live_teacher:
                spec = recording.live
            else:
                self.recording = recording
        self.teacher = spec
        self.threads = project.config.threads or _threads()

    def open(self, role: str) -> tuple[Policy, Audience]:
        """The policy in this role, and whose prompt it gets."""
        rows: dict[str, Callable[[], tuple[Policy, Audience]]] = {
            TEACHER: lambda: (self._teacher(), "teacher"),
            # untrained, it gets every help that the teacher gets
            BASE: lambda: (self._exported(self.base, f"base:{self.project.config.student.base}"), "teacher"),
            STUDENT: lambda: (self._exported(self.export, f"student:{self.export.name}"), "student"),
        }
        if role in rows:
            return rows[role]()
        if role in (trivial := self.project.task.baselines()):
            return trivial[role], "teacher"
        raise ConfigError(f"[evaluate] policies names {role!r}", "known: teacher, base, student")

    def _teacher(self) -> Policy:
        if self.recording is not None:
            return RecordedModel(self.recording.replies)
        config = self.project.config
        return open_policy(
            self.teacher,
            self.project.folder,
            threads=self.threads,
            offline=config.offline,
            progress=self.progress,
        )

    def _exported(self, folder: Path, name: str) -> Policy:
        from prentice.models.local import LocalModel

        return LocalModel(next(folder.glob("*.gguf")), name=name, threads=self.threads)


def _threads() -> int:
    from prentice.models.local import idle_cores

    return idle_cores()


def _play(
    project: Project,
    role: str,
    policy: Policy,
    audience: Audience,
    cases: Sequence[Case],
    store: Store,
    progress: Progress,
) -> Sequence[Episode]:
    wanted = {case.id for case in cases}
    config = RolloutConfig()
    run = play_all(project.task, policy, cases, store, config, audience=audience, progress=progress, title=role)
    return [e for e in store.episodes(run=run) if e.case in wanted and e.attempt == 0]
