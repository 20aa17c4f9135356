"""The teacher: a larger model on this machine, asked for its probabilities at every supervised token of a row.

It reads the rows as the student does, token by token, so both must have one vocabulary. What it said is kept on disk,
some rows to a file, each whole or not there: a scoring that was stopped goes on, and other settings ask nothing anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor
from transformers import AutoTokenizer

from prentice.errors import TrainingError
from prentice.models.hf import load
from prentice.progress import Progress
from prentice.records import ModelSource, digest
from prentice.runs import write_atomic
from prentice.training.batches import micro_batches
from prentice.training.distill.soft import IDS, LOGS
from prentice.training.engine import ForestModel
from prentice.training.items import Item

AT_ONCE = 256
"""Rows whose scores are one file."""
TEXT_ONLY = (
    "its probabilities mean nothing to this student; let it write text instead: name it in [teacher], and train by sft"
)


@dataclass(frozen=True)
class TeacherFiles:
    """Where a teacher lies.

    Args:
        folder: a transformers folder.
        source: where that came from; its hash is what scores are kept under.
    """

    folder: Path
    source: ModelSource


@dataclass(frozen=True)
class Teacher:
    """A teacher in memory.

    Args:
        model: carries no gradient.
        source: its own.
        top: tokens that it names at each place.
        within: tokens of the vocabulary that the student has; models of one family fill theirs up to different lengths.
        at_once: tokens computed at once.
    """

    model: ForestModel
    source: ModelSource
    top: int
    within: int
    at_once: int

    def tell(self, items: Sequence[Item]) -> list[Item]:
        """The rows with the teacher's word on each of their supervised tokens."""
        found: dict[int, Item] = {}
        places = {id(item): place for place, item in enumerate(items)}
        for part in micro_batches(items, self.at_once, padded=bool(self.model.obstacle)):
            ids, logs = self.model.likeliest(self.model.batch([i.row for i in part]), self.top, self.within)
            found |= {places[id(i)]: told for i, told in zip(part, _knowing(part, ids, logs), strict=True)}
        return [found[place] for place in range(len(items))]

    def tell_once(self, items: Sequence[Item], kept: Path, progress: Progress) -> list[Item]:
        """As `tell`; what was told before is read from the folder `kept`."""
        told: list[Item] = []
        with progress.bar("teacher reads", len(items), "rows") as bar:
            for begin in range(0, len(items), AT_ONCE):
                part = items[begin : begin + AT_ONCE]
                told += self._kept(part, kept / f"{self._name(part)}.safetensors")
                bar.advance(len(part))
        return told

    def _kept(self, items: Sequence[Item], file: Path) -> list[Item]:
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError):  # not there yet, or not by us
            told = self.tell(items)
            tensors = {name: torch.cat([_tensor(item, name) for item in told]) for name in (IDS, LOGS)}
            write_atomic(file, to_bytes(tensors))
        return _knowing(items, tensors[IDS], tensors[LOGS])

    def _name(self, items: Sequence[Item]) -> str:
        rows = [[item.row.prompt, item.row.reply] for item in items]
        return digest([self.source.sha256, self.top, self.within, rows])[:32]


def open_teacher(files: TeacherFiles, student: Path, *, top: int, at_once: int, device: torch.device) -> Teacher:
    """Load a teacher for the student in the folder `student`.

    Raises: TrainingError if it is gone, or has another vocabulary.
    """
    if not (files.folder / "config.json").is_file():
        raise TrainingError(
            f"{files.folder}: the teacher {files.source.name!r} is gone: no config.json there",
            "put it back, or name another one: train.distill.teacher",
        )
    size = same_vocabulary(files, student)
    model = ForestModel(load(files.folder)).requires_grad_(False)
    return Teacher(model.to(device), files.source, top, size, at_once)


def same_vocabulary(files: TeacherFiles, student: Path) -> int:
    """See that a number means the same token to teacher and student; returns how many tokens there are.

    Raises: TrainingError naming the first token that differs.
    """
    theirs, ours = (AutoTokenizer.from_pretrained(folder).get_vocab() for folder in (files.folder, student))
    if theirs == ours:
        return int(max(ours.values())) + 1
    token = min(set(theirs.items()) ^ set(ours.items()), key=lambda pair: (pair[1], pair[0]))[1]
    names = [next((word for word, i in known.items() if i == token), None) for known in (theirs, ours)]
    raise TrainingError(
        f"{files.source.name!r} as teacher has another vocabulary than the student: token {token} is {names[0]!r} to "
        f"the one and {names[1]!r} to the other ({len(theirs):,} and {len(ours):,} tokens)",
        TEXT_ONLY,
    )


def _knowing(items: Sequence[Item], ids: Tensor, logs: Tensor) -> list[Item]:
    lengths = [len(item.row.reply) for item in items]
    words = zip(torch.split(ids.int().cpu(), lengths), torch.split(logs.cpu(), lengths), strict=True)
    return [item.knowing({IDS: i, LOGS: x}) for item, (i, x) in zip(items, words, strict=True)]


def _tensor(item: Item, name: str) -> Tensor:
    value = item.row.given[name]
    return value if isinstance(value, Tensor) else torch.tensor(value)
