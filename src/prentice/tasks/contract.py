"""What is to be learnt: a task has cases, an environment that sets them in motion, and trivial policies to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from pydantic import JsonValue

from prentice.config import StageConfig
from prentice.models.policy import Policy
from prentice.records import Metric, Record, Reply, Request, Split

Audience = Literal["teacher", "student"]
"""Whose prompt is rendered; the student's may be shorter, since training can replace instructions."""


class Case(Record):
    """One thing to attempt."""

    id: str
    split: Split
    inputs: dict[str, JsonValue]
    expected: JsonValue = None
    """The answer key. It stays inside the environment: no episode, and so no curation, ever holds it."""


class Step(Record):
    """What the environment says to a reply: the next request, or None and the final metrics."""

    request: Request | None = None
    metrics: tuple[Metric, ...] = ()
    """About the whole episode; most come with the last step."""
    turn_metrics: tuple[Metric, ...] = ()
    """About the reply just given; who plays the episode writes the turn's number into them."""


class Environment(Protocol):
    """A task in motion, for one episode at a time."""

    async def reset(self, case: Case) -> Request:
        """Start `case`; return the first request."""
        ...

    async def step(self, reply: Reply) -> Step:
        """Take the policy's reply; return the next request, or the metrics at the end."""
        ...

    async def close(self) -> None:
        """Give back what it holds; called once after every episode, however it ended."""
        ...


@runtime_checkable
class Spender(Protocol):
    """An environment that calls models of its own: a simulated user, a judge."""

    async def spent(self) -> tuple[Metric, ...]:
        """What these models took in this episode so far; asked once before `close`, however the episode ended."""
        ...


class TaskConfig(StageConfig):
    """Base of the `[task]` sections: each task adds its own keys."""

    kind: str
    """The name of a built-in task, or `my_module:MyTask`."""


class Task(Protocol):
    """What is to be learnt.

    A class that `[task] kind` can name has a `Config` (its `TaskConfig`) and is made as `MyTask(config, folder)`.
    """

    name: str

    def fingerprint(self) -> str:
        """Hash of everything that shapes an episode: cases, prompts, grading."""
        ...

    def cases(self, split: Split) -> Sequence[Case]:
        """The cases of one split, in a fixed order."""
        ...

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment that prompts `audience`."""
        ...

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """The prompt of `function` for these inputs, as `audience` sees it."""
        ...

    def demonstration(self, case: Case) -> str | None:
        """What a person who knows the answer key would reply; None where there is no such answer."""
        ...

    def baselines(self) -> Mapping[str, Policy]:
        """Trivial policies that belong in every table, by name."""
        ...


@runtime_checkable
class Teaching(Protocol):
    """A task with policies that may be the teacher (`task:NAME`), but are no trivial ones to compare with."""

    def teachers(self) -> Mapping[str, Policy]:
        """These policies, by name."""
        ...
