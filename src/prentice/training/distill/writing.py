"""On-policy: the student writes replies with the weights that it has at that step, the teacher scores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import GenerationConfig

from prentice.training.engine import ForestModel
from prentice.training.items import Item
from prentice.training.visits import Visits


@dataclass(frozen=True)
class Writer:
    """The student as it writes.

    Args:
        model: the student that is being trained.
        stops: tokens that end a reply.
        limit: longest reply, in tokens.
        temperature: of the draw.
    """

    model: ForestModel
    stops: frozenset[int]
    limit: int
    temperature: float

    @torch.no_grad()
    def rewrite(self, items: Sequence[Item], seed: int) -> list[Item]:
        """The rows with replies of the student's own; the same weights and seed give the same replies."""
        if not items:
            return []
        prompts = [item.row.prompt for item in items]
        width = max(map(len, prompts))
        fill = min(self.stops)
        ids = torch.tensor([[fill] * (width - len(p)) + [*p] for p in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device)
        with torch.random.fork_rng(devices=[]), self.model.as_it_came():
            torch.manual_seed(seed)
            written: Tensor = self.model.causal.generate(
                input_ids=ids, attention_mask=mask, generation_config=self._how(fill)
            )
        replies = [self._until_stop(line) for line in written[:, width:].tolist()]
        return [
            replace(item, row=replace(item.row, reply=reply, given={}))
            for item, reply in zip(items, replies, strict=True)
        ]

    def _how(self, fill: int) -> GenerationConfig:
        return GenerationConfig(
            max_new_tokens=self.limit,
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            eos_token_id=sorted(self.stops),
            pad_token_id=fill,
        )

    def _until_stop(self, line: Sequence[int]) -> tuple[int, ...]:
        end = next((place for place, token in enumerate(line) if token in self.stops), len(line) - 1)
        return tuple(line[: end + 1])


@dataclass(frozen=True)
class OnPolicy:
    """Visits to rows some of whose replies the student has written itself.

    Everything follows from the step's number and the weights at that step, so that a resumed run sees the same rows.

    Args:
        given: the visits to the rows as they are.
        share: of each step's rows that are written anew, each drawn by chance.
        seed: of draw and replies.
        write: rows and a seed → the rows with replies of the student's own.
        score: rows → the rows with the teacher's word on them.
    Source: GKD, arXiv:2306.13649, algorithm 1. Ours: chance falls on rows, not on whole steps.
    """

    given: Visits
    share: float
    seed: int
    write: Callable[[Sequence[Item], int], Sequence[Item]]
    score: Callable[[Sequence[Item]], Sequence[Item]]

    @property
    def steps(self) -> int:
        """How many."""
        return self.given.steps

    @property
    def rows(self) -> int:
        """That all steps together visit."""
        return self.given.rows

    def of(self, step: int) -> Sequence[Item]:
        """The rows of a step, counted from 0; the student writes while this is asked."""
        rows, seed = list(self.given.of(step)), self.seed * 1_000_003 + step
        drawn = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed)) < self.share
        places = drawn.nonzero().flatten().tolist()
        for place, item in zip(places, self._written([rows[place] for place in places], seed), strict=True):
            rows[place] = item
        return rows

    def count(self, step: int) -> int:
        """How many rows that step visits."""
        return self.given.count(step)

    def is_last_of_pass(self, step: int) -> bool:
        """Whether a pass ends with it."""
        return self.given.is_last_of_pass(step)

    def _written(self, items: Sequence[Item], seed: int) -> Sequence[Item]:
        return self.score(self.write(items, seed)) if items else []
