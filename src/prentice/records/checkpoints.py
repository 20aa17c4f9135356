"""Checkpoints: a trained model on disk with its lineage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from prentice.records.base import Record


class ModelSource(Record):
    """Where a base model's files came from."""

    name: str
    source: str
    """`hub:org/name@revision`, `package:name==version`, or `path:...`."""
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
