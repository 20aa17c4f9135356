"""The last layer computes where it is asked, and what is read there is what a whole layer gives."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from prentice.training.last_layer import LastMLP
from training_models import write_family

PLACES = torch.tensor([3, 9, 3])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    torch.manual_seed(0)
    loaded: torch.nn.Module = AutoModelForCausalLM.from_pretrained(write_family("llama", tmp_path_factory.mktemp("m")))
    return loaded


def _read(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states at the places, and the gradient of their weighted sum by the embeddings."""
    ids = torch.arange(12)[None]
    model.zero_grad()
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, PLACES]  # type: ignore[operator]
    (states * torch.linspace(-1, 2, states.numel()).view_as(states)).sum().backward()
    return states.detach(), model.get_input_embeddings().weight.grad.clone()  # type: ignore[operator]


def test_states_and_gradients_are_those_of_the_whole_layer_also_of_a_place_named_twice(model: torch.nn.Module) -> None:
    whole, whole_gradient = _read(model)
    last = LastMLP(model)
    with last.only_at(PLACES):
        some, some_gradient = _read(model)
    assert torch.allclose(some, whole, atol=1e-6)
    assert float((some_gradient - whole_gradient).norm() / whole_gradient.norm()) < 1e-6


def test_it_computes_fewer_positions_and_after_the_block_all_again(model: torch.nn.Module) -> None:
    last, seen = LastMLP(model), []
    projection = model.base_model.layers[-1].mlp.down_proj  # type: ignore[union-attr,index]
    hook = projection.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].flatten(0, -2).shape[0]))
    with last.only_at(PLACES):
        _read(model)
    _read(model)
    hook.remove()
    assert seen == [2, 12]


def test_a_layer_that_is_computed_again_on_the_way_back_computes_everywhere(model: torch.nn.Module) -> None:
    last = LastMLP(model)
    layer = model.base_model.layers[-1]  # type: ignore[union-attr,index]
    layer.gradient_checkpointing = True  # type: ignore[union-attr]
    with last.only_at(PLACES):
        assert layer.mlp.asked is None  # type: ignore[union-attr]
    layer.gradient_checkpointing = False  # type: ignore[union-attr]
