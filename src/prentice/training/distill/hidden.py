"""Learning what the teacher thinks underway: hidden states of both, layer against layer.

Student and frozen teacher are one module with one `forward`, so that the loop trains the projections between them with
the student. Projections are no part of a checkpoint: they are there to compare, and go with the run.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from prentice.errors import TrainingError
from prentice.training.engine import ForestModel
from prentice.training.forest import Batch


def mapped(ours: int, theirs: int) -> list[tuple[int, int]]:
    """Which layer of the student imitates which of the teacher, counted from 1: what lies as deep.

    Source: the uniform strategy of TinyBERT, arXiv:1909.10351, section 4.3: of twice the layers, every second.
    """
    return [(layer, max(1, round(layer * theirs / ours))) for layer in range(1, ours + 1)]


def apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """How far hidden states are apart: (positions, width) twice → (positions,), from 0 to 4.

    The squared distance of the two, each scaled to length 1: some of a decoder's features are a hundred times larger
    than the rest, and layers differ in length.
    Source: Patient Knowledge Distillation, arXiv:1908.09355, equation 7. Ours: at every supervised token, through a
    projection as FitNets (arXiv:1412.6550) has it.
    """
    return (F.normalize(ours.float(), dim=-1) - F.normalize(theirs.float(), dim=-1)).square().sum(-1)


class Imitator(ForestModel):
    """A student that is worth less the further its hidden states are from the teacher's.

    Args:
        student: what is trained.
        teacher: of the same vocabulary; its weights stay as they are.
        weight: of the mean distance over the mapped layers.
    Raises: TrainingError if one of the two can read forests and the other cannot.
    """

    def __init__(self, student: ForestModel, teacher: ForestModel, weight: float) -> None:
        with student.as_it_came():
            super().__init__(student.model, narrow=student.narrow)
        if bool(self.obstacle) != bool(teacher.obstacle):
            raise TrainingError(
                f"hidden states cannot be compared: {self.obstacle or teacher.obstacle}, and in the other model all "
                "layers are attention",
                "set train.distill.hidden = 0",
            )
        self.head = student.head
        self.teacher = teacher.requires_grad_(False)
        self.weight = weight
        self.layers = mapped(*(_text(model).num_hidden_layers for model in (self, teacher)))
        widths = _text(self).hidden_size, _text(teacher).hidden_size
        self.projections = nn.ModuleList(nn.Linear(*widths, bias=False) for _ in self.layers)
        for projection in self.projections:
            nn.init.eye_(projection.weight)  # type: ignore[arg-type]
        self.to(student.device)

    def forward(self, batch: Batch) -> Tensor:
        """What the head makes of the supervised tokens, less what their states are off: float32 (supervised,)."""
        with self._precision():
            read = self.read(batch, states=True)
            with torch.no_grad():
                taught = self.teacher.read(batch, states=True)
            return self.worth(read, batch) - self.weight * self._apart(read, taught, batch)

    def _apart(self, read: Any, taught: Any, batch: Batch) -> Tensor:
        """Mean distance over the layers: float32 (supervised,)."""
        off = [
            apart(
                projection(_at(read.hidden_states[ours], batch)),
                _at(taught.hidden_states[theirs], batch),
            )
            for projection, (ours, theirs) in zip(self.projections, self.layers, strict=True)
        ]
        return torch.stack(off).mean(0)


def _at(states: Tensor, batch: Batch) -> Tensor:
    return states.flatten(0, 1).index_select(0, batch.sources)


def _text(model: ForestModel) -> Any:
    return model.causal.config.get_text_config()
