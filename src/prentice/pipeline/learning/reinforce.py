"""The student at play for its own training: tries of cases on llama.cpp, kept as the tokens that it drew.

Its draws are free and at temperature 1: a reply held to choices, or drawn colder, would not be the policy's own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prentice.errors import DataError
from prentice.models.local import Drawn, LocalModel
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Episode, Reply, Request, Sampling, digest
from prentice.rollouts import Rules, play
from prentice.rollouts.printing import printing_to_log
from prentice.runs import write_atomic
from prentice.tasks import Case
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.rolled import Rolled, Said

HEAT = 1.0
SPARE = 8
"""Tokens beyond the longest choice after which a free reply is cut."""
PLAYING = "playing.jsonl"


class Drawer(Protocol):
    """What draws a reply token by token: llama.cpp, or a script in a test."""

    async def draw(self, request: Request, sampling: Sampling) -> Drawn:
        """The reply; raises ModelError if none could be had."""
        ...


class _Player:
    """The student as the policy of one episode: its draws are kept."""

    name, slots = "student", 1

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self.said: list[Said] = []

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        if request.choices:  # who shall say one of them needs no more room: a token has one character at least
            room = max(map(len, request.choices)) + SPARE
            sampling = sampling.model_copy(update={"max_tokens": min(sampling.max_tokens, room)})
        drawn = await self._drawer.draw(request, sampling)
        self.said.append(Said(prompt=drawn.prompt, reply=drawn.tokens, sampled=drawn.logprobs))
        return drawn.reply

    async def warm_up(self, request: Request) -> None:
        """Nothing: the first turn reads what all begin with."""

    async def close(self) -> None:
        """Nothing: the server serves others."""


@dataclass(frozen=True)
class Ground:
    """Where the student plays.

    Args:
        project: its task, its metric, how long replies may be.
        config: how many tries, how many at once.
    """

    project: Project
    config: GRPOConfig

    @property
    def cases(self) -> Sequence[Case]:
        """The training cases that are played."""
        found = self.project.task.cases("train")[: self.config.cases]
        if not found:
            raise DataError("the task has no training case to play", "give the task cases in the split train")
        return found

    def round(self, number: int) -> list[Case]:
        """The cases of a round: each pass over them has an order of its own."""
        cases, per_pass = list(self.cases), self.config.rounds(len(self.cases))
        random.Random(f"{self.config.seed} {number // per_pass}").shuffle(cases)
        begin = number % per_pass * self.config.batch
        return cases[begin : begin + self.config.batch]

    def serve(self, gguf: Path) -> LocalModel:
        """The student on llama.cpp, in the form in which it will be served."""
        return LocalModel(
            gguf,
            name="student",
            slots=self.config.slots,
            context=self.config.max_tokens,
            threads=self.project.config.threads,
        )

    def play(
        self, drawer: Drawer, cases: Sequence[Case], seed: str, keep: Path | None, progress: Progress
    ) -> list[Rolled]:
        """Every try at every case, several at once; a try that fails is one of them.

        Args:
            seed: of the draws, with case and try.
            keep: file that each finished try is added to, and of which none is played again; None: nothing is kept.
        Raises: DataError if an episode says nothing of the reward.
        """
        done = {(each.case, each.attempt): each for each in _kept(keep)}
        wanted = [(case, attempt) for case in cases for attempt in range(self.config.group)]
        missing = [(case, attempt) for case, attempt in wanted if (case.id, attempt) not in done]

        async def seats() -> None:
            piles = [[each for each in missing if each[0] is case] for case in cases]
            done_before = len(wanted) - len(missing)
            with progress.bar("play", len(wanted), "tries", done=done_before) as bar, printing_to_log():

                async def sit() -> None:
                    for case, attempt in _taken(piles):
                        rolled = await self._try(drawer, case, attempt, seed)
                        _keep(keep, rolled)
                        done[case.id, attempt] = rolled
                        bar.advance(1)

                await asyncio.gather(*(sit() for _ in range(min(self.config.slots, len(missing)))))

        asyncio.run(seats())
        return [done[case.id, attempt] for case, attempt in wanted]

    async def _try(self, drawer: Drawer, case: Case, attempt: int, seed: str) -> Rolled:
        rules, player = self.project.config.rollout, _Player(drawer)
        drawn = Sampling(
            temperature=HEAT,
            max_tokens=rules.max_tokens,
            seed=int(digest([self.config.seed, seed, case.id, attempt])[:7], 16),
            attempt=attempt,
            logprobs=True,
        )
        episode = await play(
            player,
            self.project.task.environment("student"),
            case,
            run=seed,
            task=self.project.task.name,
            attempt=attempt,
            sampling=drawn,
            rules=Rules(rules.max_turns, rules.step_timeout_s),
        )
        if episode.failure is not None:
            told = f"{episode.failure.where}: {episode.failure.message}"
            return Rolled(case=case.id, attempt=attempt, failure=told)
        metric = self.config.reward or self.project.config.evaluate.metric
        reward = _number(episode, metric)
        if reward is None:
            raise DataError(
                f"episode of case {case.id!r}: metric {metric!r} is no number, so it is no reward",
                f"name another one: {self.config.section}.reward; this episode has: {_metrics(episode)}",
            )
        success = _number(episode, self.project.config.evaluate.metric)
        return Rolled(case=case.id, attempt=attempt, turns=tuple(player.said), reward=reward, success=success)


def _taken(piles: Sequence[list[tuple[Case, int]]]) -> Iterator[tuple[Case, int]]:
    """What one seat plays: one case's tries after another, which begin alike, so that llama.cpp reads that once."""
    pile: list[tuple[Case, int]] = []
    while pile := pile or max(piles, key=len, default=[]):
        yield pile.pop(0)


def _number(episode: Episode, metric: str) -> float | None:
    value = episode.metric(metric)
    return None if value is None or isinstance(value, str) else float(value)


def _metrics(episode: Episode) -> str:
    return ", ".join(sorted({metric.name for metric in episode.metrics if metric.turn is None})) or "none"


def _kept(file: Path | None) -> list[Rolled]:
    """The tries that a file holds; a last line that a kill has cut is none."""
    if file is None or not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    lines = text.split("\n")[:-1]
    if not text.endswith("\n"):
        write_atomic(file, "".join(line + "\n" for line in lines))  # or the next try would go on in the cut line
    return [Rolled.model_validate_json(line) for line in lines]


def _keep(file: Path | None, rolled: Rolled) -> None:
    if file is not None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(rolled.model_dump_json() + "\n")
