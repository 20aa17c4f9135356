"""A remote model whose calls are gathered into jobs of its provider's batch endpoint.

Calls that are asked for together go out together: all first turns of a rollout are one job, all second turns the next.
A job's id is on disk before its replies are waited for, so a second run picks them up instead of paying twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from prentice.errors import ConfigError, ModelError, UnknownNameError
from prentice.models.budget import Bill
from prentice.models.faults import Fault, backoff_s, read_error
from prentice.models.forms import reply_of
from prentice.models.jobs import BATCHES, Jobs, Outcomes
from prentice.models.remote import RemoteModel
from prentice.progress import Progress, Silent
from prentice.records import Reply, Request, Sampling, digest
from prentice.runs import read_record, write_atomic

if TYPE_CHECKING:
    from any_llm.types.completion import ChatCompletion

SLOTS = 10_000
"""Calls in one job; OpenAI takes 50 000, Anthropic 100 000, both some 200 MB."""


class JobRecord(BaseModel):
    """A job that was handed in."""

    job: str
    model: str
    keys: tuple[str, ...]
    """Its calls that are not known to have failed."""


@dataclass(frozen=True)
class Waits:
    """Seconds between looks."""

    quiet_s: float = 2.0
    """A job goes out when nothing more has been asked for so long."""
    poll_s: float = 30.0
    """How often a job at work is looked at."""


class BatchedModel:
    """A policy that answers slowly and cheaply.

    Args:
        model: what is asked.
        folder: where jobs are noted.
        progress: told when a job goes out and when it is back.

    Raises: ConfigError if its provider has no batch endpoint that is known.
    """

    def __init__(
        self,
        model: RemoteModel,
        folder: Path,
        *,
        progress: Progress | None = None,
        waits: Waits = Waits(),
    ) -> None:
        try:
            self._jobs: Jobs = BATCHES.load(model.provider)()
        except UnknownNameError as error:
            raise ConfigError(f"{model.name}: no batch endpoint is known there", "set batch = false") from error
        if model.price is not None:
            model.price = model.price.discounted(model.settings.batch_discount)
        self.name, self.slots = model.name, SLOTS
        self._model, self._folder, self._waits = model, folder, waits
        self._progress = progress or Silent()
        self._asked: dict[str, asyncio.Future[ChatCompletion]] = {}
        self._pending: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By job; the one that gathers has no name."""
        self._known = {key: record.job for record in self._records() for key in record.keys}

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Hand the call in with others, and wait for its reply; `latency_s` is not known then.

        Raises: ModelError if the provider failed at it; BudgetSpentError.
        """
        call = self._model.arguments(request, sampling)
        key = digest([self.name, call])
        bill = Bill(self._model.most_usd(request, sampling))
        await bill.attempt(key)
        try:
            completion = await self._ask(key, call)
        except ModelError:
            bill.refund()
            raise
        # dropped while it waits, a call stays set aside under its key: the job goes on, and the next run asks for it
        dollars = self._model.dollars(completion)
        bill.pay(dollars)
        reply = reply_of(self.name, completion, request, self._model.honoured)
        return reply.model_copy(update={"cost_usd": dollars})

    async def warm_up(self, request: Request) -> None:
        """Do nothing: a call may cost money."""

    async def close(self) -> None:
        """Close the connections; jobs at work go on, and stay noted until a run has had all it asked for."""
        is_answered = all(future.done() and not future.cancelled() for future in self._asked.values())
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if is_answered:
            for record in self._records():
                self._file(record.job).unlink(missing_ok=True)
        self._asked.clear()
        self._tasks.clear()
        await self._model.close()

    async def _ask(self, key: str, call: dict[str, Any]) -> ChatCompletion:
        if key not in self._asked:
            self._asked[key] = asyncio.get_running_loop().create_future()
            if key in self._known:
                self._begin(self._known[key], self._collect(self._known[key]))
            else:
                self._pending[key] = call
                self._begin("", self._gather())
        # a caller that is cancelled takes the reply from nobody else
        return await asyncio.shield(self._asked[key])

    def _begin(self, job: str, work: Any) -> None:
        running = self._tasks.get(job)
        if running is None or (running.done() and not job):
            self._tasks[job] = asyncio.create_task(work)
        else:
            work.close()

    async def _gather(self) -> None:
        """Hand in what is pending once no more comes."""
        seen = -1
        while seen != len(self._pending):
            seen = len(self._pending)
            await asyncio.sleep(self._waits.quiet_s)
        while calls := {key: self._pending.pop(key) for key in list(self._pending)[:SLOTS]}:
            try:
                job = await self._submit(calls)
            except ModelError as error:
                self._fail(calls, error)
                continue
            write_atomic(self._file(job), JobRecord(job=job, model=self.name, keys=tuple(calls)).model_dump_json())
            self._known.update(dict.fromkeys(calls, job))
            share = self._model.settings.batch_discount
            self._progress.say(
                f"{self.name}: {len(calls):,} calls handed in as job {job}, {share:.0%} off. It may take a day; "
                "stop at will, the same command picks it up"
            )
            self._begin(job, self._collect(job))

    async def _submit(self, calls: Mapping[str, dict[str, Any]]) -> str:
        client = await self._model.clients.here()
        for attempt in range(1, self._model.settings.retries + 2):
            try:
                return await self._jobs.submit(client, calls)
            except Exception as error:
                fault = self._fault(error)
                if not fault.is_retryable or attempt > self._model.settings.retries:
                    raise ModelError(
                        f"{self.name}: {fault.problem}", fault.hint, retryable=fault.is_retryable
                    ) from error
                await asyncio.sleep(backoff_s(attempt) if fault.pause_s is None else fault.pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _collect(self, job: str) -> None:
        """Wait for a job and hand its replies out."""
        outcomes = None
        while outcomes is None:
            try:
                outcomes = await self._jobs.outcomes(await self._model.clients.here(), job)
            except Exception as error:
                fault = self._fault(error)
                if not fault.is_retryable:
                    outcomes = {}
                    self._progress.say(f"{self.name}: job {job}: {fault.problem}")
            if outcomes is None:
                await asyncio.sleep(self._waits.poll_s)
        self._hand_out(job, outcomes)

    def _hand_out(self, job: str, outcomes: Outcomes) -> None:
        keys = [key for key, known in self._known.items() if known == job]
        good = {key: found for key in keys if not isinstance(found := outcomes.get(key, ""), str)}
        failed = {key: str(outcomes.get(key) or "not answered in time") for key in keys if key not in good}
        # what failed is asked for anew by the next run
        write_atomic(self._file(job), JobRecord(job=job, model=self.name, keys=tuple(good)).model_dump_json())
        self._progress.say(f"{self.name}: job {job} is back: {len(good):,} replies, {len(failed):,} failed")
        for key, why in failed.items():
            self._fail([key], ModelError(f"{self.name}: job {job}: {why}", retryable=True))
        for key, completion in good.items():
            future = self._asked.setdefault(key, asyncio.get_running_loop().create_future())
            if not future.done():
                future.set_result(completion)

    def _fail(self, keys: Iterable[str], error: ModelError) -> None:
        for key in keys:
            self._known.pop(key, None)
            future = self._asked.pop(key, None)
            if future is not None and not future.done():
                future.set_exception(error)

    def _fault(self, error: Exception) -> Fault:
        from any_llm.utils.exception_handler import convert_exception

        clients = self._model.clients
        return read_error(convert_exception(error, clients.provider), clients.key_variable, clients.keys())

    def _records(self) -> list[JobRecord]:
        found = [read_record(JobRecord, file) for file in sorted(self._folder.glob("*.json"))]
        return [record for record in found if record.model == self.name]

    def _file(self, job: str) -> Path:
        return self._folder / f"{job}.json"
