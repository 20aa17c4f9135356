"""A training run's state on disk: whole or not there, so that a killed run goes on as if it had not been killed.

One safetensors file of whole tensors, whatever number of processes shared them: another number of them can go on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from prentice.runs import write_atomic

FILE = "resume.safetensors"
WEIGHT, BEST, MOMENT = "weight:", "best:", "moment:"
"""What begins a tensor's name: the weights now, the best so far, and the optimizer's `moment:KIND:WEIGHT`."""


def trained(model: nn.Module) -> dict[str, Tensor]:
    """The weights that the run changes, by name; live, not copies; of a sharded one this process's part."""
    return {name: p.data for name, p in model.named_parameters() if p.requires_grad}


def restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put weights back in place: whole ones, or parts as `trained` gives them."""
    for name, tensor in trained(model).items():
        tensor.copy_(_like(tensor, weights[name]))


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sharded tensors put together, on the CPU; every process must ask."""
    return {name: _whole(tensor) for name, tensor in tensors.items()}


def moments(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """What the optimizer remembers of each weight, live, as `KIND:WEIGHT`."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{kind}:{names[id(p)]}": value
        for p, known in optimizer.state.items()
        for kind, value in known.items()
        if isinstance(value, Tensor)
    }


def restore_moments(model: nn.Module, optimizer: Optimizer, found: dict[str, Tensor]) -> None:
    """Let the optimizer remember again."""
    parameters = dict(model.named_parameters())
    for name, value in found.items():
        kind, _, weight = name.partition(":")
        parameter = parameters[weight]
        fits = value.shape == parameter.shape
        optimizer.state[parameter][kind] = _like(parameter.data, value).clone() if fits else value


def save(folder: Path, fingerprint: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the state.

    Args:
        tensors: whole ones.
        facts: whatever JSON can hold.
    Raises: PrenticeError if the disk is full; the state written before stays.
    """
    about = {"fingerprint": fingerprint, "facts": json.dumps(facts)}
    write_atomic(folder / FILE, to_bytes({name: t.contiguous() for name, t in tensors.items()}, about))


def load(folder: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the state of a run with this fingerprint; None if there is none."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            if about["fingerprint"] != fingerprint:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError:
        return None  # of a version that wrote it otherwise
    return tensors, json.loads(about["facts"])


def named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def drop(folder: Path) -> None:
    """Remove the state: the run is finished."""
    (folder / FILE).unlink(missing_ok=True)


def _whole(tensor: Tensor) -> Tensor:
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu()


def _like(model: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` shared out as `model` is."""
    if not isinstance(model, DTensor) or isinstance(tensor, DTensor):
        return tensor.to(model.device)
    return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)
