"""Continued pretraining in a project: the documents that it names are read, whatever has been curated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from prentice.pipeline.bases import trainable_base
from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Checkpoint

if TYPE_CHECKING:
    from prentice.training.cpt.train import Rows


def learn(lesson: Lesson) -> Checkpoint:
    """Train the project's student on its documents, as [train.cpt] says."""
    from prentice.training.cpt.corpus import read_corpus
    from prentice.training.cpt.train import train_documents

    project, train = lesson.project, lesson.project.config.train
    corpus = read_corpus(train.cpt, project.folder, lesson.progress)
    if train.launch.processes > 1 or train.launch.accelerate:
        lesson.progress.say("cpt: trains in one process, [train.launch] is for sft")
    return train_documents(
        train.cpt,
        corpus,
        base=lesson.weights,
        out=lesson.out,
        source=lesson.base.source,
        progress=lesson.progress,
    )


def look_at_documents(project: Project, progress: Progress) -> Rows:
    """What a run would read, learn and measure, said line by line; nothing is trained."""
    from prentice.training.cpt.corpus import read_corpus
    from prentice.training.cpt.train import rows_of

    _, base = trainable_base(project, progress)
    config = project.config.train.cpt
    corpus = read_corpus(config, project.folder, progress)
    rows = rows_of(config, corpus, base, progress)
    for line in (*corpus.told, rows.told):
        progress.say(line)
    return rows


def _inputs(project: Project) -> JsonValue:
    from prentice.training.cpt.corpus import files_hash

    config = project.config.train.cpt
    return [config.recipe(), *files_hash(config, project.folder)]


LINK = Link(_inputs, learn, rows=False)
