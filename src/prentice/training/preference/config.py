"""The settings of [train.preference], apart from the code: reading them must not load torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from prentice.training.config import EngineConfig


class PreferenceConfig(EngineConfig):
    """Learning from pairs of replies, or from thumbs."""

    section: ClassVar[str] = "train.preference"

    loss: Literal["dpo", "kto"] = "dpo"
    """What is learnt from: pairs of replies (dpo, arXiv:2305.18290), or thumbs up and down (kto, arXiv:2402.01306)."""
    beta: float = Field(0.1, gt=0)
    """How much a departure from the student as it was counts: a small one lets it go far."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """For pairs: share of them that may be the wrong way round (conservative DPO)."""
    sft_weight: float = Field(0.0, ge=0)
    """For pairs: how much plain imitation of the better reply is added, so that it does not become less likely while
    the worse one does so faster (arXiv:2404.19733)."""
    desirable_weight: float = Field(1.0, gt=0)
    undesirable_weight: float = Field(1.0, gt=0)
    """For thumbs: what one up and one down count; with few of one kind, more for that kind."""
    epochs: float = Field(1, gt=0)
    """Passes over the pairs or thumbs; the last may be a part of one."""
    learning_rate: float = Field(1e-4, gt=0)
    """At its highest; it rises over `warmup` and falls as `schedule` says. About a tenth of what fine-tuning takes."""
    batch: int = Field(16, ge=1)
    """Pairs or thumbs per optimizer step; a pair is two rows."""
