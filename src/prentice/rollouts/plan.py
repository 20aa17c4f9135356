"""Which attempts a rollout still has to play: what is stored is never played again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prentice.errors import PrenticeError
from prentice.records import Sampling, Split, digest
from prentice.records.store import Store
from prentice.rollouts.config import SHAPE_REPLIES, RolloutConfig
from prentice.tasks.contract import Audience, Case, Task


@dataclass(frozen=True)
class Plan:
    """What a rollout still has to play."""

    run: str
    todo: tuple[tuple[Case, int], ...]
    stored: int

    @property
    def total(self) -> int:
        """Attempts in all."""
        return self.stored + len(self.todo)


def run_id(task: Task, identity: str, audience: Audience, split: Split, config: RolloutConfig) -> str:
    """The id of a rollout: the same task, policy, split and sampling resume the same run, whatever the concurrency."""
    sampling = config.model_dump(mode="json", include=SHAPE_REPLIES)
    return digest([task.name, task.fingerprint(), identity, audience, split, sampling])


def plan(
    task: Task,
    identity: str,
    cases: Sequence[Case],
    store: Store,
    config: RolloutConfig,
    audience: Audience = "teacher",
) -> Plan:
    """Which attempts are missing from the store.

    Args:
        identity: what makes the policy another policy: its name, or a hash of the files it answers from.
        cases: of one split; a run never mixes what is learnt from with what is held out.

    Raises: PrenticeError when there is no case, or several tries would all be the same.
    """
    if config.tries > 1 and config.retry_temperature == 0:
        raise PrenticeError(
            f"tries = {config.tries} at retry_temperature = 0 would be equal replies", "set retry_temperature above 0"
        )
    if not cases:
        raise PrenticeError("there is no case to play", "give the task cases in the split that is asked for")
    run = run_id(task, identity, audience, cases[0].split, config)
    stored = store.attempts(run)
    # the tries of a case follow each other, so that its prompt is still cached
    wanted = [(case, attempt) for case in cases for attempt in range(config.tries)]
    todo = tuple((c, a) for c, a in wanted if (c.id, a) not in stored)
    return Plan(run=run, todo=todo, stored=len(wanted) - len(todo))


def sampling_of(config: RolloutConfig, case: Case, attempt: int) -> Sampling:
    """How an attempt is drawn: the same on every machine and in any order of play."""
    return Sampling(
        temperature=config.retry_temperature if attempt else config.temperature,
        max_tokens=config.max_tokens,
        seed=int(digest([config.seed, case.id, attempt])[:7], 16),
        attempt=attempt,
    )
