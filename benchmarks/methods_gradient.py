"""How far the gradient of each method's loss over the forest is from that of the plain padded batch, on real rows.

Equality with TRL's losses is tested on small models: tests/test_preference_trl.py, test_training_grpo_trl.py,
test_distill_heads.py, test_training_trl.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

import engine_rows
from engine_gradient import stir, worst_row
from methods_preference import pair_rows, support_pairs
from prentice.training.distill.config import DistillConfig
from prentice.training.distill.divergences import divergence_of
from prentice.training.distill.hidden import Imitator
from prentice.training.distill.soft import IDS, LOGS, SoftHead
from prentice.training.distill.train import DISTILL
from prentice.training.engine import ForestModel
from prentice.training.forest import pad
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.losses import ADVANTAGE, OLD, SAMPLED
from prentice.training.grpo.train import method_of as grpo_method
from prentice.training.items import Item
from prentice.training.method import REFERENCE, Method
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.items import method_of as preference_method
from prentice.training.preference.losses import GOOD, KL
from prentice.training.sft import IMPORTANCE, SFT
from prentice.training.start import open_model

Row = dict[str, Any]
PAIRS = 3
DIVERGENCES = ("forward_kl", "reverse_kl", "jensen_shannon")
TOLD = 32


def gradient_rows() -> list[Row]:
    """The worst of all losses."""
    base = engine_rows.base_model()
    model = open_model(PreferenceConfig(), base)
    stir(model)
    items = pair_rows(base, support_pairs()[:PAIRS])
    items = [item.knowing(_made_up(item) | _told(model, item)) for item in items]
    found = {name: _difference(model, method, items) for name, method in _methods().items()}
    for name in DIVERGENCES:
        with _headed(model, partial(SoftHead, divergence=divergence_of(name, 0.5), alpha=0.9)):
            found[name] = _difference(model, DISTILL, items)
    teacher = open_model(DistillConfig(method="full"), base)
    found["hidden states"] = _difference(Imitator(model, teacher, 1.0), DISTILL, items)
    about = (
        f"SmolLM2-135M, LoRA, float32, both sides of {PAIRS} pairs of support; the teacher is the untuned model; what "
        "references and samplers said is made up"
    )
    return [worst_row(found, about) | {"limit": 1e-5} | _to_float64(model, items)]


def _to_float64(model: ForestModel, items: Sequence[Item]) -> Row:
    """How far both batches are from float64 in the forward divergence: its gradient is a difference of like numbers."""
    rows = [item.row for item in items]
    with _headed(model, partial(SoftHead, divergence=divergence_of("forward_kl", 0.5), alpha=0.9)):
        ours, padded = (_gradient(model, DISTILL, items, b) for b in (model.batch(rows), pad(rows, plain=True)))
        for parameter in model.parameters():
            parameter.data = parameter.data.double()
        exact = _gradient(model, DISTILL, items, pad(rows, plain=True))
    return {
        "forest_to_float64": float((ours - exact).norm() / exact.norm()),
        "padded_to_float64": float((padded - exact).norm() / exact.norm()),
    }


def _methods() -> dict[str, Method]:
    return {
        "sft and cpt": SFT,
        "importance": IMPORTANCE,
        "dpo": preference_method(PreferenceConfig()),
        "kto": preference_method(PreferenceConfig(loss="kto")),
        "grpo": grpo_method(GRPOConfig()),
    }


def _told(model: ForestModel, item: Item) -> dict[str, Any]:
    """What the untuned model thinks of a row, as a teacher's word."""
    with model.model.disable_adapter():
        ids, logs = model.likeliest(model.batch([item.row]), TOLD, model.causal.config.vocab_size)
    return {IDS: ids.int(), LOGS: logs}


def _made_up(item: Item) -> dict[str, Any]:
    """What the other losses need to know of a row."""
    length = len(item.row.reply)
    return {
        REFERENCE: (-2.0,) * length,
        KL: (0.1,) * length,
        GOOD: (float(item.turn == 0),) * length,
        ADVANTAGE: (1.0 if item.turn == 0 else -1.0,) * length,
        OLD: (-3.0,) * length,
        SAMPLED: (-3.1,) * length,
    }


@contextmanager
def _headed(model: ForestModel, head: Callable[..., Any]) -> Iterator[None]:
    """The model with another head for a while."""
    before, model.head = model.head, head
    try:
        yield
    finally:
        model.head = before


def _difference(model: ForestModel, method: Method, items: Sequence[Item]) -> float:
    rows = [item.row for item in items]
    ours, padded = (_gradient(model, method, items, batch) for batch in (model.batch(rows), pad(rows, plain=True)))
    return float((ours - padded).norm() / padded.norm())


def _gradient(model: ForestModel, method: Method, items: Sequence[Item], batch: Any) -> torch.Tensor:
    model.zero_grad(set_to_none=True)
    loss = method.loss(model(batch), batch) / method.size(items)
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
