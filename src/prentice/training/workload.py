"""Rows → what there is to compute: planted as a run plants them, counted, and nothing computed."""

from __future__ import annotations

from collections.abc import Sequence

from prentice.training.attention import SMALL
from prentice.training.batches import Order, shares
from prentice.training.check import CheckedRow
from prentice.training.compared import compared
from prentice.training.config import SFTConfig
from prentice.training.estimate import Part, Work
from prentice.training.forest import Forest, plant
from prentice.training.items import Item

ENOUGH = 400_000
"""Tokens that are planted; the rest of a larger dataset is taken to be like them."""


def work_of(rows: Sequence[CheckedRow], config: SFTConfig, processes: int = 1, *, padded: bool = False) -> Work:
    """What a run on these rows computes.

    Args:
        rows: at least one of them in the split `train`.
        processes: that train together.
        padded: the base's layers forbid sharing, so rows are filled up to the longest.
    """
    train, val = ([r.item for r in rows if r.example.split == split] for split in ("train", "val"))
    lengths = [len(r.row.tokens) for r in train]
    shuffled = [train[place] for place in Order(train, config.seed).of(0)]
    steps = [shuffled[begin : begin + config.batch] for begin in range(0, len(shuffled), config.batch)]
    seen = _first(steps)
    cut = [_parts(step, config.micro_tokens, processes, padded) for step in seen]
    parts = [part for step in cut for part in step]
    return Work(
        rows=len(train),
        val_rows=len(val),
        tokens=sum(lengths),
        epoch=_sum(parts).times(len(train) / sum(map(len, seen))),
        validation=_passed(val, config, processes, padded),
        largest=Part(*map(max, zip(*(part.values for part in parts), strict=True))),
        parts=max(len(step) for step in cut) / processes,
        longest=max(lengths),
        compared=compared(lengths)[0],
        compared_longest=compared(lengths)[1],
    )


def _passed(val: Sequence[Item], config: SFTConfig, processes: int, padded: bool) -> Part:
    if not val:
        return Part()
    some = val[: max(1, round(len(val) * ENOUGH / max(ENOUGH, sum(len(r.row.tokens) for r in val))))]
    return _sum(_parts(some, config.micro_tokens, processes, padded)).times(len(val) / len(some))


def _first(steps: Sequence[Sequence[Item]]) -> list[Sequence[Item]]:
    """The first steps, as many as hold `ENOUGH` tokens, but at least one."""
    found: list[Sequence[Item]] = []
    room = ENOUGH
    for step in steps:
        room -= sum(len(r.row.tokens) for r in step)
        if room < 0 and found:
            break
        found.append(step)
    return found


def _parts(step: Sequence[Item], tokens: int, processes: int, padded: bool) -> list[Part]:
    """The parts of all processes."""
    dealt = shares(step, tokens, processes, padded=padded)
    return [_rectangle(part) if padded else part_of(plant([r.row for r in part])) for mine in dealt for part in mine]


def _rectangle(rows: Sequence[Item]) -> Part:
    """What rows side by side take."""
    longest = max(len(r.row.tokens) for r in rows)
    nodes, pairs = float(len(rows) * longest), float(len(rows) * longest * longest)
    attention = (0.0, 0.0, pairs, 0.0) if longest * longest <= SMALL else (nodes, nodes, 0.0, pairs)
    return Part(nodes, float(sum(len(r.row.reply) for r in rows)), *attention)


def part_of(forest: Forest) -> Part:
    """What computing a forest takes."""
    fused = [b for b in forest.blocks if b.queries.shape[1] * b.keys.shape[1] > SMALL]
    pairs, by_kernel = (sum(b.queries.numel() * b.keys.shape[1] for b in some) for some in (forest.blocks, fused))
    return Part(
        nodes=len(forest.ids),
        supervised=len(forest.targets),
        queries=sum(b.queries.numel() for b in fused),
        keys=sum(b.keys.numel() for b in fused),
        scores=pairs - by_kernel,
        fused=by_kernel,
    )


def _sum(parts: Sequence[Part]) -> Part:
    total = Part()
    for part in parts:
        total += part
    return total
