"""Cases that are seeds: one range a split, and no seed in two of them."""

from __future__ import annotations

from itertools import combinations
from typing import Self

from pydantic import model_validator

from prentice.config import StageConfig
from prentice.records import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Seeds(StageConfig):
    """Which seeds make the cases of each split, as [first, one after the last]."""

    train: tuple[int, int] = (0, 1000)
    """What the teacher plays and the student learns from."""
    val: tuple[int, int] = (0, 0)
    """What chooses the checkpoint; empty: a share of the training cases does."""
    test: tuple[int, int] = (1_000_000, 1_000_400)
    """Held out."""

    @model_validator(mode="after")
    def _are_disjoint(self) -> Self:
        for split in SPLITS:
            first, end = getattr(self, split)
            if first < 0 or end < first:
                raise ValueError(f"{split} = [{first}, {end}] is no range of seeds: write [first, one after the last]")
        for one, other in combinations(SPLITS, 2):
            if common := sorted(set(self.of(one)) & set(self.of(other))):
                raise ValueError(f"{one} and {other} share {len(common)} seeds, the first is {common[0]}")
        return self

    def of(self, split: Split) -> range:
        """The seeds of one split."""
        return range(*getattr(self, split))
