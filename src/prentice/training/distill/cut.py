"""A model with some of its layers: the weights of those that stay, the rest forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from prentice.errors import TrainingError
from prentice.models.floats import copy_beside, quiet, weights_on_full_disk
from prentice.models.hf import load
from prentice.runs import folder_atomic


def spread(total: int, count: int) -> tuple[int, ...]:
    """Which layers stay, counted from 0: spread evenly, first and last included.

    Raises: TrainingError if there are not so many.
    """
    if not 1 <= count <= total:
        raise TrainingError(f"train.distill.layers = {count}: the model has {total} layers", "name fewer")
    # a half is rounded up: Python's own rounding would go to the even one
    return tuple((2 * i * (total - 1) + count - 1) // (2 * (count - 1)) for i in range(count)) if count > 1 else (0,)


def write_cut(base: Path, target: Path, count: int, keep: Sequence[int] = ()) -> Path:
    """Write a model with `count` of the layers of `base` to `target`, there whole or not at all; returns `target`.

    Args:
        base: transformers folder whose layers are one list, such as Llama's `model.layers`.
        keep: which layers, counted from 0; none: spread evenly.
    Raises: TrainingError if there are fewer layers, or they are no such list.
    """
    model = load(base)
    layers = layers_of(model)
    chosen = sorted(set(keep)) or list(spread(len(layers), count))
    if not 0 <= chosen[0] <= chosen[-1] < len(layers):
        wrong = next(i for i in chosen if not 0 <= i < len(layers))
        raise TrainingError(
            f"train.distill.keep names layer {wrong}, and the model has {len(layers)}", "count them from 0"
        )
    _tell_config(model.config.get_text_config(), chosen, len(layers))
    model.base_model.layers = nn.ModuleList([layers[i] for i in chosen])
    with folder_atomic(target) as scratch, quiet(), weights_on_full_disk(target):
        model.save_pretrained(scratch)
        copy_beside(base, scratch)
    return target


def layers_of(model: Any) -> nn.ModuleList:
    """The layers of a transformers model.

    Raises: TrainingError if they are no list called `layers`.
    """
    layers = getattr(model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise TrainingError(
            f"{model.config.model_type}: its layers are not one list `layers`, so it cannot be cut",
            "take a base such as Llama, Qwen2, Gemma or SmolLM2",
        )
    return layers


def _tell_config(config: Any, chosen: Sequence[int], total: int) -> None:
    """How many layers there are now; what it says of each layer follows them."""
    for name, value in config.to_dict().items():
        if isinstance(value, list | tuple) and len(value) == total:
            setattr(config, name, [value[i] for i in chosen])
    config.num_hidden_layers = len(chosen)
