"""Task × policy → episodes: concurrent, seeded, resumable. What is stored is never played again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

from prentice.errors import PrenticeError
from prentice.models.budget import BudgetSpentError
from prentice.models.policy import Policy
from prentice.progress import Bar, Progress, Silent
from prentice.records import Episode
from prentice.records.store import Store
from prentice.rollouts.boundary import PlayAgain
from prentice.rollouts.config import RolloutConfig
from prentice.rollouts.plan import Plan, plan, run_id, sampling_of
from prentice.rollouts.play import Rules, play
from prentice.rollouts.printing import printing_to_log
from prentice.rollouts.processes import Processes
from prentice.rollouts.spending import limited_to
from prentice.rollouts.tally import Played, Tally
from prentice.rollouts.wire import Attempt
from prentice.rollouts.writing import Writer
from prentice.tasks.contract import Audience, Case, Environment, Spender, Task


class Options(TypedDict, total=False):
    """What most rollouts leave as it is."""

    audience: Audience
    """Whose prompt is rendered; default: the teacher's."""
    identity: str
    """See `plan`; default: the policy's name."""
    progress: Progress
    """Where it says how far it is; default: nowhere."""


async def rollout(
    task: Task,
    policy: Policy,
    cases: Sequence[Case],
    store: Store,
    config: RolloutConfig,
    **options: Unpack[Options],
) -> str:
    """Play every missing attempt and store it; return the run's id.

    Each finished episode is stored before it is counted and before the next is begun in its place: a kill loses at most
    what was in flight. Attempts that a failed call ended are played again by the next rollout.

    Raises: BudgetSpentError once no further call fits; what was under way and could be finished is stored.
    """
    audience, identity = options.get("audience", "teacher"), options.get("identity") or policy.name
    progress = options.get("progress") or Silent()
    if cases:
        store.forget_failed_calls(run_id(task, identity, audience, cases[0].split, config))
    work = plan(task, identity, cases, store, config, audience)
    with (
        progress.bar(policy.name, work.total, "episodes", done=work.stored) as bar,
        printing_to_log(),  # after the bar, which takes standard output for itself
        limited_to(config.budget_usd, store, work.run),
    ):
        # an environment with models inside would ask them for the sake of a prompt
        if work.todo and config.warm_up and not getattr(task, "has_models", False):
            await policy.warm_up(await task.environment(audience).reset(work.todo[0][0]))
        seats = min(config.concurrency or policy.slots, max(1, len(work.todo)))
        # what has to pass a guard is played here: episodes of other processes come ready for the store
        sent = policy if store.guard is None else None
        async with _places(task, sent, audience, config) as place, Writer(store, seats) as writer:
            table = _Table(task.name, policy, place, config, work, writer, bar, store.guarded)
            async with asyncio.TaskGroup() as group:
                for _ in range(seats):
                    group.create_task(table.play_on())
    table.say_if_stopped()
    return work.run


def play_all(
    task: Task,
    policy: Policy,
    cases: Sequence[Case],
    store: Store,
    config: RolloutConfig,
    **options: Unpack[Options],
) -> str:
    """`rollout` for callers without an event loop; closes the policy when done.

    Raises: the PrenticeError that stopped it, on its own.
    """

    async def whole() -> str:
        try:
            return await rollout(task, policy, cases, store, config, **options)
        finally:
            await policy.close()

    try:
        return asyncio.run(whole())
    except BaseExceptionGroup as group:
        stopped = next((error for error in _leaves(group) if isinstance(error, PrenticeError)), None)
        if stopped is None:
            raise
        raise stopped from group


@dataclass
class _Table:
    """Where the players sit: each takes the next attempt from the pile until none is left."""

    task: str
    policy: Policy
    place: Processes | _Here
    config: RolloutConfig
    work: Plan
    writer: Writer
    bar: Bar
    guarded: Callable[[Episode], Episode]
    tally: Tally = field(default_factory=Tally)
    stopped: BudgetSpentError | None = None

    def __post_init__(self) -> None:
        self.pile = iter(self.work.todo)
        self.rules = Rules(self.config.max_turns, None if self.config.processes else self.config.step_timeout_s)

    async def play_on(self) -> None:
        """One player: play and store, until the pile or the budget is at its end."""
        for case, attempt in self.pile:
            if self.stopped:
                return
            self.tally.in_flight += 1
            try:
                episode = await self._episode(case, attempt)
                await self.writer.add(episode.rows)
            except BudgetSpentError as error:
                self.stopped = error  # others may still afford to finish theirs
                return
            finally:
                self.tally.in_flight -= 1
            self.tally.count(episode)
            self.bar.advance(1, **self.tally.facts())

    async def _episode(self, case: Case, number: int) -> Played:
        attempt = Attempt(
            run=self.work.run,
            task=self.task,
            case=case,
            attempt=number,
            sampling=sampling_of(self.config, case, number),
            max_turns=self.config.max_turns,
        )
        return await self.place.play(attempt) or Played.of(self.guarded(await self._step_by_step(attempt)))

    async def _step_by_step(self, wanted: Attempt) -> Episode:
        while True:
            try:
                return await play(
                    self.policy,
                    await self.place.environment(),
                    wanted.case,
                    run=wanted.run,
                    task=wanted.task,
                    attempt=wanted.attempt,
                    sampling=wanted.sampling,
                    rules=self.rules,
                )
            except PlayAgain:
                continue

    def say_if_stopped(self) -> None:
        """Raise what stopped the players early, with how far they came."""
        if self.stopped is not None:
            played = self.work.stored + self.tally.played
            raise BudgetSpentError(
                f"{self.stopped.problem}: {played:,} of {self.work.total:,} episodes are played",
                "raise [rollout] budget_usd and run the same command again: it goes on from here",
            )


@dataclass(frozen=True)
class _Here:
    """This process, where environments run that are not sent to others."""

    task: Task
    audience: Audience

    async def environment(self) -> Environment:
        """A fresh one."""
        return self.task.environment(self.audience)

    async def play(self, attempt: Attempt) -> Played | None:
        """None: it is played step by step."""
        del attempt
        return None


@asynccontextmanager
async def _places(
    task: Task, policy: Policy | None, audience: Audience, config: RolloutConfig
) -> AsyncIterator[Processes | _Here]:
    """Where environments run: here, or in the configured processes."""
    here = _Here(task, audience)
    if not config.processes:
        yield here
        return
    if config.budget_usd is not None and isinstance(await here.environment(), Spender):
        raise PrenticeError(
            "models inside an environment cannot be paid from the budget when it runs in another process",
            "set [rollout] processes = 0",
        )
    async with Processes(task, policy, audience, config.processes, config.step_timeout_s) as processes:
        yield processes


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
