"""Distillation: a student, a teacher of the same vocabulary and a dataset in, a checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig

from prentice.errors import TrainingError
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, Example, ModelSource, digest
from prentice.records.parquet import ROWS, read_dataset, rows_hash
from prentice.training.distill.config import DistillConfig
from prentice.training.distill.cut import write_cut
from prentice.training.distill.divergences import divergence_of
from prentice.training.distill.hidden import Imitator
from prentice.training.distill.soft import SoftHead
from prentice.training.distill.teacher import Teacher, TeacherFiles, open_teacher
from prentice.training.distill.writing import OnPolicy, Writer
from prentice.training.forest import common_beginning
from prentice.training.items import Item
from prentice.training.losses import sft_loss
from prentice.training.method import Method
from prentice.training.run import ALONE, Links, Origin, Run, finished_checkpoint
from prentice.training.start import Start, open_checker, open_start
from prentice.training.visits import Passes

DISTILL = Method("distill", sft_loss)
"""The head does the work: what it makes of a position is summed like a log-probability."""
_SILENT = Silent()


@dataclass(frozen=True)
class Classroom:
    """Who learns from whom.

    Args:
        base, source: what the student starts from, or is cut out of, and where that came from.
        teacher: who is learnt from.
        told: folder that keeps what the teacher said.
    """

    base: Path
    source: ModelSource
    teacher: TeacherFiles
    told: Path


def train_distilled(
    config: DistillConfig,
    room: Classroom,
    *,
    dataset: Path,
    out: Path,
    links: Links = ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """Teach a student on the dataset in folder `dataset`; the same call after a kill goes on where it stood.

    Args:
        config: how to train.
        room: who learns from whom.
        dataset: folder of a dataset; the teacher's word on its replies is what is learnt.
        out: gets `checkpoint.json`, `model/` or `adapter/`, and `curve.jsonl`.
        links: what the run may ask of the world around it.
        progress: where to report.
    Raises: TrainingError if the teacher is gone or has another vocabulary, there are not so many layers, a row or the
        architecture cannot be trained, a loss is not a number, or memory is short.
    """
    _, examples = read_dataset(dataset)
    return distill_examples(config, room, examples, dataset / ROWS, out=out, links=links, progress=progress)


def distill_examples(
    config: DistillConfig,
    room: Classroom,
    examples: Sequence[Example],
    where: Path,
    *,
    out: Path,
    links: Links = ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """As `train_distilled`, with the examples at hand; `where` names them in errors."""
    data = rows_hash(examples)
    name = digest([room.source.sha256, room.teacher.source.sha256, data, "distill", config.recipe()])
    if (finished := finished_checkpoint(out, name)) is not None:
        return finished
    teacher = _teacher(config, room, links)
    student = _student(config, room, out)
    start = open_start(config, examples, where, student, links.serving_tokens, links.place)
    if teacher is not None:
        start = _taught(config, start, teacher, room.told, progress)
    visits: OnPolicy | None = None
    if teacher is not None and config.on_policy:
        visits = _on_policy(config, start, teacher, open_checker(config.max_tokens, where, student).stops)
    origin = Origin(room.base, room.source, data)
    checkpoint = Run(name, config, DISTILL, start, origin, out, links, visits=visits).carry_out(progress)
    if student != room.base:
        shutil.rmtree(student)
    return checkpoint


def _teacher(config: DistillConfig, room: Classroom, links: Links) -> Teacher | None:
    """The teacher, where the student learns more from it than the rows' text."""
    if not (config.alpha or config.hidden):
        return None
    layers = AutoConfig.from_pretrained(room.base).get_text_config().num_hidden_layers
    if room.teacher.source.sha256 == room.source.sha256 and config.layers in (0, layers):
        raise TrainingError(
            f"{room.source.name!r} is its own teacher, and has nothing to learn from itself",
            f"set train.distill.layers below {layers}, so that a cut learns from the whole, or train.distill.teacher",
        )
    gpu = torch.cuda.is_available()
    return open_teacher(
        room.teacher,
        room.base,
        top=config.top_k,
        at_once=config.on(gpu=gpu).micro_tokens,
        device=links.place or torch.device("cuda" if gpu else "cpu"),
    )


def _student(config: DistillConfig, room: Classroom, out: Path) -> Path:
    """The folder that the student starts from: the base, or a cut of it."""
    if not config.layers:
        return room.base
    cut = out / f"cut-{digest([room.source.sha256, config.layers, config.keep])[:12]}"
    return cut if cut.exists() else write_cut(room.base, cut, config.layers, config.keep)


def _taught(config: DistillConfig, start: Start, teacher: Teacher, told: Path, progress: Progress) -> Start:
    """The start with what the teacher has to say: on every row, in the head, beside the student."""
    model, train, val = start.model, start.train, start.val
    if config.alpha:
        model.head = partial(SoftHead, divergence=divergence_of(config.divergence, config.beta), alpha=config.alpha)
        train = with_context(train) if config.context else train
        train, val = (teacher.tell_once(rows, told, progress) for rows in (train, val))
    if config.hidden:
        model = Imitator(model, teacher.model, config.hidden)
    return Start(model, train, val, start.where)


def with_context(items: Sequence[Item]) -> list[Item]:
    """The rows with all of their tokens supervised but those with which all of them begin, which are at least one."""
    tokens = [item.row.tokens for item in items]
    common = max(1, common_beginning(min(tokens), max(tokens)))
    return [
        replace(item, row=replace(item.row, prompt=item.row.prompt[:common], reply=item.row.tokens[common:]))
        if common < len(item.row.prompt)
        else item
        for item in items
    ]


def _on_policy(config: DistillConfig, start: Start, teacher: Teacher, stops: frozenset[int]) -> OnPolicy:
    given = Passes(start.train, config.epochs, config.batch, config.seed)
    writer = Writer(start.model, stops, config.reply_tokens, config.temperature)
    return OnPolicy(given, config.on_policy, config.seed, writer.rewrite, teacher.tell)
