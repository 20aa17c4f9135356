"""Fresh rows for every iteration: the student plays a round with the weights it has, and learns from what varied.

Each round is kept on disk, there whole or not at all, with the log-probabilities that its rows had when it was played:
a killed run reads it again instead of playing it again, and goes on with the same numbers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from prentice.errors import TrainingError
from prentice.progress import Progress
from prentice.records import Record
from prentice.runs import read_record, write_atomic
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.losses import OLD, SAMPLED
from prentice.training.grpo.rolled import Rolled, Rollouts
from prentice.training.grpo.round import Round
from prentice.training.items import Item
from prentice.training.method import REFERENCE
from prentice.training.visits import Student


class NothingToLearnError(TrainingError):
    """From the first round on no group had different rewards."""


Numbers = tuple[tuple[float, ...], ...]


class Kept(Record):
    """A round on disk: every try, and of each row that is learnt from what its tokens' log-probabilities were."""

    tries: tuple[Rolled, ...]
    old: Numbers = ()
    reference: Numbers = ()
    seconds: float = 0.0
    """That playing it took."""

    @cached_property
    def round(self) -> Round:
        """The tries, sorted."""
        return Round.of(self.tries)

    @property
    def gap(self) -> float | None:
        """Mean |log-probability of the trainer - that of llama.cpp| of a token; None where llama.cpp did not say."""
        apart = [
            abs(ours - theirs)
            for said, old in zip(self.round.said, self.old, strict=True)
            if said.sampled
            for ours, theirs in zip(old, said.sampled, strict=True)
        ]
        return fmean(apart) if apart else None


