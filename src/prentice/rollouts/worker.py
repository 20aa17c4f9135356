"""The program of a process that environments run in: calls come on standard input, answers go to standard output."""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from prentice.errors import PrenticeError
from prentice.models.policy import Policy
from prentice.records import Episode, Reply, Request, Sampling
from prentice.rollouts.boundary import EndedEarly, boundary
from prentice.rollouts.play import Rules, play
from prentice.rollouts.tally import Played
from prentice.rollouts.wire import Answer, Call, Hello
from prentice.tasks.contract import Environment, Spender, Task

SIGN_OF_LIFE_S = 1.0
HINT = "keep its class in a module, not in the script that is run, or set [rollout] processes = 0"


def main() -> None:
    """Answer until standard input ends, which it does when the rollout ends or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the rollout's to handle
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what environments print must not come between the answers
    asyncio.run(_answer_all(sys.stdin.buffer, answers))


async def _answer_all(calls: BinaryIO, answers: BinaryIO) -> None:
    hello = Hello.model_validate_json(calls.readline())
    sys.path[:] = hello.path
    try:
        task: Task = _unpacked(hello.make_task)()
        policy = _Heard(_unpacked(hello.policy), lambda: _send(answers, _line(Answer(going_on=True))))
    except Exception as error:
        problem = f"the task or its policy cannot be made again in a process of its own: {error}"
        _send(answers, _line(Answer(to_fix=(problem, HINT))))
        return
    _send(answers, _line(Answer()))
    table = _Table(task, policy)
    for line in iter(calls.readline, b""):
        _send(answers, await table.answer(Call.model_validate_json(line)))


def _unpacked(text: str) -> Any:
    return pickle.loads(base64.b64decode(text)) if text else None


def _send(answers: BinaryIO, line: bytes) -> None:
    answers.write(line)
    answers.flush()


def _line(answer: Answer) -> bytes:
    return answer.model_dump_json(exclude_defaults=True).encode() + b"\n"


class _Heard:
    """A policy that lets the rollout hear now and then that its episode goes on: what hangs is silent."""

    def __init__(self, policy: Policy, beat: Callable[[], None]) -> None:
        self._policy, self._beat, self._last = policy, beat, time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """The policy's reply."""
        if time.monotonic() - self._last > SIGN_OF_LIFE_S:
            self._beat()
            self._last = time.monotonic()
        return await self._policy.generate(request, sampling)


class _Table:
    """The environments of this process, by the number of their episode."""

    def __init__(self, task: Task, policy: Policy) -> None:
        self._task, self._policy = task, policy
        self._environments: dict[int, Environment] = {}

    async def answer(self, call: Call) -> bytes:
        """The line that answers a call."""
        try:
            with boundary("environment"):
                # inside, since what no line can hold is this environment's failure
                return _line(await self._call(call))
        except EndedEarly as ended:
            return _line(Answer(failure=ended.failure))
        except PrenticeError as error:
            return _line(Answer(to_fix=(error.problem, error.hint)))

    async def _call(self, call: Call) -> Answer:
        if call.method == "play":
            return Answer(played=Played.of(await self._play(call)))
        if call.method == "reset":
            assert call.case is not None
            environment = self._environments[call.episode] = self._task.environment(call.audience)
            return Answer(request=await environment.reset(call.case))
        environment = self._environments[call.episode]
        if call.method == "step":
            assert call.reply is not None
            return Answer(step=await environment.step(call.reply))
        if call.method == "spent":
            return Answer(spent=await environment.spent() if isinstance(environment, Spender) else ())
        del self._environments[call.episode]
        await environment.close()
        return Answer()

    async def _play(self, call: Call) -> Episode:
        assert call.attempt is not None
        wanted = call.attempt
        return await play(
            self._policy,
            self._task.environment(call.audience),
            wanted.case,
            run=wanted.run,
            task=wanted.task,
            attempt=wanted.attempt,
            sampling=wanted.sampling,
            rules=Rules(wanted.max_turns, step_timeout_s=None),
        )


if __name__ == "__main__":
    main()
