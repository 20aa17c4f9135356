"""A batch as a forest: every token prefix that rows have in common is one node, computed once.

Rows are laid out flat: `ids` holds each distinct (prefix, token) once, parents before children, with its position in
its row. Linear layers, norms and activations then see no padding and no repetition; only attention needs to know who
sees whom, and for that the nodes are cut into blocks: runs of nodes with one path of ancestors. A model in which
prefixes cannot be shared takes the same rows side by side and padded. This module knows tokens only: neither models
nor losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

LONG = 8
"""Shared tokens from which a block of their own pays."""
NEAR = 1.4
"""How many times longer a run, or what it sees, may be than the shortest of its group."""
LONE = 192
"""Tokens from which a run that stands at the root is a group by itself: it sees a triangle, and needs no mask."""
MOST = 64
"""Blocks in one padded group: bounds the memory that attention holds at once."""


@dataclass(frozen=True)
class Row:
    """A token sequence to learn from; `prompt` is context, every token of `reply` is supervised."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    weight: float = 1.0
    given: Mapping[str, tuple[float, ...] | Tensor] = field(default_factory=dict)
    """What a loss needs to know besides for each supervised token: a number, such as a reference's log-probability, or
    several, as a tensor (supervised, ...)."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole sequence."""
        return self.prompt + self.reply

    def beginning(self, tokens: int) -> Row:
        """A row of at most so many tokens: of a longer one the beginnings of prompt and reply, at least half prompt."""
        if len(self.tokens) <= tokens:
            return self
        prompt = self.prompt[: max(tokens // 2, tokens - len(self.reply))]
        taught = tokens - len(prompt)
        given = {name: values[:taught] for name, values in self.given.items()}
        return replace(self, prompt=prompt, reply=self.reply[:taught], given=given)


@dataclass(frozen=True)
class Blocks:
    """Blocks of about equal length, padded to one shape.

    Args:
        queries: int64 (blocks, longest run); the nodes that ask, padded with the run's last node.
        keys: int64 (blocks, longest path); the run's ancestors from the root on, then the run, padded with node 0.
        positions: int64 (blocks, longest run); position in the row of each query, so key j is seen when j <= position.
        slots: int64 (nodes of the group,); where in the flattened (blocks * longest run) each node's answer lies.
        nodes: int64 (nodes of the group,); which node that is.
        lone: first node of the only run, if it stands at the root; its nodes follow each other, and are its keys.
    """

    queries: Tensor
    keys: Tensor
    positions: Tensor
    slots: Tensor
    nodes: Tensor
    lone: int | None = None


@dataclass(frozen=True)
class Batch:
    """Rows on their way through a model, however they are laid out; what losses know of them.

    Args:
        ids: int64; the tokens that are computed.
        sources: int64 (supervised,); where, in the flattened `ids`, the hidden state lies that predicts each token.
        targets: int64 (supervised,); those tokens, row after row.
        rows: int64 (supervised,); index of the row each belongs to.
        weights: float32 (supervised,).
        given: float32 (supervised,) each, or as the rows' tensors are; what the rows' `given` says.
    """

    ids: Tensor
    sources: Tensor
    targets: Tensor
    rows: Tensor
    weights: Tensor
    given: Mapping[str, Tensor]


@dataclass(frozen=True)
class Forest(Batch):
    """A batch that shares prefixes.

    Args:
        ids, positions: int64 (nodes,).
        blocks: who sees whom.
        order: int64 (nodes,); puts the blocks' answers, group after group, back into node order.
    """

    positions: Tensor
    blocks: tuple[Blocks, ...]
    order: Tensor

    @cached_property
    def ends(self) -> Tensor:
        """int64 (nodes,): the last node below each; node j is seen by i when j <= i <= ends[j]."""
        depths = self.positions.tolist()
        ends, open_ = [len(depths) - 1] * len(depths), list[int]()
        for node, depth in enumerate(depths):
            while open_ and depths[open_[-1]] >= depth:
                ends[open_.pop()] = node - 1
            open_.append(node)
        return torch.tensor(ends, device=self.ids.device)

    @cached_property
    def masks(self) -> dict[int | None, Any]:
        """Block masks of flex attention, by sliding window: made by the first layer that needs one."""
        return {}


@dataclass(frozen=True)
class Padded(Batch):
    """A batch of rows side by side.

    Args:
        ids, mask: int64 (rows, longest row); filled up on the right, where `mask` is 0.
        plain: to be computed as everybody does it, the whole vocabulary at every token: the reference.
    """

    mask: Tensor
    plain: bool = False


B = TypeVar("B", Batch, Blocks, Forest, Padded)


def on_device(batch: B, device: torch.device | str) -> B:
    """The same batch with its tensors on a device."""
    return replace(batch, **{f.name: _moved(getattr(batch, f.name), device) for f in fields(batch)})


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Blocks):
        return on_device(value, device)
    if isinstance(value, tuple):
        return tuple(_moved(each, device) for each in value)
    return {name: each.to(device) for name, each in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class _Run:
    """A chain of nodes start..stop (excluded) under `path`, the nodes from the root to its parent."""

    start: int
    stop: int
    path: tuple[int, ...]

    @property
    def scale(self) -> int:
        """The same for runs of about the same length, and for all that are short."""
        return round(math.log(max(LONG, self.stop - self.start), NEAR))

    @property
    def lone(self) -> bool:
        """Whether it is a group by itself."""
        return not self.path and self.stop >= self.start + LONE

    @property
    def reach(self) -> int:
        return len(self.path) + self.stop - self.start

    def is_like(self, first: _Run) -> bool:
        """Whether it may be padded together with a shorter one."""
        alike = self.scale == first.scale and self.reach <= LONG + NEAR * first.reach
        return alike and not (self.lone or first.lone)


def plant(rows: Sequence[Row]) -> Forest:
    """Lay rows out as a forest that shares every common prefix.

    Args:
        rows: at least one; each with at least one prompt token and one supervised token.
    """
    ids, positions, paths, runs = _grow(rows)
    blocks = tuple(_pad(group) for group in _groups(runs))
    sources = [
        node
        for row, path in zip(rows, paths, strict=True)
        for node in path[len(row.prompt) - 1 : len(row.prompt) - 1 + len(row.reply)]
    ]
    return Forest(
        ids=torch.tensor(ids),
        positions=torch.tensor(positions),
        blocks=blocks,
        order=torch.argsort(torch.cat([b.nodes for b in blocks])),
        sources=torch.tensor(sources),
        **_taught(rows),
    )


def pad(rows: Sequence[Row], *, plain: bool = False) -> Padded:
    """Lay rows out side by side, each filled up to the longest.

    Args:
        rows: as for `plant`.
        plain: see `Padded`.
    """
    width = max(len(row.tokens) for row in rows)
    sources = [
        index * width + place
        for index, row in enumerate(rows)
        for place in range(len(row.prompt) - 1, len(row.tokens) - 1)
    ]
    return Padded(
        ids=torch.tensor([[*row.tokens] + [0] * (width - len(row.tokens)) for row in rows]),
        mask=torch.tensor([[1] * len(row.tokens) + [0] * (width - len(row.tokens)) for row in rows]),
        plain=plain,
        sources=torch.tensor(sources),
        **_taught(rows),
    )


def _taught(rows: Sequence[Row]) -> dict[str, Any]:
    """What a batch says of its supervised tokens, row after row."""
    lengths = torch.tensor([len(row.reply) for row in rows])
    weights = torch.tensor([row.weight for row in rows], dtype=torch.float32)
    given = {name: _together([row.given[name] for row in rows]) for name in rows[0].given}
    return {
        "targets": torch.tensor([token for row in rows for token in row.reply]),
        "rows": torch.arange(len(rows)).repeat_interleave(lengths),
        "weights": weights.repeat_interleave(lengths),
        "given": given,
    }


def _together(given: Sequence[tuple[float, ...] | Tensor]) -> Tensor:
    """What rows say under one name, row after row."""
    tensors = [each for each in given if isinstance(each, Tensor)]
    return torch.cat(tensors) if tensors else torch.tensor([x for row in given for x in row])


def _grow(rows: Sequence[Row]) -> tuple[list[int], list[int], list[tuple[int, ...]], list[_Run]]:
    """Nodes in an order where parents come first, each row's path of nodes, and the runs, shortest reach first."""
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    # the last token of a row predicts nothing, so it is no node
    inputs = [rows[i].tokens[:-1] for i in order]
    shared = [0, *(common_beginning(a, b) for a, b in pairwise(inputs)), 0]
    ids: list[int] = []
    positions: list[int] = []
    paths: list[tuple[int, ...]] = [()] * len(rows)
    runs: list[_Run] = []
    path: tuple[int, ...] = ()
    for place, index in enumerate(order):
        path = path[: shared[place]]
        begin, end = len(path), len(inputs[place])
        # the part that the next row shares too gets a block of its own where it is long: in one block with this
        # row's tail it would make a run far longer than its neighbours, and those would be padded to it
        fork = min(shared[place + 1], end)
        middle = [fork] if fork - begin >= LONG else []
        for low, high in pairwise([begin, *middle, end]):
            start = len(ids)
            ids += inputs[place][low:high]
            positions += range(low, high)
            if high > low:
                run = _Run(start, len(ids), path)
                # a conversation from its first turn to its last is one run, unless another begins where a turn ends
                if low == begin != shared[place + 1] and _goes_on(runs, run):
                    run = _Run(runs.pop().start, run.stop, ())
                runs.append(run)
            path += tuple(range(start, len(ids)))
        paths[index] = path
    return ids, positions, paths, runs


def _goes_on(runs: Sequence[_Run], run: _Run) -> bool:
    """Whether a run begins where the last one, at the root, has ended."""
    return bool(runs) and not runs[-1].path and runs[-1].stop == run.start == len(run.path) + runs[-1].start


def _groups(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Runs of about equal length together, so that little is padded."""
    groups: list[list[_Run]] = []
    for run in sorted(runs, key=lambda r: (r.scale, r.reach)):
        first = groups[-1][0] if groups else None
        if first is None or not run.is_like(first) or len(groups[-1]) == MOST:
            groups.append([])
        groups[-1].append(run)
    return groups


def common_beginning(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Tokens at the beginning that both have."""
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
        lone=runs[0].start if runs[0].lone else None,
    )
