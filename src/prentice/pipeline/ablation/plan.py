"""Which students are trained: arms × seeds × two budgets, or sizes × seeds; each is a run with a key of its own.

Equal tokens: every arm sees as many supervised tokens as the curated arm does in the epochs of [train.sft]. Equal cost:
the teacher cost the same, and every arm trains its own rows for those epochs. Where both come to the same, the run is
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prentice.models.catalogue import Model
from prentice.pipeline.ablation.arms import Arm, Rows
from prentice.pipeline.ablation.student import Student
from prentice.pipeline.project import MethodName
from prentice.records.parquet import rows_hash
from prentice.training.config import SFTConfig
from prentice.training.grpo.config import GRPOConfig

Budget = Literal["tokens", "cost", "sizes", "stages"]
"""What is equal between the arms; for sizes and stages nothing is."""
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
    stages: tuple[MethodName, ...] = ("sft",)
    """What it is trained by, one after the other."""

    @property
    def size(self) -> int:
        """Rows that it trains on."""
        return len(self.rows.split("train"))

    @property
    def epochs(self) -> float:
        """Passes over them."""
        return self.sft.epochs

    @property
    def visits(self) -> float:
        """Rows that it sees."""
        return self.size * self.epochs


@dataclass(frozen=True)
class PlayRun:
    """One student that learns by play, and is played."""

    arm: str
    seed: int
    start: Model
    """What it starts from."""
    grpo: GRPOConfig
    cases: int
    """That it plays; 0: it does not learn at all."""
    key: str

    @property
    def size(self) -> int:
        """Tries in a pass."""
        return self.cases * self.grpo.group

    @property
    def epochs(self) -> float:
        """Passes."""
        return self.grpo.epochs if self.cases else 0.0

    @property
    def visits(self) -> float:
        """Tries in all."""
        return self.size * self.epochs


AnyRun = Run | PlayRun


@dataclass(frozen=True)
class Planner:
    """Turns rows into runs.

    Args:
        cases: ids of the held-out cases.
    """

    student: Student
    cases: Sequence[str]

    def curation(self, arms: Sequence[Arm], rows: Mapping[str, Rows]) -> list[Run]:
        """A run for every arm that has rows and each of `[ablate] equal`, one seed after the other: what is known early
        can be compared."""
        config = self.student.project.config.ablate
        size = {name: len(rows["curated"].split(name)) for name in ("train", "val")}
        budget = self._sft.epochs * self._tokens(rows["curated"])
        runs: list[Run] = []
        for seed in range(config.seeds):
            for arm in arms:
                mine = rows[arm.name].sample(seed, **size) if arm.drawn else rows[arm.name]
                own = self._sft.model_copy(update={"weights": arm.weights or self._sft.weights})
                sft = {"tokens": self._within(budget, mine, own), "cost": own}
                runs += [self._run(arm.name, each, seed, mine, sft[each]) for each in config.equal]
        return runs

    def sizes(self, rows: Rows, sizes: Sequence[int], seeds: int, least_visits: int) -> list[Run]:
        """Runs on so many rows, drawn by the seed; validation rows in the same proportion, but one at least."""
        train, val = (len(rows.split(name)) for name in ("train", "val"))
        runs: list[Run] = []
        for seed in range(seeds):
            for size in sizes:
                mine = rows.sample(seed, size, max(1, round(val * size / train)))
                sft = self._sft.model_copy(update={"epochs": max(self._sft.epochs, least_visits / size)})
                runs.append(self._run(str(size), "sizes", seed, mine, sft))
        return runs

    def chains(self, rows: Rows, chains: Mapping[str, tuple[MethodName, ...]], seeds: int) -> list[Run]:
        """Runs by so many methods each, on the same rows."""
        return [
            replace(
                self._run(name, "stages", seed, rows, self._sft),
                stages=stages,
                key=self.student.key_of_chain(rows_hash(rows.examples), stages, seed, self.cases),
            )
            for seed in range(seeds)
            for name, stages in chains.items()
        ]

    @property
    def _sft(self) -> SFTConfig:
        return self.student.project.config.train.sft

    def _within(self, budget: float, rows: Rows, sft: SFTConfig) -> SFTConfig:
        """So many epochs that `budget` supervised tokens are seen; as they are if that is about the same."""
        own = sft.epochs * self._tokens(rows)
        # who may stop early would not see its tokens
        whole = sft.model_copy(update={"select": sft.select.model_copy(update={"patience": 0})})
        same = abs(budget / own - 1) <= CLOSE
        return whole if same else whole.model_copy(update={"epochs": round(sft.epochs * budget / own, 4)})

    def _tokens(self, rows: Rows) -> int:
        return self.student.tokens(rows.split("train"))

    def _run(self, arm: str, budget: Budget, seed: int, rows: Rows, sft: SFTConfig) -> Run:
        """One run; `seed` is counted from the one of [train.sft]."""
        sft = sft.model_copy(update={"seed": self._sft.seed + seed})
        key = self.student.key(rows_hash(rows.examples), sft, self.cases)
        return Run(arm, budget, seed, rows, sft, sft.epochs * self._tokens(rows), key)
