"""What is to be learnt: a task has cases, an environment that sets them in motion, and trivial policies to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
class Dividing(Protocol):
    """A task that several functions share, each with instructions of its own."""

    functions: tuple[str, ...]
    """Their names, as requests carry them."""


def functions_of(task: Task) -> tuple[str, ...]:
    """The functions that share a task; one without a name where it does not say."""
    return task.functions if isinstance(task, Dividing) else ("",)


def begins_with_models(task: Task) -> bool:
    """Whether its environment may ask models of its own for the first prompt: it cannot be looked at for nothing."""
    return bool(getattr(task, "begins_with_models", False))


@dataclass(frozen=True)
class Measure:
    """A figure about all episodes together: the mean of a metric, or a ratio of two sums, such as precision or F1.

    Args:
        top: the metric whose values are added up; where an episode lacks it, it is 0.
        bottom: the metrics that the sum is divided by, added up; none: the number of episodes.
        factor: of the ratio; 2 makes F1 of `right / (said + expected)`.
    """

    top: str
    bottom: tuple[str, ...] = ()
    factor: float = 1.0


@runtime_checkable
class Measuring(Protocol):
    """A task whose report has more to show than success."""

    def measures(self) -> Mapping[str, Measure]:
        """These figures, by the name that the report gives them."""
        ...


@runtime_checkable
class Sifting(Protocol):
    """A task that leaves some of what it reads out, and says so in the report."""

    @property
    def left_out(self) -> Mapping[str, int]:
        """Reason → cases that were read and are not used."""
        ...


@runtime_checkable
class Teaching(Protocol):
    """A task with policies that may be the teacher (`task:NAME`), but are no trivial ones to compare with."""

    def teachers(self) -> Mapping[str, Policy]:
        """These policies, by name."""
        ...
