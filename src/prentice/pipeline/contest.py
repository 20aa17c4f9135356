"""All policies on the same held-out cases: plays what is not stored yet, then hands the episodes to `evaluation/`."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from prentice.errors import ConfigError
from prentice.evaluation import compare, scale_recorded
from prentice.evaluation.compare import BASE, STUDENT, TEACHER
from prentice.models.functions import ByFunction
from prentice.models.policy import Policy
from prentice.models.recorded import RecordedModel
from prentice.models.specs import RECORDED, Recording, read_recording
from prentice.pipeline.project import TASK, Project
from prentice.progress import Progress
from prentice.records import Episode, Report, utc_now
from prentice.rollouts import play_all
from prentice.tasks import Audience, Measuring


def contest(
    project: Project,
    *,
    export: Path,
    others: Mapping[str, Mapping[str, Path]],
    base: Path,
    live_teacher: bool,
    anew: bool,
    facts: Mapping[str, JsonValue],
    progress: Progress,
) -> Report:
    """Play every policy of `[evaluate]` and the task's trivial ones, and compare them.

    Args:
        export: folder of the exported student.
        others: those of further students, by their names in the report: one for all functions, under an empty name,
            or one for each.
        base: the exported base's file.
        live_teacher: where the teacher is a recording, play the policy that was recorded instead.
        anew: play again what was played before.

    Raises: ConfigError for a policy that is none of teacher, base, student.
    """
    config = project.config.evaluate
    cases = project.task.cases(config.split)[: config.cases or None]
    contestants = _Contestants(project, {STUDENT: {"": export}, **others}, base, live_teacher, progress)
    moment = utc_now().isoformat() if anew else ""
    episodes: dict[str, Sequence[Episode]] = {}
    with project.store() as store:
        for role in (*config.policies, *others, *contestants.trivial()):
            policy, audience, identity = contestants.open(role)
            run = play_all(
                project.task,
                policy,
                cases,
                store,
                project.held_out_rules.model_copy(update={"tries": config.tries}),
                audience=audience,
                identity=f"{identity}{moment}",
                progress=progress,
            )
            wanted = {case.id for case in cases}
            episodes[role] = [e for e in store.episodes(run=run) if e.case in wanted and e.attempt < config.tries]
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
        measures=project.task.measures() if isinstance(project.task, Measuring) else {},
        facts=facts,
    )


class _Contestants:
    """Opens a policy by its role in the report."""

    def __init__(
        self,
        project: Project,
        exports: Mapping[str, Mapping[str, Path]],
        base: Path,
        live_teacher: bool,
        progress: Progress,
    ) -> None:
        self.project, self.exports, self.base, self.progress = project, exports, base, progress
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

    def open(self, role: str) -> tuple[Policy, Audience, str]:
        """The policy in this role, whose prompt it gets, and what makes it another policy, threads included."""
        if role == TEACHER:
            return self._teacher()
        if role == BASE:
            # untrained, it gets every help that the teacher gets
            return self._exported(self.base, f"base:{self.project.config.student.base}", "teacher")
        if (exports := self.exports.get(role)) is not None:
            opened = {name: self._student(export) for name, export in exports.items()}
            if "" in opened:
                return opened[""]
            # each of them hears its own function alone
            policy = ByFunction({name: each[0] for name, each in opened.items()}, role)
            return policy, "student", "; ".join(f"{name}: {each[2]}" for name, each in opened.items())
        if role in (trivial := self.project.task.baselines()):
            return trivial[role], "teacher", role
        raise ConfigError(f"[evaluate] policies names {role!r}", "known: teacher, base, student")

    def trivial(self) -> list[str]:
        """The task's own policies, but for the one that is the teacher."""
        return [name for name in self.project.task.baselines() if f"{TASK}{name}" != self.teacher]

    def _teacher(self) -> tuple[Policy, Audience, str]:
        config = self.project.config
        if self.recording is not None:
            return RecordedModel(self.recording.replies), "teacher", self.project.identity(config.teacher.model)
        policy = self.project.open_policy(self.teacher, threads=self.threads, progress=self.progress)
        return policy, "teacher", f"{self.project.identity(self.teacher)} live, {self.threads} threads"

    def _student(self, export: Path) -> tuple[Policy, Audience, str]:
        return self._exported(next(export.glob("*.gguf")), f"student:{export.name}", "student")

    def _exported(self, gguf: Path, name: str, audience: Audience) -> tuple[Policy, Audience, str]:
        policy = self.project.open_student(gguf, name, self.threads)
        return policy, audience, f"{gguf.parent.name}/{gguf.name}, {self.threads} threads"


def _threads() -> int:
    from prentice.models.local import idle_cores

    return idle_cores()
