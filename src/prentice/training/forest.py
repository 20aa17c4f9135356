"""A batch as a forest: every token prefix that rows have in common is one node, computed once.

Rows are laid out flat: `ids` holds each distinct (prefix, token) once, parents before children, with its position in
its row. Linear layers, norms and activations then see no padding and no repetition; only attention needs to know who
sees whom, and for that the nodes are cut into blocks: runs of nodes with one path of ancestors. This module knows
tokens only: neither models nor losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

LONG = 8
"""Shared tokens from which a block of their own pays."""
MOST = 64
"""Blocks in one padded group: bounds the memory that attention holds at once."""


@dataclass(frozen=True)
class Row:
    """A token sequence to learn from; `prompt` is context, every token of `reply` is supervised."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    weight: float = 1.0

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole sequence."""
        return self.prompt + self.reply


@dataclass(frozen=True)
class Blocks:
    """Blocks of about equal length, padded to one shape.

    Args:
        queries: int64 (blocks, longest run); the nodes that ask, padded with the run's last node.
        keys: int64 (blocks, longest path); the run's ancestors from the root on, then the run, padded with node 0.
        positions: int64 (blocks, longest run); position in the row of each query, so key j is seen when j <= position.
        slots: int64 (nodes of the group,); where in the flattened (blocks * longest run) each node's answer lies.
        nodes: int64 (nodes of the group,); which node that is.
    """

    queries: Tensor
    keys: Tensor
    positions: Tensor
    slots: Tensor
    nodes: Tensor


@dataclass(frozen=True)
class Forest:
    """A batch of rows, laid out flat.

    Args:
        ids, positions: int64 (nodes,).
        blocks: who sees whom.
        order: int64 (nodes,); puts the blocks' answers, group after group, back into node order.
        sources: int64 (supervised,); the node whose hidden state predicts each supervised token.
        targets: int64 (supervised,); those tokens.
        rows: int64 (supervised,); index of the row each belongs to.
        weights: float32 (supervised,).
    """

    ids: Tensor
    positions: Tensor
    blocks: tuple[Blocks, ...]
    order: Tensor
    sources: Tensor
    targets: Tensor
    rows: Tensor
    weights: Tensor

    def to(self, device: torch.device | str) -> Forest:
        """The same forest on a device."""
        return Forest(
            ids=self.ids.to(device),
            positions=self.positions.to(device),
            blocks=tuple(_move(b, device) for b in self.blocks),
            order=self.order.to(device),
            sources=self.sources.to(device),
            targets=self.targets.to(device),
            rows=self.rows.to(device),
            weights=self.weights.to(device),
        )


@dataclass(frozen=True)
class _Run:
    """A chain of nodes start..stop (excluded) under `path`, the nodes from the root to its parent."""

    start: int
    stop: int
    path: tuple[int, ...]

    @property
    def reach(self) -> int:
        return len(self.path) + self.stop - self.start


def plant(rows: Sequence[Row]) -> Forest:
    """Lay rows out as a forest that shares every common prefix.

    Args:
        rows: at least one; each with at least one prompt token and one supervised token.
    """
    ids, positions, paths, runs = _grow(rows)
    blocks = tuple(_pad(group) for group in _groups(runs))
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    weights: list[float] = []
    for index, (row, path) in enumerate(zip(rows, paths, strict=True)):
        first = len(row.prompt)
        sources += path[first - 1 : first - 1 + len(row.reply)]
        targets += row.reply
        owners += [index] * len(row.reply)
        weights += [row.weight] * len(row.reply)
    return Forest(
        ids=torch.tensor(ids),
        positions=torch.tensor(positions),
        blocks=blocks,
        order=torch.argsort(torch.cat([b.nodes for b in blocks])),
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        rows=torch.tensor(owners),
        weights=torch.tensor(weights, dtype=torch.float32),
    )


def _grow(rows: Sequence[Row]) -> tuple[list[int], list[int], list[tuple[int, ...]], list[_Run]]:
    """Nodes in an order where parents come first, each row's path of nodes, and the runs, shortest reach first."""
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    # the last token of a row predicts nothing, so it is no node
    inputs = [rows[i].tokens[:-1] for i in order]
    shared = [0, *(_common(a, b) for a, b in pairwise(inputs)), 0]
    ids: list[int] = []
    positions: list[int] = []
    paths: list[tuple[int, ...]] = [()] * len(rows)
    runs: list[_Run] = []
    path: tuple[int, ...] = ()
    for place, index in enumerate(order):
        path = path[: shared[place]]
        # the part that the next row shares too gets a block of its own where it is long: in one block with this
        # row's tail it would make a run far longer than its neighbours, and those would be padded to it
        fork = min(shared[place + 1], len(inputs[place]))
        middle = [fork] if fork - len(path) >= LONG else []
        for low, high in pairwise([len(path), *middle, len(inputs[place])]):
            start = len(ids)
            ids += inputs[place][low:high]
            positions += range(low, high)
            if high > low:
                runs.append(_Run(start, len(ids), path))
            path += tuple(range(start, len(ids)))
        paths[index] = path
    return ids, positions, paths, runs


def _groups(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Runs of about equal length together, so that little is padded."""
    groups: list[list[_Run]] = []
    for run in sorted(runs, key=lambda r: (r.stop - r.start, r.reach)):
        first = groups[-1][0] if groups else None
        if first is None or run.stop - run.start > 4 + 1.5 * (first.stop - first.start) or len(groups[-1]) == MOST:
            groups.append([])
        groups[-1].append(run)
    return groups


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _pad(runs: Sequence[_Run]) -> Blocks:
    width = max(r.stop - r.start for r in runs)
    reach = max(r.reach for r in runs)
    nodes = [list(range(r.start, r.stop)) for r in runs]
    queries = [n + [n[-1]] * (width - len(n)) for n in nodes]
    keys = [[*r.path, *n] + [0] * (reach - r.reach) for r, n in zip(runs, nodes, strict=True)]
    positions = [[min(len(r.path) + i, r.reach - 1) for i in range(width)] for r in runs]
    return Blocks(
        queries=torch.tensor(queries),
        keys=torch.tensor(keys),
        positions=torch.tensor(positions),
        slots=torch.tensor([b * width + i for b, n in enumerate(nodes) for i in range(len(n))]),
        nodes=torch.tensor([node for n in nodes for node in n]),
    )


def _move(blocks: Blocks, device: torch.device | str) -> Blocks:
    return Blocks(
        queries=blocks.queries.to(device),
        keys=blocks.keys.to(device),
        positions=blocks.positions.to(device),
        slots=blocks.slots.to(device),
        nodes=blocks.nodes.to(device),
    )
