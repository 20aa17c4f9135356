"""Preference learning in a project: its pairs or thumbs are made where they are not there yet, then learnt from."""

from __future__ import annotations

from pydantic import JsonValue

from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.learning.processes import trained
from prentice.pipeline.pairs import make_pairs, pairs_inputs
from prentice.pipeline.project import Project
from prentice.records import Checkpoint


def learn(lesson: Lesson) -> Checkpoint:
    """Train the project's student on its pairs or thumbs, as [pairs] and [train.preference] say."""
    from prentice.training.preference.train import train_preference

    project, config = lesson.project, lesson.project.config.train.preference
    made = make_pairs(project, lesson.base, lesson.progress)
    for line in made.lines(thumbs=config.loss == "kto"):
        lesson.progress.say(line)
    return trained(lesson, config, made.folder, train_preference)


def _inputs(project: Project) -> JsonValue:
    config = project.config.train.preference
    inputs: list[JsonValue] = [config.recipe(), *pairs_inputs(project)]
    if config.select.by == "success":  # what the student's success on validation cases depends on
        inputs += [project.config.export.quantization, project.config.evaluate.metric]
    return inputs


LINK = Link(_inputs, learn, rows=False)
