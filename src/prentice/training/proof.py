"""Every run proves itself: one micro-batch's gradient over the forest against that of the plain padded batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from prentice.errors import TrainingError
from prentice.training.engine import ForestModel
from prentice.training.forest import Batch, Row, on_device, pad

LIMIT = 1e-5
"""Largest relative difference accepted in float32."""
ROUNDING, MOST = 2.0, 1e-3
"""Above it the forest may be so many times as far from float64 as the padded batch is, and the two so far apart."""
NOISE = 1.25
"""In bfloat16 both batches are rounded differently; the forest may be this much further from float32 than padding."""


def gradient_difference(model: ForestModel, rows: Sequence[Row], through: nn.Module | None = None) -> float:
    """Relative difference of the two gradients over all trained weights: |forest - padded| / |padded|.

    Leaves no gradient behind.
    """
    ours, padded = _forest(model, rows, through), _padded(model, rows, through)
    return _relative(ours, padded)


def prove(model: ForestModel, rows: Sequence[Row], *, through: nn.Module | None = None) -> float:
    """Compare one micro-batch and return the difference that was found.

    In float32 it is the difference to the padded batch; in bfloat16 the distance to float32, as a multiple of the
    padded batch's own.

    Args:
        through: the wrapper that synchronises the model with other processes, where there is one.
    Raises: TrainingError above `LIMIT`, where rounding does not explain it, or above `NOISE`: this architecture does
        not do what the engine takes for granted.
    """
    ours, padded = _forest(model, rows, through), _padded(model, rows, through)
    if not model.narrow:
        found = _relative(ours, padded)
        alone = through is None or through is model  # what synchronises gradients is made for float32
        if not found <= LIMIT and not (alone and found <= MOST and _only_rounded(model, rows, ours, padded)):
            raise _unfit(model, f"differs from the padded batch's by {found:.2g} (limit {LIMIT})")
        return found
    with _in_float32(model):
        exact = _padded(model, rows, through)
    found = _relative(ours, exact) / max(_relative(padded, exact), 1e-12)
    if not found <= NOISE:
        raise _unfit(
            model,
            f"in bfloat16 is further from float32 than the padded batch's by a factor of {found:.2g} (limit {NOISE})",
        )
    return found


def _only_rounded(model: ForestModel, rows: Sequence[Row], ours: Tensor, padded: Tensor) -> bool:
    """Whether the padded batch is about as far from float64 as the forest is: replies that a student drew itself pull
    nowhere on average, and what is left of their gradient may be smaller than its rounding."""
    with _in_float64(model):
        exact = _padded(model, rows, None)
    return _relative(ours, exact) <= ROUNDING * _relative(padded, exact)


def _unfit(model: ForestModel, reason: str) -> TrainingError:
    return TrainingError(
        f"{model.causal.config.model_type}: the gradient with shared prefixes {reason}",
        "this architecture cannot be trained here; take another base",
    )


def _forest(model: ForestModel, rows: Sequence[Row], through: nn.Module | None) -> Tensor:
    return _gradient(through or model, model.batch(rows))


def _padded(model: ForestModel, rows: Sequence[Row], through: nn.Module | None) -> Tensor:
    return _gradient(through or model, on_device(pad(rows, plain=True), model.device))


def _gradient(model: nn.Module, batch: Batch) -> Tensor:
    model.zero_grad(set_to_none=True)
    loss = (model(batch) * batch.weights).sum() / batch.weights.sum()
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    whole = (g.full_tensor() if isinstance(g, DTensor) else g for g in grads)
    parts = [g.flatten().to(torch.promote_types(g.dtype, torch.float32)) for g in whole]
    model.zero_grad(set_to_none=True)
    return torch.cat(parts)


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@contextmanager
def _in_float32(model: ForestModel) -> Iterator[None]:
    """Compute in float32 for a moment; frozen bfloat16 weights come back unchanged, since the way there is exact.

    Weights in 4 bits stay packed: their layers are told to unpack them for products in float32.
    """
    four = [m for m in model.modules() if hasattr(getattr(m, "weight", None), "quant_state")]
    packed = {id(m.weight) for m in four}
    narrow = [p for p in model.parameters() if p.dtype == torch.bfloat16 and id(p) not in packed]
    _set_dtype(narrow, four, torch.float32)
    model.narrow = False
    try:
        yield
    finally:
        model.narrow = True
        _set_dtype(narrow, four, torch.bfloat16)


@contextmanager
def _in_float64(model: ForestModel) -> Iterator[None]:
    """Compute in float64 for a moment; weights come back unchanged, since the way there is exact."""
    plain = [p for p in model.parameters() if p.dtype == torch.float32]
    _set_dtype(plain, (), torch.float64)
    try:
        yield
    finally:
        _set_dtype(plain, (), torch.float32)


def _set_dtype(plain: Sequence[nn.Parameter], four: Sequence[Any], dtype: torch.dtype) -> None:
    for parameter in plain:
        parameter.data = parameter.data.to(dtype)
    for layer in four:
        layer.compute_dtype = dtype
