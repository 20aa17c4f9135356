"""Which rows a step learns from, and how they are cut into parts that fit into memory, for one process or several.

Everything here follows from seed and step alone, so that a resumed run, on however many processes, sees the same rows.
Rows of a family whose beginning grows, such as an episode's turns, stay together: what they share is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import torch

from prentice.training.items import Item


@dataclass(frozen=True)
class Order:
    """The order of the rows in each pass.

    Args:
        rows: all of them.
        by_weight: drawn by weight, with repetition and each by itself; a pass has as many rows as any other.
    """

    rows: Sequence[Item]
    seed: int
    by_weight: bool = False

    def of(self, epoch: int) -> list[int]:
        """Places of the rows in the order in which this pass visits them."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        if self.by_weight:
            weights = torch.tensor([row.row.weight for row in self.rows], dtype=torch.float64)
            return torch.multinomial(weights, len(self.rows), replacement=True, generator=generator).tolist()
        shuffled = torch.randperm(len(self._families), generator=generator).tolist()
        return list(chain.from_iterable(self._families[place] for place in shuffled))

    @cached_property
    def _families(self) -> list[list[int]]:
        return families(self.rows)


def families(rows: Sequence[Item]) -> list[list[int]]:
    """Places of the rows, those of a family together: all of it where it is whole, else turn by turn as long as each
    prompt begins with the one before."""
    last: dict[str, list[int]] = {}
    found: list[list[int]] = []
    for place in sorted(range(len(rows)), key=lambda place: rows[place].turn):
        row = rows[place]
        family = last.get(row.family)
        if family is None or not (row.whole or _grows(rows[family[-1]].row.prompt, row.row.prompt)):
            family = last[row.family] = []
            found.append(family)
        family.append(place)
    return sorted(found)


def micro_batches(rows: Sequence[Item], tokens: int, *, padded: bool = False) -> list[list[Item]]:
    """Cut rows into parts that are computed at once, shortest first.

    Args:
        tokens: most that a part computes, but at least one row. What all rows begin with comes on top, or a long
            instruction would leave no room to share it, and as much as the longest row takes always fits.
        padded: rows lie side by side, each as long as the longest; no part but a single row is larger than `tokens`.
    Raises: ValueError if `tokens` is none.
    """
    if tokens < 1:
        raise ValueError("parts of no tokens: SFTConfig.on fills in how many")
    if padded:
        return _rectangles(rows, tokens)
    common = _shared(min(r.row.tokens for r in rows), max(r.row.tokens for r in rows))
    most = max(tokens + common, *(len(r.row.tokens) for r in rows))
    parts: list[list[Item]] = []
    room = 0
    for family in _by_length(rows):
        own = _own(family, common)
        if room < sum(own) and (sum(own) <= most - common or family[0].whole):
            room = 0  # it is cut only where it does not fit into a part of its own, and where it may be cut
        for row, new in zip(family, own, strict=True):
            if parts and (new <= room or (row.whole and row is not family[0])):
                room -= new
            else:
                parts.append([])
                room = most - len(row.row.tokens)
            parts[-1].append(row)
    return parts


def _own(family: Sequence[Item], common: int) -> list[int]:
    """Tokens of each turn that neither the turn before nor all rows have."""
    tokens = [row.row.tokens for row in family]
    before = [common, *(_shared(a, b) for a, b in pairwise(tokens))]
    return [len(all_) - shared for all_, shared in zip(tokens, before, strict=True)]


def shares(rows: Sequence[Item], tokens: int, processes: int, *, padded: bool = False) -> list[list[list[Item]]]:
    """For each process the parts it computes, as many for each: all of them must take part in every exchange.

    Families are dealt out evenly by length; who has fewer parts computes a row again that weighs nothing.
    """
    ordered = _by_length(rows)
    idle = [item.of_weight(0.0) for item in (ordered[0] if ordered[0][0].whole else ordered[0][:1])]
    dealt = [list(chain.from_iterable(ordered[rank::processes])) for rank in range(processes)]
    cut = [micro_batches(mine, tokens, padded=padded) if mine else [] for mine in dealt]
    most = max(len(parts) for parts in cut)
    return [parts + [idle] * (most - len(parts)) for parts in cut]


def _rectangles(rows: Sequence[Item], tokens: int) -> list[list[Item]]:
    """Parts, shortest rows first: a part computes as many tokens as its longest row has, times its rows."""
    units = [unit for family in _by_length(rows) for unit in ([family] if family[0].whole else [[r] for r in family])]
    parts: list[list[Item]] = []
    for unit in sorted(units, key=_longest):
        if not parts or (len(parts[-1]) + len(unit)) * _longest(unit)[0] > tokens:
            parts.append([])
        parts[-1] += unit
    return parts


def _by_length(rows: Sequence[Item]) -> list[list[Item]]:
    """The families, shortest first."""
    return sorted(([rows[place] for place in family] for family in families(rows)), key=_longest)


def _longest(rows: Sequence[Item]) -> tuple[int, tuple[int, ...]]:
    return max(map(_length, rows))


def _length(row: Item) -> tuple[int, tuple[int, ...]]:
    return len(row.row.tokens), row.row.tokens


def _grows(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return len(after) > len(before) and after[: len(before)] == before


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens at the beginning that both have."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
