"""The settings of [train.distill], apart from the code: reading them must not load torch."""

from __future__ import annotations

from typing import ClassVar

from prentice.training.config import EngineConfig


class DistillConfig(EngineConfig):
    """Learning from what a larger model of the same vocabulary thinks."""

    section: ClassVar[str] = "train.distill"
