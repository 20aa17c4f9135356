"""The settings of [train.preference], apart from the code: reading them must not load torch."""

from __future__ import annotations

from typing import ClassVar

from prentice.training.config import EngineConfig


class PreferenceConfig(EngineConfig):
    """Learning from pairs of replies, or from thumbs."""

    section: ClassVar[str] = "train.preference"
