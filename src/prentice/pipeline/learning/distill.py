"""Distillation in a project: who the teacher is, and what the student is cut out of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from prentice.errors import PrenticeError
from prentice.models import catalogue
from prentice.models.bases import BASES
from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.learning.success import success_of
from prentice.pipeline.lineage import TOLD
from prentice.pipeline.project import Project
from prentice.records import Checkpoint

if TYPE_CHECKING:
    from prentice.training.distill.teacher import TeacherFiles

_KEY = "train.distill.teacher"


def learn(lesson: Lesson) -> Checkpoint:
    """Let the project's student learn from the teacher that [train.distill] names, by default from itself."""
    from prentice.training.distill.train import Classroom, train_distilled
    from prentice.training.run import Links

    project, train = lesson.project, lesson.project.config.train
    if train.launch.processes > 1 or train.launch.accelerate:
        raise PrenticeError("[train.launch] has several processes, and distillation runs in one", "set processes = 1")
    room = Classroom(lesson.weights, lesson.base.source, _teacher(lesson), project.home / TOLD)
    with lesson.serving_tokens() as tokens:
        return train_distilled(
            train.distill,
            room,
            dataset=lesson.dataset,
            out=lesson.out,
            links=Links(serving_tokens=tokens, score=success_of(project, lesson.weights)),
            progress=lesson.progress,
        )


def _teacher(lesson: Lesson) -> TeacherFiles:
    from prentice.training.distill.teacher import TeacherFiles

    named = named_teacher(lesson.project)
    if named is None:
        return TeacherFiles(lesson.weights, lesson.base.source)
    assert named.safetensors is not None
    return TeacherFiles(named.safetensors, named.source)


def named_teacher(project: Project) -> catalogue.Model | None:
    """The model that [train.distill] teacher names; None where it names none.

    Raises: PrenticeError if there is no such model, or its probabilities cannot be had.
    """
    name = project.config.train.distill.teacher
    if not name:
        return None
    if (folder := _folder_of(project.folder / name)) is not None:
        return catalogue.get(str(folder))
    if name not in BASES:
        raise PrenticeError(
            f"{_KEY} = {name!r}: the teacher is gone: no folder of that name holds a transformers model",
            f"put it back, or name another folder or one of: {', '.join(b for b in BASES if BASES[b].trainable)}",
        )
    if not BASES[name].trainable:
        raise PrenticeError(
            f"{_KEY} = {name!r}: it comes as GGUF only, and its probabilities are read from safetensors",
            f'let it write text instead: [teacher] model = "local:{name}", and train by sft',
        )
    return catalogue.get(name, offline=project.config.offline)


def _folder_of(place: Path) -> Path | None:
    """The transformers folder at a place: it itself, or what a checkpoint's or an export's folder holds.

    Raises: PrenticeError for a checkpoint that is an adapter.
    """
    found = next((f for f in (place, place / "model", place / "merged") if (f / "config.json").is_file()), None)
    if found is None and (place / "adapter").is_dir():
        raise PrenticeError(
            f"{_KEY}: {place} is an adapter, not a whole model",
            "name the `model` folder of its export, which `prentice export` writes",
        )
    return found


def _inputs(project: Project) -> JsonValue:
    config, named = project.config.train.distill, named_teacher(project)
    inputs: list[JsonValue] = [config.recipe(), None if named is None else named.source.sha256]
    if config.select.by == "success":  # what the student's success on validation cases depends on
        inputs += [project.task.fingerprint(), project.config.export.quantization, project.config.evaluate.metric]
    return inputs


LINK = Link(_inputs, learn)
