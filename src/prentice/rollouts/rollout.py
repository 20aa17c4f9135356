"""Task × policy → episodes: concurrent, seeded, resumable. What is stored is never played again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from prentice.config import StageConfig
from prentice.errors import PrenticeError
from prentice.models.policy import Policy
from prentice.progress import Bar, Progress, Silent
from prentice.records import Episode, Sampling, digest
from prentice.records.store import Store
from prentice.rollouts.play import play
from prentice.tasks.contract import Audience, Case, Task


class RolloutConfig(StageConfig):
    """How a policy is rolled out on cases."""

    tries: int = Field(1, ge=1)
    """Attempts at each case; more than one needs a temperature above 0."""
    temperature: float = Field(0.0, ge=0)
    """0 takes the likeliest reply."""
    max_tokens: int = Field(512, ge=1)
    """Longest reply, in tokens."""
    seed: int = 0
    """Attempt n of a case draws with a seed made of this, the case and n."""
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


def run_id(task: Task, policy: str, audience: Audience, config: RolloutConfig) -> str:
    """The id of a rollout: the same task, policy and sampling resume the same run, whatever the concurrency."""
    sampling = config.model_dump(mode="json", exclude={"tries", "concurrency"})
    return digest([task.name, task.fingerprint(), policy, audience, sampling])


def plan(
    task: Task, policy: str, cases: Sequence[Case], store: Store, config: RolloutConfig, audience: Audience = "teacher"
) -> Plan:
    """Which attempts are missing from the store.

    Raises: PrenticeError when several tries would all be the same.
    """
    if config.tries > 1 and config.temperature == 0:
        raise PrenticeError(
            f"tries = {config.tries} at temperature 0 would be {config.tries} equal replies", "set a temperature above 0"
        )
    run = run_id(task, policy, audience, config)
    stored = store.attempts(run)
    # all first tries before any second one: whatever is there after a stop covers the most cases
    wanted = [(case, attempt) for attempt in range(config.tries) for case in cases]
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
    progress: Progress | None = None,
    title: str = "",
) -> str:
    """Play every missing attempt and store it; return the run's id.

    Each finished episode is stored before the next one is begun in its place, so a kill loses at most what was in flight.
    """
    progress = progress or Silent()
    work = plan(task, policy.name, cases, store, config, audience)
    queue = iter(work.todo)
    tally = _Tally()

    async def player(bar: Bar, rows: Iterator[tuple[Case, int]]) -> None:
        for case, attempt in rows:
            sampling = Sampling(
                temperature=config.temperature,
                max_tokens=config.max_tokens,
                seed=int(digest([config.seed, case.id, attempt])[:7], 16),
            )
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

    players = min(config.concurrency or policy.slots, max(1, len(work.todo)))
    with progress.bar(title or policy.name, work.total, "episodes", done=work.stored) as bar:
        async with asyncio.TaskGroup() as group:
            for _ in range(players):
                group.create_task(player(bar, queue))
    return work.run


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
