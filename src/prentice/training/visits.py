"""Which rows each step of a run learns from: rows that are fixed, pass after pass, or fresh ones made on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from prentice.training.batches import Order
from prentice.training.items import Item
from prentice.training.method import Scorer


class Visits(Protocol):
    """The steps of a run. Everything follows from the step's number alone, so that a resumed run sees the same rows."""

    @property
    def steps(self) -> int:
        """How many."""
        ...

    @property
    def rows(self) -> int:
        """That all steps together visit."""
        ...

    def of(self, step: int) -> Sequence[Item]:
        """The rows of a step, counted from 0; none: there is nothing more to learn, and the run ends before it."""
        ...

    def count(self, step: int) -> int:
        """How many rows that step visits, as far as that is known before it begins."""
        ...

    def is_last_of_pass(self, step: int) -> bool:
        """Whether the weights are worth a look after that step."""
        ...


@dataclass(frozen=True)
class Student:
    """The model in training, as those see it who make rows with it.

    Args:
        scored: what it makes of rows now.
        reference: what it made of them before this run.
        write: writes its weights into a folder, as a checkpoint's are written.
    """

    scored: Scorer
    reference: Scorer
    write: Callable[[Path], None]


@runtime_checkable
class Fresh(Visits, Protocol):
    """Rows that are made on the way, by the student as it then is."""

    def meet(self, student: Student) -> None:
        """This is the student; before it no step can be taken."""
        ...

    def figures(self) -> Mapping[str, float]:
        """What the checkpoint's record says of how they were made."""
        ...


@dataclass(frozen=True)
class Passes:
    """Fixed rows, shuffled anew for every pass.

    Args:
        items: all of them.
        epochs: passes; the last one may be a part.
        batch: rows of a step.
        seed: of the order.
        by_weight: rows are drawn by their weights, which are then forgotten.
        unit: rows that belong together, such as the two of a pair: no step, nor the end, parts them.
    """

    items: Sequence[Item]
    epochs: float
    batch: int
    seed: int
    by_weight: bool = False
    unit: int = 1

    @cached_property
    def rows(self) -> int:
        """Visits in all."""
        return max(1, round(len(self.items) / self.unit * self.epochs)) * self.unit

    @cached_property
    def steps(self) -> int:
        """Steps in all."""
        whole, rest = divmod(self.rows, len(self.items))
        return whole * self._per_pass + math.ceil(rest / self._batch)

    def of(self, step: int) -> Sequence[Item]:
        """The rows of a step, counted from 0."""
        places = self._order.of(step // self._per_pass)
        chosen = [self.items[places[place]] for place in self._places(step)]
        return [item.of_weight(1.0) for item in chosen] if self.by_weight else chosen

    def count(self, step: int) -> int:
        """How many rows that step visits."""
        return len(self._places(step))

    def is_last_of_pass(self, step: int) -> bool:
        """Whether a pass ends with it."""
        return (step + 1) % self._per_pass == 0 or step + 1 == self.steps

    @cached_property
    def _order(self) -> Order:
        return Order(self.items, self.seed, self.by_weight)

    @property
    def _batch(self) -> int:
        return self.batch * self.unit

    @property
    def _per_pass(self) -> int:
        return math.ceil(len(self.items) / self._batch)

    def _places(self, step: int) -> range:
        """Where a step's rows lie in the shuffled order of its pass."""
        epoch, place = divmod(step, self._per_pass)
        begin, left = place * self._batch, self.rows - epoch * len(self.items)
        return range(begin, min(begin + self._batch, len(self.items), left))
