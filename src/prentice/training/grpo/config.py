"""The settings of [train.grpo], apart from the code: reading them must not load torch."""

from __future__ import annotations

from typing import ClassVar

from prentice.training.config import EngineConfig


class GRPOConfig(EngineConfig):
    """Reinforcement on the environment."""

    section: ClassVar[str] = "train.grpo"
