"""Attention over a forest: each block of nodes sees its ancestors and itself, nothing else.

Registered with transformers under `NAME`, so a model's own layers call it; the forest comes as a keyword of the
model's forward. No cache takes part, so the keys and values of a shared prefix carry gradient like any others.
Exact for layers that are attention alone; `obstacle` names the others. On a processor the forest's blocks are padded
groups of ordinary attention; on a GPU it is one fused kernel (`flex`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from prentice.errors import TrainingError
from prentice.training.forest import Blocks, Forest

NAME = "prentice_forest"
EXACT_LAYERS = {"full_attention", "sliding_attention"}
RECURRENT = ("mamba", "rwkv", "recurrent", "deltanet", "shortconv", "linearattention", "lightningattention")
SMALL = 128 * 256
"""Scores per block and head up to which plain matrix products beat the fused kernel (measured on a CPU)."""


def forest_attention(  # the signature is transformers' contract
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    forest: Forest | None = None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend over a forest.

    Args:
        module: the layer that calls.
        query: (1, heads, nodes, width); key and value: (1, kv heads, nodes, width).
        attention_mask: unused; who sees whom is the forest's business.
        forest: the batch.
        scaling: factor on the scores.
        settings: `sliding_window` and `softcap` are honoured, `s_aux` (attention sinks) is refused.
    Returns: (1, nodes, heads, width), and no weights.
    Raises: TrainingError if the architecture does not hand the forest down or uses sinks.
    """
    del attention_mask
    if forest is None or settings.get("s_aux") is not None:
        raise TrainingError(f"{type(module).__name__}: prefix sharing is not exact for this attention")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window, cap = settings.get("sliding_window"), settings.get("softcap")
    if query.is_cuda:
        from prentice.training.flex import flex

        return flex(query, key, value, forest, scale=scale, window=window, cap=cap).transpose(1, 2), None
    return _in_groups(query, key, value, forest, scale, window, cap), None


def _in_groups(
    query: Tensor, key: Tensor, value: Tensor, forest: Forest, scale: float, window: int | None, cap: float | None
) -> Tensor:
    with torch.autocast(query.device.type, enabled=False):
        # scores in float32 whatever the weights are: cheap beside the linear layers, and bfloat16 kernels are slow here
        q, k, v = (x[0].transpose(0, 1).float() for x in (query, key, value))
        answers = [_group(q, k, v, b, scale, window, cap) for b in forest.blocks]
        merged = torch.cat(answers).index_select(0, forest.order)
    return merged.to(query.dtype).unsqueeze(0)


def _group(q: Tensor, k: Tensor, v: Tensor, b: Blocks, scale: float, window: int | None, cap: float | None) -> Tensor:
    if b.lone is not None and window is None and cap is None:
        asked, keys, values = (x.narrow(0, b.lone, len(b.nodes)) for x in (q, k, v))
        return _lone(asked, keys, values, scale)
    if _fused(b, cap):
        return _attend(q, k, v, b, scale, window, cap)
    # what is gathered and the weights are made again on the way back, as the fused kernel does: they would be a fourth
    # of all that a step holds, and cost less to make than to fetch
    result: Tensor = checkpoint(_attend, q, k, v, b, scale, window, cap, use_reentrant=False, preserve_rng_state=False)
    return result


def _lone(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """A run that sees itself alone: the kernel leaves out what lies above the diagonal."""
    asked, keys, values = (x.transpose(0, 1)[None] for x in (q, k, v))
    grouped = asked.shape[1] != keys.shape[1]
    out = F.scaled_dot_product_attention(asked, keys, values, is_causal=True, scale=scale, enable_gqa=grouped)
    return out[0].transpose(0, 1)


def _fused(b: Blocks, cap: float | None) -> bool:
    return cap is None and b.queries.shape[1] * b.keys.shape[1] > SMALL


def _attend(q: Tensor, k: Tensor, v: Tensor, b: Blocks, scale: float, window: int | None, cap: float | None) -> Tensor:
    blocks, width = b.queries.shape
    reach = b.keys.shape[1]
    heads, kv = q.shape[1], k.shape[1]
    asked = q.index_select(0, b.queries.flatten()).view(blocks, width, heads, -1).transpose(1, 2)
    keys = k.index_select(0, b.keys.flatten()).view(blocks, reach, kv, -1).transpose(1, 2)
    values = v.index_select(0, b.keys.flatten()).view(blocks, reach, kv, -1).transpose(1, 2)
    distance = b.positions[:, :, None] - torch.arange(reach, device=q.device)
    seen = distance >= 0 if window is None else (distance >= 0) & (distance < window)
    if _fused(b, cap):
        out = F.scaled_dot_product_attention(
            asked, keys, values, attn_mask=seen[:, None], scale=scale, enable_gqa=heads != kv
        )
    else:
        out = _plain(asked, keys, values, seen, scale, cap)
    return out.transpose(1, 2).flatten(0, 1).index_select(0, b.slots)


def _plain(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, scale: float, cap: float | None) -> Tensor:
    blocks, heads, width, size = q.shape
    kv = k.shape[1]
    # query heads that share a key head are one taller matrix: keys are never repeated
    tall = (q * scale).reshape(blocks, kv, heads // kv * width, size)
    scores = (tall @ k.transpose(2, 3)).view(blocks, kv, heads // kv, width, -1)
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    weights = scores.masked_fill(~seen[:, None, None], float("-inf")).softmax(-1)
    return (weights.view(blocks, kv, heads // kv * width, -1) @ v).view(blocks, heads, width, size)


def obstacle(model: Any) -> str:
    """What in a model makes sharing a prefix inexact, in words that name it; empty if nothing does."""
    reason = _obstacle(model)
    return f"{model.config.model_type}: {reason}" if reason else ""


def _obstacle(model: Any) -> str:
    config = model.config
    others = sorted(set(getattr(config, "layer_types", None) or ()) - EXACT_LAYERS)
    if others:
        return f"it has {', '.join(others)} layers"
    for module in model.modules():
        name = type(module).__name__
        if isinstance(module, nn.Conv1d) or any(word in name.lower() for word in RECURRENT):
            return f"it has {name} layers"
        if hasattr(module, "sinks"):
            return "its attention has sinks"
    if getattr(config, "use_bidirectional_attention", None):
        return "its attention is bidirectional"
    if not getattr(model, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    return ""


AttentionInterface.register(NAME, forest_attention)
