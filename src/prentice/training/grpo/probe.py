"""Is the student ready for reinforcement? What a probe has found, and what it advises. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from prentice.records.reports import Interval
from prentice.statistics import crossed_mean, wilson
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.rolled import Rolled

Advice = Literal["go", "warm up", "stop"]
ENOUGH = 1 / 3
"""Share of groups with different rewards from which a round teaches something for what it costs."""
HALF = 0.5
"""Below it groups are alike since nothing succeeds yet, above it since all does."""


@dataclass(frozen=True)
class Pace:
    """What the parts of a step take on this machine, in seconds.

    Args:
        serve: to turn weights into a file and start llama.cpp on it.
        play: a try, while `slots` of them are in flight.
        score: a row's log-probabilities, once.
        learn: a row, there and back.
    """

    serve: float
    play: float
    score: float
    learn: float


@dataclass(frozen=True)
class Probe:
    """What rolling the student out has shown.

    Args:
        tries: all that were played: `group` of each case.
        pace: of this machine.
        config: of the run that would follow.
        cases: how many it would play.
    """

    tries: Sequence[Rolled]
    pace: Pace
    config: GRPOConfig
    cases: int

    @property
    def groups(self) -> list[list[float]]:
        """The rewards of each case's tries that did not fail."""
        found: dict[str, list[float]] = {}
        for each in self.tries:
            found.setdefault(each.case, [])
            if each.reward is not None:
                found[each.case].append(each.reward)
        return list(found.values())

    @property
    def failed(self) -> int:
        """Tries without a reward."""
        return sum(each.reward is None for each in self.tries)

    @property
    def varied(self) -> Interval:
        """Share of the groups with different rewards."""
        groups = self.groups
        return wilson(sum(len(set(group)) > 1 for group in groups), len(groups))

    @property
    def reward(self) -> float:
        """Mean of all rewards."""
        return fmean([reward for group in self.groups for reward in group] or [0.0])

    @property
    def success(self) -> Interval | None:
        """Mean over the cases of how often they succeed; it speaks for other cases. None where nobody says."""
        cases: dict[str, list[float]] = {}
        for each in self.tries:
            if each.success is not None and 0 <= each.success <= 1:
                cases.setdefault(each.case, []).append(each.success)
        return crossed_mean([[fmean(values) for values in cases.values()]]) if cases else None

    @property
    def turns(self) -> float:
        """Of a try."""
        return fmean([len(each.turns) for each in self.tries if each.turns] or [0.0])

    @property
    def drawn(self) -> float:
        """Tokens of a try that the student draws, and learns from."""
        return fmean([sum(len(said.reply) for said in each.turns) for each in self.tries if each.turns] or [0.0])

    @property
    def read(self) -> float:
        """Tokens of a try that it reads."""
        return fmean([sum(len(said.prompt) for said in each.turns) for each in self.tries if each.turns] or [0.0])

    @property
    def play_seconds(self) -> float:
        """Of a round, server included."""
        return self.pace.serve + self.pace.play * self.config.group * min(self.config.batch, self.cases)

    @property
    def update_seconds(self) -> float:
        """Of what is learnt from a round, groups left out whose rewards are equal."""
        rows = self.turns * self.config.group * min(self.config.batch, self.cases) * self.varied.value
        passes = 2 if self.config.kl else 1
        return rows * (passes * self.pace.score + self.config.updates * self.pace.learn)

    @property
    def hours(self) -> float:
        """Of the whole run."""
        return self.config.iterations(self.cases) * (self.play_seconds + self.update_seconds) / 3600

    @property
    def advice(self) -> Advice:
        """What to do next."""
        if self.varied.value >= ENOUGH:
            return "go"
        level = self.success.value if self.success is not None else self.reward
        return "stop" if level >= HALF else "warm up"

    @property
    def reason(self) -> str:
        """Why."""
        share = f"{self.varied.value:.0%} of the groups have different rewards"
        return {
            "go": f"{share}, so there is something to learn in a round",
            "warm up": f"only {share}, and most tries come to nothing: train by [train.sft] first, or on more rows",
            "stop": f"only {share}, and most tries succeed: these cases have little left to teach",
        }[self.advice]
