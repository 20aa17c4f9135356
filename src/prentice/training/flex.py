"""Attention over a forest on a GPU: one fused kernel with a mask in blocks, for what `attention` does group by group.

The nodes stand in an order in which everything below a node follows it at once, so that who sees whom is two
comparisons, and whole blocks of the mask are known to be empty before a kernel runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from prentice.training.forest import Forest


def flex(
    q: Tensor, k: Tensor, v: Tensor, forest: Forest, *, scale: float, window: int | None, cap: float | None
) -> Tensor:
    """Attend over a forest.

    Args:
        q: (1, heads, nodes, width); k and v: (1, kv heads, nodes, width).
        scale: factor on the scores.
        window: how far back a node sees, itself included; None: to the root.
        cap: scores are bent to lie within ± cap.
    Returns: (1, heads, nodes, width).
    """
    if window not in forest.masks:
        forest.masks[window] = _mask(forest, window)

    # where all sizes are dynamic, so are a cap and a window: torch's way back fails on such, see docs/log.md
    kernel = _compiled(dynamic=True if cap is window is None else None) if q.is_cuda else flex_attention
    bend = None if cap is None else _bent(cap)
    grouped = q.shape[1] != k.shape[1]
    out: Tensor = kernel(q, k, v, score_mod=bend, block_mask=forest.masks[window], scale=scale, enable_gqa=grouped)
    return out


@cache
def _bent(cap: float) -> Callable[..., Tensor]:
    """What bends scores: one function for a cap, since the kernel is compiled anew for every other function."""

    def bend(score: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(score / cap) * cap

    return bend


def _mask(forest: Forest, window: int | None) -> BlockMask:
    ends, positions, nodes = forest.ends, forest.positions, len(forest.ids)

    def sees(_b: Tensor, _h: Tensor, asks: Tensor, seen: Tensor) -> Tensor:
        below = (seen <= asks) & (asks <= ends[seen])
        return below if window is None else below & (positions[asks] - positions[seen] < window)

    return create_block_mask(sees, None, None, nodes, nodes, device=str(forest.ids.device))


@cache
def _compiled(*, dynamic: bool | None) -> Any:
    return torch.compile(flex_attention, dynamic=dynamic)
