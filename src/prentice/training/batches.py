"""Which rows a step learns from, and how they are cut into parts that fit into memory, for one process or several.

Everything here follows from seed and step alone, so that a resumed run, on however many processes, sees the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from prentice.training.check import CheckedRow
from prentice.training.forest import Row


def order(rows: Sequence[CheckedRow], seed: int, epoch: int, *, by_weight: bool) -> list[int]:
    """The order of the rows in one pass; drawn by weight, with repetition, a pass has as many rows as any other."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    if by_weight:
        weights = torch.tensor([row.row.weight for row in rows], dtype=torch.float64)
        return torch.multinomial(weights, len(rows), replacement=True, generator=generator).tolist()
    return torch.randperm(len(rows), generator=generator).tolist()


def micro_batches(rows: Sequence[CheckedRow], tokens: int) -> list[list[CheckedRow]]:
    """Cut rows, sorted by length, into parts that compute at most `tokens` tokens at once (but at least one row).

    The prefix that all rows share is counted once a part.
    """
    ordered = _by_length(rows)
    shared = _shared([r.row for r in rows])
    parts: list[list[CheckedRow]] = []
    room = 0
    for row in ordered:
        own = len(row.row.tokens) - shared
        if not parts or own > room:
            parts.append([])
            room = tokens - shared
        parts[-1].append(row)
        room -= own
    return parts


def shares(rows: Sequence[CheckedRow], tokens: int, processes: int) -> list[list[list[CheckedRow]]]:
    """For each process the parts it computes, as many for each: all of them must take part in every exchange.

    Lengths are dealt out evenly; who has fewer parts computes a row again that weighs nothing.
    """
    ordered = _by_length(rows)
    idle = ordered[0]
    idle = replace(idle, row=replace(idle.row, weight=0.0))
    dealt = [ordered[rank::processes] for rank in range(processes)]
    cut = [micro_batches(mine, tokens) if mine else [] for mine in dealt]
    most = max(len(parts) for parts in cut)
    return [parts + [[idle]] * (most - len(parts)) for parts in cut]


def _by_length(rows: Sequence[CheckedRow]) -> list[CheckedRow]:
    return sorted(rows, key=lambda r: (len(r.row.tokens), r.row.tokens))


def _shared(rows: Sequence[Row]) -> int:
    low, high = min(r.tokens for r in rows), max(r.tokens for r in rows)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
