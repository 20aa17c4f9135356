"""What makes one training method differ from another: a loss, and what a step divides it by. All else is the loop's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from prentice.training.forest import Batch
from prentice.training.items import Item

REFERENCE = "reference"
"""Name under which a row's `given` holds the log-probabilities of the student as it was before this run."""

Loss = Callable[[Tensor, Batch], Tensor]
"""Log-probabilities (supervised,) and their batch → the sum of the loss over the batch, not yet divided."""
Size = Callable[[Sequence[Item]], float]
"""Rows of a step → what the sum of their losses is divided by."""
Scorer = Callable[[Sequence[Item]], list[tuple[float, ...]]]
"""Rows → the log-probability of each of their supervised tokens, as the student is now; carries no gradient."""
Prepare = Callable[[Scorer, Sequence[Item]], Sequence[Item]]
"""All rows of a step, before it is cut into parts → the same rows, knowing more."""


def supervised_weight(rows: Sequence[Item]) -> float:
    """The rows' supervised tokens, each as heavy as its row: the loss is then a mean per token."""
    return sum(item.row.weight * len(item.row.reply) for item in rows)


@dataclass(frozen=True)
class Method:
    """How a run learns.

    Args:
        name: as in `prentice train NAME`; its settings are [train.NAME].
        loss: a pure function.
        size: what a step's loss is divided by.
        measure: the validation loss, where it is another than the method's.
        reference: whether `loss` needs `given["reference"]`.
        prepare: what each step has to find out before it begins.
        also: what else a validation finds, by name; each is summed and divided as the loss is.
    """

    name: str
    loss: Loss
    size: Size = supervised_weight
    measure: Loss | None = None
    reference: bool = False
    prepare: Prepare | None = None
    also: Mapping[str, Loss] = field(default_factory=dict)
