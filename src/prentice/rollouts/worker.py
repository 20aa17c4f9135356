"""The program of a process that environments run in: calls come on standard input, answers go to standard output."""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import signal
import sys
from typing import BinaryIO

from prentice.errors import PrenticeError
from prentice.rollouts.boundary import EndedEarly, boundary
from prentice.rollouts.wire import Answer, Call, Hello
from prentice.tasks.contract import Environment, Spender, Task

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
        task: Task = pickle.loads(base64.b64decode(hello.make_task))()
    except Exception as error:
        problem = f"the task cannot be made again in a process of its own: {error}"
        _send(answers, _line(Answer(to_fix=(problem, HINT))))
        return
    _send(answers, _line(Answer()))
    environments: dict[int, Environment] = {}
    for line in iter(calls.readline, b""):
        _send(answers, await _answer(task, environments, Call.model_validate_json(line)))


def _send(answers: BinaryIO, line: bytes) -> None:
    answers.write(line)
    answers.flush()


def _line(answer: Answer) -> bytes:
    return answer.model_dump_json(exclude_defaults=True).encode() + b"\n"


async def _answer(task: Task, environments: dict[int, Environment], call: Call) -> bytes:
    try:
        with boundary("environment"):
            # inside, since what no line can hold is this environment's failure
            return _line(await _call(task, environments, call))
    except EndedEarly as ended:
        return _line(Answer(failure=ended.failure))
    except PrenticeError as error:
        return _line(Answer(to_fix=(error.problem, error.hint)))


async def _call(task: Task, environments: dict[int, Environment], call: Call) -> Answer:
    if call.method == "reset":
        assert call.case is not None
        environment = environments[call.episode] = task.environment(call.audience)
        return Answer(request=await environment.reset(call.case))
    environment = environments[call.episode]
    if call.method == "step":
        assert call.reply is not None
        return Answer(step=await environment.step(call.reply))
    if call.method == "spent":
        return Answer(spent=await environment.spent() if isinstance(environment, Spender) else ())
    del environments[call.episode]
    await environment.close()
    return Answer()


if __name__ == "__main__":
    main()
