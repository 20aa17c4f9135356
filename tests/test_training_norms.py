"""Norms in one pass are the norms they stand for, forth and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from prentice.training.norms import _Norm, fuse_norms
from training_models import write_family


def test_the_way_back_is_the_derivative() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: _Norm.apply(x, w, 1e-6), (x, weight))  # type: ignore[no-untyped-call]


def test_a_norm_of_two_numbers_by_hand() -> None:
    norm = LlamaRMSNorm(2, eps=0.0)
    norm.weight.data = torch.tensor([1.0, 2.0])
    assert fuse_norms(norm) == 1
    # rms of (3, 4) is the root of 12.5, 3.5355; 3 / 3.5355 = 0.8485 and 2 * 4 / 3.5355 = 2.2627
    assert norm(torch.tensor([[3.0, 4.0]])).tolist()[0] == pytest.approx([0.848528, 2.262742], abs=1e-5)


@pytest.mark.parametrize(("family", "fused"), [("llama", 5), ("qwen2", 5), ("gemma2", 0)])
def test_losses_and_gradients_stay_and_norms_of_another_kind_are_left_alone(
    family: str, fused: int, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(write_family(family, tmp_path))
    ids = torch.randint(0, 200, (2, 12), generator=torch.Generator().manual_seed(0))
    before = _gradient(model, ids)
    assert fuse_norms(model) == fused
    after = _gradient(model, ids)
    assert float((after - before).norm() / before.norm()) < 1e-6


def _gradient(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
