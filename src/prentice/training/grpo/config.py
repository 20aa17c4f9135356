"""The settings of [train.grpo], apart from the code: reading them must not load torch."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from prentice.training.config import EngineConfig

CHANGES_NOTHING = frozenset({"probe_cases", "slots"})
"""Settings of this method that decide nothing that is learnt."""


class GRPOConfig(EngineConfig):
    """Reinforcement on the environment: the student plays, and its better tries at a case become likelier."""

    section: ClassVar[str] = "train.grpo"

    epochs: float = Field(3, gt=0)
    """Passes over the cases; the last may be a part of one."""
    batch: int = Field(8, ge=1)
    """Cases of a round, each played `group` times with the current weights."""
    learning_rate: float = Field(2e-4, gt=0)
    """At its highest. Reinforcement wants less than imitation: what it learns from are the student's own words."""
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    """How the learning rate goes on after `warmup`: down to 0 along a cosine or a line, or not down at all."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""

    cases: int = Field(64, ge=1)
    """Training cases that are played, from the first on."""
    group: int = Field(8, ge=2)
    """Tries of each case in a round; each is compared with the others of its case."""
    updates: int = Field(1, ge=1)
    """Optimizer steps on the tries of a round, each over all of them; from the second on the clipping counts."""
    clip_low: float = Field(0.2, gt=0, lt=1)
    """A token that has become less likely than 1 - `clip_low` times what it was pulls no further."""
    clip_high: float = Field(0.28, gt=0)
    """A token that has become likelier than 1 + `clip_high` times what it was pulls no further; above `clip_low`, so
    that rare tokens may grow (DAPO's "clip higher", arXiv:2503.14476, section 3.1)."""
    kl: float = Field(0.02, ge=0)
    """Weight of the divergence from the student as it was before this run, which keeps it from forgetting; 0 leaves it
    away, and saves a pass over the tries."""
    correction: float = Field(2.0, ge=1)
    """Most that a token may weigh for being likelier under the trained weights than under llama.cpp's, which drew it
    (truncated importance sampling)."""
    scale: bool = True
    """Divide the advantages of a group by the deviation of its rewards; without it a group whose tries differ little
    teaches little (Dr. GRPO, arXiv:2503.20783)."""
    reward: str = ""
    """The metric to raise; a flag counts as 0 or 1. Default: `evaluate.metric`."""
    slots: int = Field(8, ge=1)
    """Tries in flight at once on llama.cpp's server."""
    probe_cases: int = Field(16, ge=2)
    """Cases that `--probe` plays, `group` times each."""
    idle: int = Field(3, ge=1)
    """So many rounds of play in a row in which no group's rewards differ end the run: nothing more is learnt."""

    def rounds(self, cases: int) -> int:
        """How many rounds of play one pass over so many cases takes."""
        return math.ceil(cases / self.batch)

    def iterations(self, cases: int) -> int:
        """How many rounds are learnt from in all."""
        return max(1, round(self.epochs * self.rounds(cases)))

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what is learnt, for records and ids."""
        return {name: value for name, value in super().recipe().items() if name not in CHANGES_NOTHING}
