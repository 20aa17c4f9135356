"""The settings of [train.cpt], apart from the code: reading them must not load torch."""

from __future__ import annotations

from typing import ClassVar

from prentice.training.config import EngineConfig


class CPTConfig(EngineConfig):
    """Continued pretraining on documents."""

    section: ClassVar[str] = "train.cpt"
