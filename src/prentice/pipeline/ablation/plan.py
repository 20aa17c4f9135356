"""Which students are trained: arms × seeds × two budgets, each a run with a key of its own.

Equal tokens: every arm sees as many supervised tokens as the curated arm does in the epochs of [train.sft]. Equal cost:
the teacher cost the same, and every arm trains its own rows for those epochs. Where both come to the same, the run is
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prentice.pipeline.ablation.arms import Arm, Rows
from prentice.pipeline.ablation.student import Student
from prentice.records.parquet import rows_hash
from prentice.training.config import SFTConfig

Budget = Literal["tokens", "cost", "rows"]
"""What is equal between the arms; `rows` in an ablation of sizes, where that is what differs."""
CLOSE = 0.02
"""Budgets that differ by no more than this share are the same: random rows rarely come to the very same tokens."""


@dataclass(frozen=True)
class Run:
    """One student to be trained and played."""

    arm: str
    budget: Budget
    seed: int
    rows: Rows
    sft: SFTConfig
    tokens: float
    """Supervised tokens that it sees."""
    key: str

    @property
    def visits(self) -> float:
        """Rows that it sees."""
        return len(self.rows.split("train")) * self.sft.epochs


@dataclass(frozen=True)
class Planner:
    """Turns rows into runs.

    Args:
        cases: ids of the held-out cases.
    """

    student: Student
    cases: Sequence[str]

    @property
    def sft(self) -> SFTConfig:
        """The project's own training."""
        return self.student.project.config.train.sft

    def run(self, arm: str, budget: Budget, seed: int, rows: Rows, sft: SFTConfig) -> Run:
        """One run; `seed` goes over the one of [train.sft]."""
        sft = sft.model_copy(update={"seed": self.sft.seed + seed})
        tokens = sft.epochs * self.student.tokens(rows.split("train"))
        key = self.student.key(rows_hash(rows.examples), sft, self.cases)
        return Run(arm, budget, seed, rows, sft, tokens, key)

    def curation(self, arms: Sequence[Arm], rows: Mapping[str, Rows], seeds: int) -> list[Run]:
        """The runs of every arm that has rows, one seed after the other, so that what is known early is comparable."""
        curated = rows["curated"]
        size = {name: len(curated.split(name)) for name in ("train", "val")}
        budget = self.sft.epochs * self.student.tokens(curated.split("train"))
        runs: list[Run] = []
        for seed in range(seeds):
            for arm in arms:
                mine = rows[arm.name].sample(seed, **size) if arm.drawn else rows[arm.name]
                sft = self.sft.model_copy(update={"weights": arm.weights or self.sft.weights})
                own = sft.epochs * self.student.tokens(mine.split("train"))
                same = abs(budget / own - 1) <= CLOSE
                equal = sft if same else sft.model_copy(update={"epochs": round(sft.epochs * budget / own, 4)})
                runs += [self.run(arm.name, "tokens", seed, mine, equal), self.run(arm.name, "cost", seed, mine, sft)]
        return runs