@dataclass
class FreshRows:
    """The steps of a run that plays: `updates` steps on the tries of each round with something to learn.

    Args:
        config: how many rounds, how large.
        cases: how many there are.
        rollouts: plays a round.
        folder: where rounds are kept.
        progress: where each round is told.
    """

    config: GRPOConfig
    cases: int
    rollouts: Rollouts
    folder: Path
    progress: Progress

    def __post_init__(self) -> None:
        """Know nothing yet."""
        self._student: Student | None = None
        self._found: list[int] = []
        """Rounds with something to learn, in order."""
        self._next = 0
        """Round that nobody has looked at."""
        self._at, self._items = -1, list[Item]()

    def meet(self, student: Student) -> None:
        """This is who plays; before it no step can be taken."""
        self._student = student

    @property
    def steps(self) -> int:
        """How many."""
        return self.config.iterations(self.cases) * self.config.updates

    @property
    def rows(self) -> int:
        """Tries that all steps together learn from, as far as can be told before they are played."""
        return sum(self.count(step) for step in range(self.steps))

    def count(self, step: int) -> int:
        """The tries of a full round."""
        del step
        return min(self.config.batch, self.cases) * self.config.group

    def is_last_of_pass(self, step: int) -> bool:
        """Whether all cases have been played once more."""
        per_pass = self.config.rounds(self.cases) * self.config.updates
        return (step + 1) % per_pass == 0 or step + 1 == self.steps

    def of(self, step: int) -> Sequence[Item]:
        """The rows of a step: every turn of every try of a round whose group has different rewards.

        None where something was learnt, and `config.idle` rounds in a row since have no such group.

        Raises: NothingToLearnError if the first `config.idle` rounds have none; TrainingError if every try of a round
            has failed.
        """
        number = step // self.config.updates
        while len(self._found) <= number:
            if not self._look_further():
                return ()
        if self._at != number:
            self._at, self._items = number, self._rows(self._read(self._found[number]))
        return self._items

    def figures(self) -> Mapping[str, float]:
        """What the checkpoint's record says of the play."""
        rounds = [self._read(number) for number in range(self._next)]
        tried = [kept.round for kept in rounds]
        rewards = [each.reward for each in tried if each.reward is not None]
        gaps = [kept.gap for kept in rounds if kept.gap is not None]
        figures = {
            "rounds": float(len(rounds)),
            "tries": float(sum(len(each.tries) for each in tried)),
            "tries_failed": float(sum(each.failed for each in tried)),
            "groups_learnt_from": float(sum(len(each.groups) for each in tried)),
            "groups_equal": float(sum(each.equal for each in tried)),
            "play_seconds": sum(kept.seconds for kept in rounds),
        }
        if rewards:
            figures |= {"reward_first": rewards[0], "reward_last": rewards[-1]}
        return figures | ({"sampler_gap": fmean(gaps)} if gaps else {})

    def _look_further(self) -> bool:
        """Read the next round, or play it; whether there is reason to look even further."""
        number, file = self._next, self._file(self._next)
        if file.exists():
            kept = self._read(number)
        else:
            kept = self._played(number)
            write_atomic(file, kept.model_dump_json() + "\n")
        self._next += 1
        if kept.round.groups:
            self._found.append(number)
            return True
        return self._can_go_on(kept.round)

    def _played(self, number: int) -> Kept:
        student, begun = self._who, time.perf_counter()
        weights = self.folder / "weights"
        shutil.rmtree(weights, ignore_errors=True)  # of a run that was killed at play
        student.write(weights)
        tries = tuple(self.rollouts(number, weights))
        shutil.rmtree(weights)
        seconds = time.perf_counter() - begun
        kept = Kept(tries=tries, seconds=round(seconds, 3))
        items = kept.round.items(scale=self.config.scale)
        if items:
            reference = student.reference(items) if self.config.kl else []
            kept = kept.model_copy(update={"old": tuple(student.scored(items)), "reference": tuple(reference)})
        gap = f", sampled {kept.gap:.2g} from the trainer's log-probability" if kept.gap is not None else ""
        self.progress.say(f"round {number + 1}: {kept.round.words()}{gap}, {seconds:.0f} s")
        return kept

    def _rows(self, kept: Kept) -> list[Item]:
        """The rows of a round with all that the loss needs to know."""
        items = kept.round.items(scale=self.config.scale)
        known: list[Item] = []
        for place, (item, said, old) in enumerate(zip(items, kept.round.said, kept.old, strict=True)):
            # where llama.cpp did not say how likely it found its own words, nothing is corrected
            given = {OLD: old, SAMPLED: said.sampled or old}
            known.append(item.knowing(given | ({REFERENCE: kept.reference[place]} if kept.reference else {})))
        return known

    def _can_go_on(self, last: Round) -> bool:
        """Whether another round is worth its play, after one from which nothing is learnt."""
        if last.reward is None:
            raise TrainingError(f"all {len(last.tries)} tries of a round failed; the first: {last.tries[0].failure}")
        idle = self._next - (self._found[-1] + 1 if self._found else 0)
        if idle < self.config.idle:
            return True
        now = self._reward(range(self._next - idle, self._next))
        same = f"in {idle} rounds in a row no group's rewards differed (mean reward {now:.3g})"
        if not self._found:
            raise NothingToLearnError(
                f"{self.config.section}: {same}, so there is nothing to learn from",
                "`prentice train grpo FOLDER --probe` says whether to warm up by SFT first, or whether all is learnt; "
                f"more tries may differ: raise {self.config.section}.group",
            )
        before = self._reward(self._found)
        self.progress.say(f"{same}: nothing more to learn, the run ends here" + self._warning(before, now))
        return False

    def _warning(self, before: float, now: float) -> str:
        """What to do if the student has learnt to do worse; without that nothing."""
        if now >= before:
            return ""
        return (
            f"; it was {before:.3g} in the rounds that were learnt from: try a smaller {self.config.section}"
            f".learning_rate, or a larger {self.config.section}.kl"
        )

    def _reward(self, numbers: Iterable[int]) -> float:
        """Mean over these rounds; each of them has one."""
        return fmean(reward for number in numbers if (reward := self._read(number).round.reward) is not None)

    @property
    def _who(self) -> Student:
        if self._student is None:
            raise RuntimeError("nobody to play: `meet` comes first")
        return self._student

    def _read(self, number: int) -> Kept:
        return read_record(Kept, self._file(number))

    def _file(self, number: int) -> Path:
        return self.folder / f"round-{number:04}.json"
