"""A row on its way into a step: its tokens, what it is called in errors, and which others it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from prentice.training.forest import Row


@dataclass(frozen=True)
class Item:
    """What a step is made of.

    Args:
        id: what errors call it.
        row: its tokens.
        family: rows of one family share a beginning: the turns of an episode, the sides of a pair.
        turn: its place in the family.
        case: what it came from; the student may be asked to play it.
        whole: a loss needs all of its family at once, so that it is never cut; `turn` then counts its members.
    """

    id: str
    row: Row
    family: str = ""
    turn: int = 0
    case: str = ""
    whole: bool = False

    def of_weight(self, weight: float) -> Item:
        """The same row, weighing so much."""
        return replace(self, row=replace(self.row, weight=weight))

    def knowing(self, given: Mapping[str, tuple[float, ...] | Tensor]) -> Item:
        """The same row with more that its loss needs to know."""
        return replace(self, row=replace(self.row, given={**self.row.given, **given}))
