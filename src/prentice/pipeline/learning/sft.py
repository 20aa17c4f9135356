"""Supervised fine-tuning in a project: in how many processes, and who plays while it trains."""

from __future__ import annotations

from pydantic import JsonValue

from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.learning.processes import trained
from prentice.pipeline.project import Project
from prentice.records import Checkpoint


def learn(lesson: Lesson) -> Checkpoint:
    """Train the project's student on the curated rows, as [train.sft] and [train.launch] say."""
    from prentice.training.sft import train_sft

    return trained(lesson, lesson.project.config.train.sft, lesson.dataset, train_sft)


def _inputs(project: Project) -> JsonValue:
    config = project.config.train.sft
    inputs: list[JsonValue] = [config.recipe()]
    if config.select.by == "success":  # what the student's success on validation cases depends on
        inputs += [project.task.fingerprint(), project.config.export.quantization, project.config.evaluate.metric]
    return inputs


LINK = Link(_inputs, learn)
