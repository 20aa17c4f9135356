"""Environments in processes of their own: for those that compute much, and those that may hang or crash.

The processes are fresh interpreters, never forks, and talk over pipes, so that no script needs a main guard. A process
serves many episodes in turn. When one dies or is stopped, the episode it was at work for has failed; the others that it
served begin anew in the next one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import pickle
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from prentice.errors import PrenticeError
from prentice.models.policy import Policy, is_portable
from prentice.records import Failure, Metric, Reply, Request
from prentice.rollouts.boundary import EndedEarly, PlayAgain
from prentice.rollouts.tally import Played
from prentice.rollouts.wire import Answer, Attempt, Call, Hello
from prentice.rollouts.worker import HINT
from prentice.tasks.contract import Audience, Case, Environment, Step, Task

_LONGEST_LINE = 1 << 30


class Processes:
    """So many processes, started when first needed and again when they die; leaving the block ends them.

    Args:
        task: is made again from its class, `config` and `folder`; or pickled, where it has none or its class has its
            own `__reduce__`. So its class lies in a module.
        policy: if it is portable, it is sent too and can play whole episodes there; None sends none.
        limit_s: seconds that a process may take for one answer; it is stopped then.
    Raises: PrenticeError if the task or a portable policy cannot be sent.
    """

    def __init__(self, task: Task, policy: Policy | None, audience: Audience, count: int, limit_s: float) -> None:
        self._hello = Hello(
            path=tuple(sys.path),
            make_task=_packed(f"task {task.name!r}", lambda: _maker(task)),
            policy=_packed(f"policy {policy.name!r}", lambda: policy) if policy and is_portable(policy) else "",
        )
        self._audience: Audience = audience
        self._count, self._limit_s = count, limit_s
        self._starts: list[asyncio.Task[_Worker]] = []
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        self._starts = [asyncio.create_task(_Worker.start(self._hello, self._limit_s)) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for start in self._starts:
            start.cancel()
        for worker in await asyncio.gather(*self._starts, return_exceptions=True):
            if isinstance(worker, _Worker):
                await worker.end()

    async def environment(self) -> Environment:
        """A fresh environment for one episode, in the process that has the fewest.

        Raises: PrenticeError if no process can be started.
        """
        return _Elsewhere(await self._least_busy(), next(self._numbers), self._audience)

    async def play(self, attempt: Attempt) -> Played | None:
        """A whole episode of the portable policy, which answers beside its environment: nothing waits for a pipe.

        None if there is no such policy, or the episode brought its process down: played step by step, what came
        before is known.

        Raises: PrenticeError if no process can be started, or the user has to fix something.
        """
        if not self._hello.policy:
            return None
        call = Call(episode=next(self._numbers), method="play", audience=self._audience, attempt=attempt)
        while True:
            worker = await self._least_busy()
            worker.episodes += 1
            try:
                return (await worker.ask(call)).played
            except PlayAgain:
                continue
            except EndedEarly:
                return None
            finally:
                worker.episodes -= 1

    async def _least_busy(self) -> _Worker:
        for place, start in enumerate(self._starts):
            if start.done() and start.result().dead:
                self._starts[place] = asyncio.create_task(_Worker.start(self._hello, self._limit_s))
        if not any(start.done() for start in self._starts):
            await asyncio.wait(self._starts, return_when=asyncio.FIRST_COMPLETED)
        ready = [start.result() for start in self._starts if start.done()]
        return min(ready, key=lambda worker: worker.episodes)


def _packed(what: str, make: Callable[[], object]) -> str:
    try:
        return base64.b64encode(pickle.dumps(make())).decode()
    except Exception as error:
        raise PrenticeError(f"{what} cannot be sent to another process: {error}", HINT) from error


def _maker(task: Task) -> Callable[[], Task]:
    if getattr(task, "has_models", False):
        raise ValueError("the models inside it are held, limited and paid for by this one")
    kind: Any = type(task)
    if hasattr(task, "config") and hasattr(task, "folder") and kind.__reduce__ is object.__reduce__:
        return partial(kind, task.config, task.folder)
    return partial(_itself, task)


def _itself(task: Task) -> Task:
    return task


class _Worker:
    """One process, from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process, limit_s: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.episodes = 0
        self.dead = False
        self._process, self._calls, self._answers = process, process.stdin, process.stdout
        self._limit_s = limit_s
        self._unanswered: deque[asyncio.Future[Answer]] = deque()
        self._clock: asyncio.TimerHandle | None = None
        self._hung = False
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, hello: Hello, limit_s: float) -> Self:
        """A process that has made the task.

        Raises: PrenticeError if it could not.
        """
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        command = (sys.executable, "-m", "prentice.rollouts.worker")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=nothing, limit=_LONGEST_LINE
        )
        worker = cls(process, limit_s)
        try:
            worker._calls.write(hello.model_dump_json().encode() + b"\n")
            first = await worker._answers.readline()
            if not first:
                how = await worker._how_it_ended()
                raise PrenticeError(f"a process for environments ended at its start ({how})", HINT)
            _checked(Answer.model_validate_json(first))
        except BaseException:
            await worker.end()
            raise
        worker._reading = asyncio.create_task(worker._read())
        return worker

    async def ask(self, call: Call) -> Answer:
        """The answer to a call; cancelling it stops the process, which cannot be told to leave a call.

        Raises: EndedEarly if the environment failed or the process died of it, PlayAgain if it died of another.
        """
        if self.dead:
            raise PlayAgain
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._unanswered.append(answer)
        if len(self._unanswered) == 1:
            self._time_first()
        self._calls.write(call.model_dump_json(exclude_defaults=True).encode() + b"\n")
        try:
            return _checked(await answer)
        except asyncio.CancelledError:
            self.dead = True
            self._kill()
            raise

    async def end(self) -> None:
        """Stop it."""
        self.dead = True
        if self._clock is not None:
            self._clock.cancel()
        self._kill()
        self._calls.close()
        if self._reading is not None:
            await self._reading
        await self._process.wait()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._calls.wait_closed()  # else the pipe is found open when the event loop is gone

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        while line := await self._answers.readline():
            said = Answer.model_validate_json(line)
            answer = self._unanswered[0] if said.going_on else self._unanswered.popleft()
            self._time_first()
            if not said.going_on and not answer.done():
                answer.set_result(said)
        self.dead = True
        how = f"its process died ({await self._how_it_ended()})"
        if self._hung:
            how = f"gave no answer within {self._limit_s:g} s ([rollout] step_timeout_s)"
        # it answers in order, so the first without an answer is what it was at work for
        error: Exception = EndedEarly(Failure(where="environment", message=how))
        for answer in self._unanswered:
            if not answer.done():
                answer.set_exception(error)
            error = PlayAgain()

    def _time_first(self) -> None:
        """Start the clock for the call that is first in the line: the others only wait for it."""
        if self._clock is not None:
            self._clock.cancel()
        running = asyncio.get_running_loop()
        self._clock = running.call_later(self._limit_s, self._stop_hung) if self._unanswered else None

    def _stop_hung(self) -> None:
        self._hung = True
        self._kill()

    async def _how_it_ended(self) -> str:
        code = await self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _checked(answer: Answer) -> Answer:
    if answer.failure is not None:
        raise EndedEarly(answer.failure)
    if answer.to_fix is not None:
        raise PrenticeError(*answer.to_fix)
    return answer


class _Elsewhere:
    """The environment of one episode, in one of the processes."""

    def __init__(self, worker: _Worker, episode: int, audience: Audience) -> None:
        self._worker, self._episode, self._audience = worker, episode, audience
        worker.episodes += 1

    async def reset(self, case: Case) -> Request:
        call = Call(episode=self._episode, method="reset", audience=self._audience, case=case)
        answer = await self._worker.ask(call)
        assert answer.request is not None
        return answer.request

    async def step(self, reply: Reply) -> Step:
        answer = await self._worker.ask(Call(episode=self._episode, method="step", reply=reply))
        assert answer.step is not None
        return answer.step

    async def spent(self) -> tuple[Metric, ...]:
        if self._worker.dead:
            return ()
        return (await self._worker.ask(Call(episode=self._episode, method="spent"))).spent

    async def close(self) -> None:
        self._worker.episodes -= 1
        if not self._worker.dead:
            await self._worker.ask(Call(episode=self._episode, method="close"))
