"""Task × policy → episodes: concurrent, seeded, resumable. What is stored is never played again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from prentice.config import StageConfig
from prentice.errors import PrenticeError
from prentice.models.policy import Policy
from prentice.progress import Progress, Silent
from prentice.records import Episode, Sampling, Split, digest
from prentice.records.store import Store
from prentice.rollouts.play import play
from prentice.tasks.contract import Audience, Case, Task


class RolloutConfig(StageConfig):
    """How a policy is rolled out on cases."""

    cases: int = Field(0, ge=0)
    """How many training cases are played, from the first on; 0 plays all."""
    tries: int = Field(1, ge=1)
    """Attempts at each case."""
    temperature: float = Field(0.0, ge=0)
    """Of the first try; 0 takes the likeliest reply."""
    retry_temperature: float = Field(1.0, ge=0)
    """Of the tries after the first, which are there to differ from it."""
    max_tokens: int = Field(512, ge=1)
    """Longest reply, in tokens."""
    seed: int = 0
    """Attempt n of a case draws with a seed made of this, the case and n."""
    warm_up: bool = True
    """Let a local model read the instructions once before the clock runs, as a model in service has."""
    concurrency: int | None = Field(None, ge=1)
    """Episodes in flight; default: as many as the policy serves at once."""


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
    sampling = config.model_dump(mode="json", exclude={"cases", "tries", "concurrency", "warm_up"})
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


async def rollout(
    task: Task,
    policy: Policy,
    cases: Sequence[Case],
    store: Store,
    config: RolloutConfig,
    *,
    audience: Audience = "teacher",
    identity: str = "",
    progress: Progress | None = None,
) -> str:
    """Play every missing attempt and store it; return the run's id.

    Each finished episode is stored before the next is begun in its place: a kill loses at most what was in flight.
    Attempts that a failed call ended are played again by the next rollout.

    Args:
        identity: see `plan`; default: the policy's name.
    """
    progress = progress or Silent()
    identity = identity or policy.name
    store.forget_failed_calls(plan(task, identity, cases, store, config, audience).run)
    work = plan(task, identity, cases, store, config, audience)
    queue = iter(work.todo)
    tally = _Tally()
    with progress.bar(policy.name, work.total, "episodes", done=work.stored) as bar:
        if work.todo and config.warm_up:
            await policy.warm_up(await task.environment(audience).reset(work.todo[0][0]))

        async def player() -> None:
            for case, attempt in queue:
                sampling = _sampling(config, case, attempt)
                episode = await play(
                    policy,
                    task.environment(audience),
                    case,
                    run=work.run,
                    task=task.name,
                    attempt=attempt,
                    sampling=sampling,
                )
                store.add([episode])
                bar.advance(1, **tally.count(episode))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(config.concurrency or policy.slots, max(1, len(work.todo)))):
                group.create_task(player())
    return work.run


def _sampling(config: RolloutConfig, case: Case, attempt: int) -> Sampling:
    return Sampling(
        temperature=config.retry_temperature if attempt else config.temperature,
        max_tokens=config.max_tokens,
        seed=int(digest([config.seed, case.id, attempt])[:7], 16),
        attempt=attempt,
    )


def play_all(
    task: Task,
    policy: Policy,
    cases: Sequence[Case],
    store: Store,
    config: RolloutConfig,
    *,
    audience: Audience = "teacher",
    identity: str = "",
    progress: Progress | None = None,
) -> str:
    """`rollout` for callers without an event loop; closes the policy when done.

    Raises: the PrenticeError that stopped it, on its own.
    """

    async def whole() -> str:
        try:
            return await rollout(
                task,
                policy,
                cases,
                store,
                config,
                audience=audience,
                identity=identity,
                progress=progress,
            )
        finally:
            await policy.close()

    try:
        return asyncio.run(whole())
    except BaseExceptionGroup as group:
        stopped = next((error for error in _leaves(group) if isinstance(error, PrenticeError)), None)
        if stopped is None:
            raise
        raise stopped from group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


class _Tally:
    """What the progress line says beside the count."""

    def __init__(self) -> None:
        self.played = self.right = self.failed = 0
        self.dollars = self.cpu = 0.0

    def count(self, episode: Episode) -> dict[str, str]:
        self.played += 1
        self.right += episode.metric("success") is True
        self.failed += episode.failure is not None
        self.dollars += episode.total("cost_usd") or 0.0
        self.cpu += episode.total("processing_s") or 0.0
        facts = {"success": f"{self.right / self.played:.0%}"}
        if self.dollars:
            facts["cost"] = f"${self.dollars:.4f}"
        elif self.cpu:
            facts["cost"] = f"{self.cpu:.0f} CPU-s"
        if self.failed:
            facts["failed"] = str(self.failed)
        return facts
