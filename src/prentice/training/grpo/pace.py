"""How long learning from rows takes on this machine, measured on a few of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from prentice.training.batches import micro_batches
from prentice.training.engine import ForestModel
from prentice.training.grpo.config import GRPOConfig
from prentice.training.items import Item
from prentice.training.losses import sft_loss
from prentice.training.pages import pages_kept
from prentice.training.start import open_model

LONG_ENOUGH = 3.0
"""Seconds after which a pace is known well enough."""


def seconds_per_row(config: GRPOConfig, base: Path, rows: Sequence[Item]) -> tuple[float, float]:
    """Seconds to score a row, and to learn from one: the forward pass, and both ways."""
    model = open_model(config, base)
    tokens = config.on(gpu=model.device.type == "cuda").micro_tokens
    parts = micro_batches(rows, tokens, padded=bool(model.obstacle))
    sizes = [model.batch([item.row for item in part]).ids.numel() for part in parts]
    with pages_kept():
        score = _pace(parts, sizes, lambda part: _score(model, part))
        learn = _pace(parts, sizes, lambda part: _learn(model, part))
    return score * sum(sizes) / len(rows), learn * sum(sizes) / len(rows)


def _score(model: ForestModel, part: Sequence[Item]) -> None:
    with torch.no_grad():
        model(model.batch([item.row for item in part]))


def _learn(model: ForestModel, part: Sequence[Item]) -> None:
    batch = model.batch([item.row for item in part])
    sft_loss(model(batch), batch).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)


def _pace(parts: Sequence[Sequence[Item]], sizes: Sequence[int], work: Callable[[Sequence[Item]], None]) -> float:
    """Seconds per token that is computed, over as many parts as fit into `LONG_ENOUGH`, from the middle one outwards:
    they lie by length, and what is short shares most. The first is computed once before, for warmth."""
    places = sorted(range(len(parts)), key=lambda place: abs(place - len(parts) // 2))
    work(parts[places[0]])
    begun, tokens = time.perf_counter(), 0
    for place in places:
        work(parts[place])
        tokens += sizes[place]
        if time.perf_counter() - begun > LONG_ENOUGH:
            break
    return (time.perf_counter() - begun) / tokens
