"""Every run proves itself: one micro-batch's gradient over the forest against that of the plain padded batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from prentice.errors import TrainingError
from prentice.training.engine import ForestModel, padded_logprobs
from prentice.training.forest import Row, plant

LIMIT = 1e-5
"""Largest relative difference accepted in float32."""
NOISE = 1.25
"""In bfloat16 both batches are rounded differently; the forest may be this much further from float32 than padding."""


def gradient_difference(model: ForestModel, rows: Sequence[Row]) -> float:
    """Relative difference of the two gradients over all trained weights: |forest - padded| / |padded|.

    Leaves no gradient behind.
    """
    ours, padded = _forest(model, rows), _padded(model, rows)
    return _relative(ours, padded)


def prove(model: ForestModel, rows: Sequence[Row]) -> float:
    """Compare one micro-batch and return the difference that was found.

    In float32 it is the difference to the padded batch; in bfloat16 the distance to float32, as a multiple of the
    padded batch's own.
    Raises: TrainingError above `LIMIT` or `NOISE`: this architecture does not do what the engine takes for granted.
    """
    if not model.narrow:
        found, limit, what = gradient_difference(model, rows), LIMIT, "differs from the padded batch's by"
    else:
        ours, padded = _forest(model, rows), _padded(model, rows)
        with _in_float32(model):
            exact = _padded(model, rows)
        found, limit = _relative(ours, exact) / max(_relative(padded, exact), 1e-12), NOISE
        what = "in bfloat16 is further from float32 than the padded batch's by a factor of"
    if not found <= limit:
        raise TrainingError(
            f"{model.causal.config.model_type}: the gradient with shared prefixes {what} {found:.2g} (limit {limit})",
            "this architecture cannot be trained here; take another base",
        )
    return found


def _forest(model: ForestModel, rows: Sequence[Row]) -> Tensor:
    forest = plant(rows).to(model.device)
    return _gradient(model, lambda: (model(forest) * forest.weights).sum() / forest.weights.sum())


def _padded(model: ForestModel, rows: Sequence[Row]) -> Tensor:
    weights = torch.tensor([row.weight for row in rows for _ in row.reply], device=model.device)
    plain = [(list(row.tokens), len(row.reply)) for row in rows]
    return _gradient(model, lambda: (padded_logprobs(model, plain) * weights).sum() / weights.sum())


def _gradient(model: ForestModel, loss: Callable[[], Tensor]) -> Tensor:
    model.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    parts = [p.grad.flatten().float() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return torch.cat(parts)


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@contextmanager
def _in_float32(model: ForestModel) -> Iterator[None]:
    """Compute in float32 for a moment; frozen bfloat16 weights come back unchanged, since the way there is exact."""
    narrow = [p for p in model.parameters() if p.dtype == torch.bfloat16]
    for parameter in narrow:
        parameter.data = parameter.data.float()
    model.narrow = False
    try:
        yield
    finally:
        model.narrow = True
        for parameter in narrow:
            parameter.data = parameter.data.bfloat16()
