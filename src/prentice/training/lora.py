"""LoRA by peft, without its noise: put on a model, read back, merged into the weights; and its products without waste.

The adapters, their names and their files are peft's; only how a layer computes its product is ours.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora.layer import Linear
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from prentice.errors import TrainingError

LowRank = tuple[Tensor, Tensor]
"""(rank, in) and (out, rank): the second times the first is what an adapter adds to a weight, scale included."""
WRAPPED, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
"""peft's names in its files."""
BEYOND = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""Settings of peft with which an adapter is more than two matrices a weight and one scale."""


def add_adapter(model: Any, config: LoraConfig) -> PeftModel:
    """The model with a fresh adapter on it."""
    with _quiet():
        return get_peft_model(model, config)


def read_adapter(model: Any, folder: Path, *, trainable: bool = False) -> PeftModel:
    """The model with the adapter of `folder` on it.

    Raises: TrainingError if its tensors are not those that this model's adapter would have.
    """
    try:
        with _quiet():
            adapted = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    except RuntimeError as error:
        raise _of_another_base(folder, "its tensors have other shapes") from error
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        there = set(file.keys())
    if apart := sorted(there ^ set(get_peft_model_state_dict(adapted, save_embedding_layers=False))):
        raise _of_another_base(folder, f"{len(apart)} tensors are in one and not in the other, such as {apart[0]}")
    return adapted


def _of_another_base(folder: Path, reason: str) -> TrainingError:
    made_for = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    return TrainingError(f"{folder}: an adapter for another base: {reason}", f"it was trained on {made_for!r}")


def merge_adapter(model: Any, folder: Path) -> Any:
    """The plain model with the adapter of `folder` added into its weights."""
    return read_adapter(model, folder).merge_and_unload()


def low_rank(folder: Path, base: Path) -> dict[str, LowRank] | None:
    """What the adapter of `folder` adds to each weight of its base, by the weight's name in the base's files.

    Returns: None where it is not that simple and peft has to merge: weights that are stacked, such as Mixtral's
        experts, or an adapter that scales or holds something else besides.
    """
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if any(settings.get(name) for name in BEYOND):
        return None
    scale = settings["lora_alpha"] / settings["r"]
    pairs = load_file(folder / "adapter_model.safetensors")
    names = {name.removesuffix(DOWN) for name in pairs if name.endswith(DOWN)}
    found = {
        f"{name.removeprefix(WRAPPED)}.weight": (pairs[name + DOWN].float(), pairs[name + UP].float() * scale)
        for name in names
    }
    return found if len(pairs) == 2 * len(found) and found.keys() <= _weights_of(base) else None


def _weights_of(base: Path) -> set[str]:
    names: set[str] = set()
    for path in base.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names |= set(file.keys())
    return names


def fuse_adapters(model: nn.Module) -> int:
    """Let every plain adapted layer compute x W' + b + s (x A') B' as one product that the second is added into.

    peft computes two results as wide as the layer, multiplies one by s and adds them, and the way back does as much
    again; on a CPU those passes over memory take an eighth of a step. Parameters and results stay what they are.

    Returns: how many layers; those with more than one adapter, dropout, DoRA or weights in 4 bits stay peft's.
    """
    plain = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    for module in plain:
        module.forward = MethodType(_adapted, module)
    return len(plain)


def _is_plain(layer: Any) -> bool:
    name = layer.active_adapters[0]
    return (
        len(layer.active_adapters) == 1
        and type(layer.base_layer) is nn.Linear
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and not layer.lora_bias.get(name)
        and not layer.lora_variant
    )


def _adapted(layer: Any, x: Tensor) -> Tensor:
    if layer.disable_adapters or layer.merged:
        result: Tensor = layer.base_layer(x)
        return result
    name, base = layer.active_adapters[0], layer.base_layer
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    down, up = layer.lora_A[name].weight.to(dtype), layer.lora_B[name].weight.to(dtype)
    bias = None if base.bias is None else base.bias.to(dtype)
    flat = x.to(dtype).flatten(0, -2)
    out: Tensor = _Product.apply(flat, base.weight.to(dtype), bias, down, up, layer.scaling[name])  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """x W' + b + s (x A') B': x (n, in), frozen W (out, in) and b (out,), A (r, in), B (out, r)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            low = x @ down.T
            out = torch.nn.functional.linear(x, weight, bias)
            out.addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(x, weight, down, up, low)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, low = ctx.saved_tensors
        grad = grads[0]
        pull = (grad @ up) * ctx.scale
        to_x = (grad @ weight).addmm_(pull, down) if ctx.needs_input_grad[0] else None
        return to_x, None, None, pull.T @ x, (grad.T @ low) * ctx.scale, None


@contextmanager
def _quiet() -> Iterator[None]:
    # peft asks every model for an attribute that transformers has since renamed; nobody who trains can act on it
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
