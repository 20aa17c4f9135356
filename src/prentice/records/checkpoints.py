"""Checkpoints: a trained model on disk with its lineage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from prentice.records.base import Record

CHECKPOINT = "checkpoint"
"""Begins the source of a model that another run has made."""


class ModelSource(Record):
    """Where a base model's files came from."""

    name: str
    source: str
    """`hub:org/name@revision`, `package:name==version`, `path:...`, or `checkpoint:ID`: what another run has made."""
    sha256: str
    note: str = ""
    """What a user must know, e.g. that the weights started from a 4-bit file."""


class Checkpoint(Record):
    """A trained model on disk; its files lie beside this record (`checkpoint.json`)."""

    version: Literal[1] = 1
    id: str
    """Hash of base, dataset and recipe."""
    kind: Literal["adapter", "full"]
    base: ModelSource
    dataset: str
    """Hash of the dataset's rows."""
    method: str
    recipe: dict[str, JsonValue]
    code: str
    """prentice's version."""
    steps: int
    seconds: float
    """Wall-clock training time, over all resumptions."""
    figures: dict[str, float] = Field(default_factory=dict)
    """Losses, rows per second, gradient check and the like."""

    @property
    def parent(self) -> str | None:
        """The id of the checkpoint that it was trained from; None if that is an untrained base."""
        kind, _, name = self.base.source.partition(":")
        return name if kind == CHECKPOINT else None


class Exported(Record):
    """What an export made; paths are relative to the folder of this record (`export.json`)."""

    version: Literal[1] = 1
    name: str
    gguf: str
    model: str | None
    """The merged safetensors folder; None for an untrained base, which stays where it is."""
    checkpoint: str | None
    """The checkpoint's id; None for an untrained base."""
    quantization: str
    size: int
    """Bytes of the GGUF file."""
    sha256: str
    """Of the GGUF file."""
    rows_checked: int
    agreement: float | None
    """Share of the checked prompts that llama.cpp and torch answer alike; None if nothing was checked."""
    equal_prompts: float | None
    """Share of the checked prompts that both turn into the same tokens."""
    seconds: dict[str, float]
    """Of merging, converting and checking."""
