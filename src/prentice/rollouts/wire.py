"""What a rollout and the processes of its environments say to each other: one JSON object a line, in order."""

from __future__ import annotations

from typing import Literal

from prentice.records import Failure, Metric, Reply, Request, Sampling
from prentice.records.base import Record
from prentice.rollouts.tally import Played
from prentice.tasks.contract import Audience, Case, Step


class Hello(Record):
    """The first line to a new process."""

    path: tuple[str, ...]
    """Where Python looks for modules."""
    make_task: str
    """A function without arguments that returns the task, pickled and in base64."""
    policy: str = ""
    """A portable policy that plays whole episodes there, pickled and in base64."""


class Attempt(Record):
    """An episode that is to be played."""

    run: str
    task: str
    case: Case
    attempt: int
    sampling: Sampling
    max_turns: int


class Call(Record):
    """Call a method of the environment that plays one episode, or have the portable policy play a whole one."""

    episode: int
    method: Literal["reset", "step", "spent", "close", "play"]
    audience: Audience = "teacher"
    case: Case | None = None
    reply: Reply | None = None
    attempt: Attempt | None = None


class Answer(Record):
    """What it returned or how it failed; every call has one, in the order of the calls."""

    going_on: bool = False
    """Not the answer yet: the whole episode that was asked for has come one turn further."""
    played: Played | None = None
    request: Request | None = None
    step: Step | None = None
    spent: tuple[Metric, ...] = ()
    failure: Failure | None = None
    to_fix: tuple[str, str] | None = None
    """Problem and hint of an error that is the user's to fix."""
