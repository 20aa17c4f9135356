"""A training run's state on disk: whole or not there, so that a killed run goes on as if it had not been killed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prentice.runs import write_atomic

FILE = "resume.pt"


def trained(model: nn.Module) -> dict[str, Tensor]:
    """The weights that the run changes, by name; live, not copies."""
    return {name: p.data for name, p in model.named_parameters() if p.requires_grad}


def restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put weights back in place."""
    for name, tensor in trained(model).items():
        tensor.copy_(weights[name])


def save(folder: Path, fingerprint: str, values: dict[str, Any]) -> None:
    """Write the state.

    Raises: PrenticeError if the disk is full; the state written before stays.
    """
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, "rng": torch.get_rng_state(), **values}, buffer)
    write_atomic(folder / FILE, buffer.getvalue())


def load(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read the state of a run with this fingerprint; None if there is none."""
    path = folder / FILE
    if not path.exists():
        return None
    values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if values["fingerprint"] != fingerprint:
        return None
    torch.set_rng_state(values["rng"])
    return values


def drop(folder: Path) -> None:
    """Remove the state: the run is finished."""
    (folder / FILE).unlink(missing_ok=True)
