"""Who takes part in a chat: a model by its name, or the student of a project, asked as the project's task asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prentice.errors import PrenticeError
from prentice.models.policy import Policy
from prentice.models.specs import open_policy
from prentice.pipeline.chat import Speaker, plainly
from prentice.pipeline.project import Project
from prentice.pipeline.stages import Context
from prentice.pipeline.walk import states
from prentice.progress import Progress
from prentice.records import Message, Request
from prentice.tasks import Audience
from prentice.tasks.contract import Case

STUDENT, TEACHER = "student", "teacher"


def find_project(folder: Path | None) -> Project | None:
    """The project that is named, else the one in this folder, if there is one."""
    if folder is not None:
        return Project(folder)
    return Project(Path()) if Path("prentice.toml").is_file() else None


def open_speaker(spec: str, project: Project | None, progress: Progress, *, free: bool = False) -> Speaker:
    """Open who is to take part.

    Args:
        spec: `student` or `teacher` of the project, or a model as `[teacher] model` names it.
        free: leave the project's prompts away.
    Raises: PrenticeError of the kind that fits.
    """
    if project is None:
        if spec in (STUDENT, TEACHER):
            raise PrenticeError(f"{spec!r} of which project?", "give --project FOLDER, or name a model")
        return Speaker(spec, open_policy(spec, Path(), progress=progress), plainly)
    policy = _student(project, progress) if spec == STUDENT else _other(spec, project, progress)
    name = None if free else _only_input(project)
    if name is None:
        return Speaker(spec, policy, plainly)
    return Speaker(spec, policy, _Asked(project, name, "student" if spec == STUDENT else "teacher"), project.task.name)


class _Asked:
    """Puts each message to the task as its input, alone: what was said before is no part of such a task."""

    def __init__(self, project: Project, name: str, audience: Audience) -> None:
        self._task, self._name, self._audience = project.task, name, audience

    async def __call__(self, history: Sequence[Message], text: str) -> Request:
        environment = self._task.environment(self._audience)
        try:
            return await environment.reset(Case(id="chat", split="train", inputs={self._name: text}))
        finally:
            await environment.close()


def _only_input(project: Project) -> str | None:
    """The name of the input of a task that takes one text; None for every other task."""
    cases = project.task.cases("train")
    if not cases or len(cases[0].inputs) != 1:
        return None
    ((name, value),) = cases[0].inputs.items()
    return name if isinstance(value, str) else None


def _other(spec: str, project: Project, progress: Progress) -> Policy:
    named = project.config.teacher.model if spec == TEACHER else spec
    return project.open_policy(named, threads=project.config.threads, progress=progress)


def _student(project: Project, progress: Progress) -> Policy:
    context = Context(project, progress)
    if not dict(states(context))["export"]:
        hint = f"prentice run {project.folder}"
        raise PrenticeError(f"{project.file}: no student has been exported with this configuration", hint)
    folder = context.folder("export")
    return project.open_student(next(folder.glob("*.gguf")), f"student:{folder.name}")
