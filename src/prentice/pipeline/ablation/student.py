"""The student of every run: its base, how its replies are counted, and what makes a run another run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from prentice import __version__
from prentice.errors import PrenticeError
from prentice.models import catalogue
from prentice.models.chat import ChatFormat
from prentice.pipeline.ablation.arms import Rows
from prentice.pipeline.bases import trainable_base
from prentice.pipeline.learning import chain_inputs
from prentice.pipeline.project import MethodName, Project
from prentice.progress import Progress
from prentice.records import Example, Message, digest
from prentice.records.parquet import ROWS
from prentice.rollouts import SHAPE_REPLIES
from prentice.training.config import SFTConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Student:
    """What all students of an ablation share.

    Args:
        model: the base that they start from, with float weights.
    """

    project: Project
    model: catalogue.Model
    _lengths: dict[tuple[str, Message], int] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project, progress: Progress) -> Student:
        """The project's student.

        Raises: PrenticeError if its base cannot be trained.
        """
        return cls(project, trainable_base(project, progress)[0])

    @property
    def base(self) -> Path:
        """The transformers folder that they start from."""
        assert self.model.safetensors is not None
        return self.model.safetensors

    def tokens(self, rows: Sequence[Example]) -> int:
        """Supervised tokens of one pass over `rows`: their replies, the token that ends each included."""
        return sum(self._length(row) for row in rows)

    def trainable(self, rows: Rows, folder: Path) -> tuple[Rows, str]:
        """The rows without those that training would refuse, and what to say of these; nothing if there are none.

        Args:
            folder: of the rows, for errors.
        Raises: PrenticeError if none is left to train on.
        """
        from prentice.training.start import open_checker
        from prentice.training.truth import check_all

        checker = open_checker(self.project.config.train.sft.max_tokens, folder / ROWS, self.base)
        fit, _, faults = check_all(checker, rows.examples)
        if not faults:
            return rows, ""
        told = f"{len(faults)} of {len(rows.examples)} rows cannot be trained on, the first since {faults[0].kind}"
        left = Rows(tuple(row.example for row in fit))
        if not left.split("train"):
            raise PrenticeError(told)
        return left, f"; {told}"

    def key(self, data: str, sft: SFTConfig, cases: Sequence[str]) -> str:
        """What makes a run another run: all that its students' success depends on.

        Args:
            data: hash of the rows.
            cases: ids of the held-out cases.
        """
        return self._key([data, sft.recipe()], cases)

    def key_of_chain(self, data: str, stages: tuple[MethodName, ...], seed: int, cases: Sequence[str]) -> str:
        """The same of a student that goes through several methods.

        Args:
            seed: counted from that of each method.
        """
        return self._key([data, chain_inputs(self.taught_by(stages, seed))], cases)

    def taught_by(self, stages: tuple[MethodName, ...], seed: int, sft: SFTConfig | None = None) -> Project:
        """The project, its student trained by these methods, each from its own seed plus this one.

        Args:
            sft: settings of fine-tuning as they are to be, seed included.
        """
        train = self.project.config.train
        shifted = {
            name: section.model_copy(update={"seed": section.seed + seed})
            for name in stages
            for section in [getattr(train, name)]
        }
        own = train.model_copy(update={"stages": stages, **shifted, **({"sft": sft} if sft else {})})
        config = self.project.config.model_copy(update={"train": own})
        return Project(self.project.file, home=self.project.home, config=config)

    def _key(self, learnt: list[JsonValue], cases: Sequence[str]) -> str:
        config = self.project.config
        played = self.project.held_out_rules.model_dump(mode="json", include={*SHAPE_REPLIES, "max_turns"})
        held_out = [config.evaluate.split, list(cases), config.evaluate.metric, played]
        made = [self.model.source.sha256, config.export.quantization, __version__]
        return digest([*learnt, made, self.project.task.fingerprint(), held_out])[:16]

    def _length(self, row: Example) -> int:
        known = self._lengths.get((row.id, row.reply))
        if known is None:
            text = self._chat.reply(row.messages, row.reply, row.tools)
            known = len(self._tokenizer.encode(text, add_special_tokens=False).ids)
            self._lengths[row.id, row.reply] = known
        return known

    @cached_property
    def _chat(self) -> ChatFormat:
        return ChatFormat.from_folder(self.base)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.base / "tokenizer.json"))
