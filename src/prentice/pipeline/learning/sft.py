"""Supervised fine-tuning in a project: in how many processes, and who plays while it trains."""

from __future__ import annotations

from pydantic import JsonValue

from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.learning.success import success_of
from prentice.pipeline.project import Project
from prentice.records import Checkpoint


def learn(lesson: Lesson) -> Checkpoint:
    """Train the project's student on the curated rows, as [train.sft] and [train.launch] say."""
    from prentice.training.launch import train_in_processes
    from prentice.training.run import Links
    from prentice.training.sft import train_sft

    project, train = lesson.project, lesson.project.config.train
    with lesson.serving_tokens() as tokens:
        if train.launch.processes > 1 or train.launch.accelerate:
            place = project.folder / train.launch.accelerate if train.launch.accelerate else ""
            return train_in_processes(
                train.sft,
                train.launch.model_copy(update={"accelerate": str(place)}),
                dataset=lesson.dataset,
                base=lesson.weights,
                out=lesson.out,
                source=lesson.base.source,
                serving_tokens=tokens,
                progress=lesson.progress,
            )
        return train_sft(
            train.sft,
            dataset=lesson.dataset,
            base=lesson.weights,
            out=lesson.out,
            source=lesson.base.source,
            links=Links(serving_tokens=tokens, score=success_of(project, lesson.weights)),
            progress=lesson.progress,
        )


def _inputs(project: Project) -> JsonValue:
    config = project.config.train.sft
    inputs: list[JsonValue] = [config.recipe()]
    if config.select.by == "success":  # what the student's success on validation cases depends on
        inputs += [project.task.fingerprint(), project.config.export.quantization, project.config.evaluate.metric]
    return inputs


LINK = Link(_inputs, learn)
