"""The configuration of ablations, apart from the code: reading a project must load no more than this."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prentice.config import StageConfig

ArmName = Literal["curated", "all", "random", "importance", "best", "agreement", "human"]
ARM_NAMES: tuple[ArmName, ...] = ("curated", "all", "random", "importance", "best", "agreement", "human")


class AblateConfig(StageConfig):
    """What the student is trained on instead, and how often."""

    arms: tuple[ArmName, ...] = ARM_NAMES
    """What is compared; `curated`, which all others are compared with, always takes part."""
    attempts: int = Field(0, ge=0)
    """Attempts of the teacher that each arm may learn from: single tries of so many cases, or `tries` tries of fewer
    cases. 0: as many as [rollout] plays, or as the recording holds."""
    tries: int = Field(3, ge=1)
    """Tries of a case, for the arms that choose among tries; agreement needs 3 at least."""
    equal: tuple[Literal["tokens", "cost"], ...] = Field(("tokens", "cost"), min_length=1)
    """What the arms have in common, a table each: the supervised tokens seen (tokens), or the teacher's attempts, where
    every arm trains its own rows for the epochs of [train.sft] (cost)."""
    seeds: int = Field(3, ge=1)
    """Students of each arm. The seed decides the order of the rows, the start of the adapters, and which rows are drawn
    at random. From one student alone no interval speaks for the next one."""
    cases: int = Field(300, ge=0)
    """Held-out cases that each student plays, from the first on; 0 plays all."""
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((10, 30, 100, 300, 1000), min_length=1)
    """Numbers of training rows that `prentice ablate sizes` tries."""
    case_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((10, 30, 64), min_length=1)
    """Numbers of training cases that `prentice ablate sizes` tries where the last method is `grpo`."""
    least_visits: int = Field(300, ge=0)
    """Few rows are trained for more epochs than [train.sft] says, until so many rows were visited."""
