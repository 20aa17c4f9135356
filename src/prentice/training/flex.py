"""Attention over a forest on a GPU: one fused kernel with a mask in blocks, for what `attention` does group by group.

The nodes stand in an order in which everything below a node follows it at once, so that who sees whom is two
comparisons, and whole blocks of the mask are known to be empty before a kernel runs.
"""

from __future__ import annotations

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

    def bend(score: Tensor, *_: Tensor) -> Tensor:
        return score if cap is None else torch.tanh(score / cap) * cap

    kernel = _compiled() if q.is_cuda else flex_attention
    grouped = q.shape[1] != k.shape[1]
    out: Tensor = kernel(q, k, v, score_mod=bend, block_mask=forest.masks[window], scale=scale, enable_gqa=grouped)
    return out


def _mask(forest: Forest, window: int | None) -> BlockMask:
    ends, positions, nodes = forest.ends, forest.positions, len(forest.ids)

    def sees(_b: Tensor, _h: Tensor, asks: Tensor, seen: Tensor) -> Tensor:
        below = (seen <= asks) & (asks <= ends[seen])
        return below if window is None else below & (positions[asks] - positions[seen] < window)

    return create_block_mask(sees, None, None, nodes, nodes, device=str(forest.ids.device))


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)
