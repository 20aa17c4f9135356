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
    with pages_kept():
        return _pace(parts, lambda part: _score(model, part)), _pace(parts, lambda part: _learn(model, part))


def _score(model: ForestModel, part: Sequence[Item]) -> None:
    with torch.no_grad():
        model(model.batch([item.row for item in part]))


def _learn(model: ForestModel, part: Sequence[Item]) -> None:
    batch = model.batch([item.row for item in part])
    sft_loss(model(batch), batch).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)


def _pace(parts: Sequence[Sequence[Item]], work: Callable[[Sequence[Item]], None]) -> float:
    """Seconds per row, over as many parts as fit into `LONG_ENOUGH`; the first is computed once before, for warmth."""
    work(parts[0])
    begun, rows = time.perf_counter(), 0
    # from the middle outwards would be fairer to one part alone; over several lengths it does not matter
    for part in parts:
        work(part)
        rows += len(part)
        if time.perf_counter() - begun > LONG_ENOUGH:
            break
    return (time.perf_counter() - begun) / rows
