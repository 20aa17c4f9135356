"""A task whose environments misbehave as their case says; in a module, so that other processes can make it again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from prentice.models.policy import Policy
from prentice.records import Message, Metric, Reply, Request, Sampling, Split
from prentice.tasks import Audience, Case, Step


class Counting:
    """Count to `turns`; `fault` says what goes wrong at the second step."""

    async def reset(self, case: Case) -> Request:
        self.case, self.steps = case, 0
        return self._request()

    def _request(self) -> Request:
        inputs = {"case": self.case.id, "step": self.steps, "process": os.getpid()}
        return Request(function="count", inputs=inputs, messages=(Message(role="user", content=str(self.steps)),))

    async def step(self, reply: Reply) -> Step:
        self.steps += 1
        if self.case.inputs.get("fault") == "slow":
            time.sleep(0.1)  # noqa: ASYNC251 - it computes, that is the point
        if self.steps == 2:
            fault = await self._misbehave(str(self.case.inputs.get("fault", "")))
            if fault is not None:
                return fault
        if self.steps == self.case.inputs["turns"]:
            return Step(metrics=(Metric(name="success", value=reply.text == "yes"),))
        return Step(request=self._request(), turn_metrics=(Metric(name="step", value=float(self.steps)),))

    async def _misbehave(self, fault: str) -> Step | None:
        match fault:
            case "raises":
                raise ValueError("boom")
            case "dies":
                os._exit(3)
            case "hangs":
                time.sleep(60)  # noqa: ASYNC251 - it blocks, that is the fault
            case "waits":
                await asyncio.sleep(60)
            case "prints":
                print("LOOK AT ME")
            case "nan":
                return Step(metrics=(Metric(name="score", value=float("nan")),))
            case "hidden nan":
                return Step(metrics=(Metric.model_construct(name="score", value=float("nan")),))
            case "nonsense":
                return [1, 2]  # type: ignore[return-value]
        return None

    async def close(self) -> None:
        """Nothing to give back."""


class Yes:
    """Code alone, which may answer in any process."""

    name, slots, portable = "yes", 4, True

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Yes."""
        del request, sampling
        return Reply(message=Message(role="assistant", content="yes"), model=str(os.getpid()))

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""


class CountingTask:
    """`n` cases of `turns` turns; `faults` maps the number of a case to what goes wrong in it."""

    name = "counting"

    def __init__(self, n: int, turns: int = 3, faults: Mapping[int, str] | None = None) -> None:
        self.n, self.turns, self.faults = n, turns, dict(faults or {})

    def fingerprint(self) -> str:
        """The same for all: only the cases differ."""
        return "counting"

    def cases(self, split: Split) -> Sequence[Case]:
        """c0, c1, ..."""
        return [
            Case(id=f"c{i}", split=split, inputs={"turns": self.turns, "fault": self.faults.get(i, "")})
            for i in range(self.n)
        ]

    def environment(self, audience: Audience) -> Counting:
        """A fresh one."""
        del audience
        return Counting()

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """Its only question."""
        del audience
        return Request(function=function, inputs=dict(inputs), messages=())

    def demonstration(self, case: Case) -> str | None:
        """None."""
        del case
        return None

    def baselines(self) -> Mapping[str, Policy]:
        """None."""
        return {}
