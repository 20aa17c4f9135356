"""The one contract of this folder: a policy continues a chat."""

from __future__ import annotations

from typing import Protocol

from prentice.records import Reply, Request, Sampling


class Policy(Protocol):
    """Whatever answers: a teacher behind an API, a local student, a rule, a script in a test."""

    name: str
    slots: int
    """How many calls it serves at once without slowing each other much; callers keep that many in flight."""

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Answer `request`; raise `ModelError` if no reply could be had.

        A policy that cannot honour a part of the request (choices, schema, log-probabilities) raises before it calls.
        """
        ...

    async def warm_up(self, request: Request) -> None:
        """Get ready for requests that begin like this one, where that costs no money; elsewhere do nothing."""
        ...

    async def close(self) -> None:
        """Give back what it holds: memory, connections. Calling it twice is harmless."""
        ...


def is_portable(policy: Policy) -> bool:
    """Whether it says of itself, by `portable = True`, that it is code alone: pickled, it answers alike anywhere."""
    return bool(getattr(policy, "portable", False))
