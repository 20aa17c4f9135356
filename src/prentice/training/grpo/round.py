"""The groups of a round that there is something to learn from, and what they are as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from prentice.training.forest import Row
from prentice.training.grpo.losses import ADVANTAGE, group_advantages
from prentice.training.grpo.rolled import Rolled, Said
from prentice.training.items import Item


@dataclass(frozen=True)
class Round:
    """What became of the tries of one round.

    Args:
        groups: tries of one case with different rewards, at least two each: what is learnt from.
        tries: all that were played.
        failed: tries that ended without a reward.
        equal: groups left out since all their rewards are the same.
        alone: groups left out since fewer than two of their tries came to a reward.
    """

    groups: tuple[tuple[Rolled, ...], ...]
    tries: tuple[Rolled, ...]
    failed: int
    equal: int
    alone: int

    @classmethod
    def of(cls, tries: Sequence[Rolled]) -> Round:
        """Sort the tries by case; a failed one is counted, and its group goes on with those left."""
        cases: dict[str, list[Rolled]] = {}
        for each in tries:
            cases.setdefault(each.case, [])
            if each.reward is not None and each.turns:
                cases[each.case].append(each)
        enough = [group for group in cases.values() if len(group) > 1]
        varied = [tuple(group) for group in enough if len({each.reward for each in group}) > 1]
        return cls(
            groups=tuple(varied),
            tries=tuple(tries),
            failed=sum(each.reward is None for each in tries),
            equal=len(enough) - len(varied),
            alone=len(cases) - len(enough),
        )

    @property
    def reward(self) -> float | None:
        """Mean over the tries that have one."""
        rewards = [each.reward for each in self.tries if each.reward is not None]
        return sum(rewards) / len(rewards) if rewards else None

    def items(self, *, scale: bool) -> list[Item]:
        """A row for each turn of each try that is learnt from; only what the student drew is supervised."""
        return [item for group in self.groups for item in _items(group, scale=scale)]

    @property
    def said(self) -> list[Said]:
        """What `items` are made of, in their order."""
        return [said for group in self.groups for each in group for said in each.turns]

    def words(self) -> str:
        """In one line, what came of it."""
        reward = "no reward" if self.reward is None else f"reward {self.reward:.3g}"
        groups = len(self.groups) + self.equal + self.alone
        line = f"{len(self.tries)} tries, {reward}, {len(self.groups)} of {groups} groups vary"
        failed = f", {self.failed} tries failed" if self.failed else ""
        alone = f", {self.alone} groups dropped with fewer than two tries left" if self.alone else ""
        return line + failed + alone


def _items(group: Sequence[Rolled], *, scale: bool) -> Iterator[Item]:
    rewards = torch.tensor([[each.reward for each in group]], dtype=torch.float64)
    for each, advantage in zip(group, group_advantages(rewards, scale=scale)[0].tolist(), strict=True):
        for item in rows_of(each):
            yield item.knowing({ADVANTAGE: (advantage,) * len(item.row.reply)})


def rows_of(tried: Rolled) -> Iterator[Item]:
    """A row for each turn of a try: what the student read is context, what it drew is supervised."""
    for turn, said in enumerate(tried.turns):
        row = Row(said.prompt, said.reply)
        yield Item(f"{tried.name}, turn {turn}", row, family=tried.name, turn=turn, case=tried.case)
