"""Methods one after the other: each starts from the weights that the one before has left, merged into one folder.

What a link makes lies under its own hash, so that a change in the last link trains the last link alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from prentice import __version__
from prentice.models.catalogue import Model
from prentice.models.fetch import sha256_of
from prentice.pipeline.bases import base_gguf, trainable_base
from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Checkpoint, Manifest, ModelSource, digest
from prentice.records.checkpoints import CHECKPOINT
from prentice.records.parquet import MANIFEST
from prentice.registry import Table
from prentice.runs import read_record

LINKS = Table(
    "training method",
    {name: f"prentice.pipeline.learning.{name}:LINK" for name in ("cpt", "sft", "preference", "grpo", "distill")},
)
FOLDER, MERGED, RECORD = "chain", "merged", "checkpoint.json"


def chain_inputs(project: Project) -> list[JsonValue]:
    """All that the student depends on besides its base and the dataset."""
    return [[name, _link(name).inputs(project)] for name in project.config.train.chain]


def learn_chain(project: Project, dataset: Path, out: Path, progress: Progress) -> Checkpoint:
    """Train by every method of the chain; the last one's checkpoint lies in `out`."""
    *before, last = project.config.train.chain
    lesson = _lessons(project, tuple(before), dataset, progress)
    return _learn(last, replace(lesson, out=out))


def train_until(project: Project, name: str, dataset: Path, progress: Progress) -> Checkpoint:
    """Train by the methods of the chain up to this one, which is not the last."""
    chain = project.config.train.chain
    lesson = _lessons(project, chain[: chain.index(name)], dataset, progress)
    return _learn(name, replace(lesson, out=_folder(lesson, name)))


def student_before(project: Project, dataset: Path, progress: Progress, name: str = "") -> Model:
    """What a method of the chain has started from, by default the last one; what is missing of it is trained."""
    chain = project.config.train.chain
    return _lessons(project, chain[: chain.index(name) if name else -1], dataset, progress).base


def needs_rows(name: str) -> bool:
    """Whether a method learns from the curated dataset."""
    return _link(name).rows


def _lessons(project: Project, names: tuple[str, ...], dataset: Path, progress: Progress) -> Lesson:
    """The lesson that follows these methods, which are carried out; its `out` is not set."""
    base, _ = trainable_base(project, progress)
    lesson = Lesson(project, base, base_gguf(project, base, progress), dataset, Path(), progress)
    for name in names:
        lesson = replace(lesson, out=_folder(lesson, name))
        lesson = _after(name, lesson, _learn(name, lesson))
    return lesson


def _learn(name: str, lesson: Lesson) -> Checkpoint:
    if len(lesson.project.config.train.chain) > 1:
        lesson.progress.say(f"{name}: from {lesson.base.name}")
    return _link(name).learn(lesson)


def _after(name: str, lesson: Lesson, checkpoint: Checkpoint) -> Lesson:
    """What follows: the same with the checkpoint's weights as its base."""
    from prentice.runs import folder_atomic
    from prentice.training.export import write_merged

    merged = lesson.out / MERGED
    if not merged.exists():
        with folder_atomic(merged) as scratch:
            write_merged(lesson.out, lesson.weights, scratch)
    called = f"{lesson.base.name}+{name}"
    source = ModelSource(name=called, source=f"{CHECKPOINT}:{checkpoint.id}", sha256=_hash_of(merged))
    base = Model(name=called, gguf=None, safetensors=merged, source=source, licence=lesson.base.licence)
    return replace(lesson, base=base)


def _hash_of(merged: Path) -> str:
    return digest([sha256_of(file) for file in sorted(merged.glob("*.safetensors"))])


def _folder(lesson: Lesson, name: str) -> Path:
    """Where a method that is not the last of the chain leaves its checkpoint, or the train stage has left the same:
    whoever adds a method to a chain keeps what was trained before."""
    rows = read_record(Manifest, lesson.dataset / MANIFEST).hash if needs_rows(name) else ""
    wanted = digest([lesson.base.source.sha256, rows, name, _link(name).inputs(lesson.project), __version__])
    home = lesson.project.home
    place = home / FOLDER / f"{name}-{wanted[:16]}"
    if (place / RECORD).exists():
        return place
    for file in sorted(home.glob(f"train/*/{RECORD}")):
        made = read_record(Checkpoint, file)
        if digest([made.base.sha256, made.dataset, made.method, [made.recipe], made.code]) == wanted:
            return file.parent
    return place


def _link(name: str) -> Link:
    link: Link = LINKS.load(name)
    return link
