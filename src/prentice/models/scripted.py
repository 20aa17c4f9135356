"""A policy that answers from a script: for tests, rules and trivial baselines. No model behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prentice.errors import ModelError
from prentice.records import Message, Reply, Request, Sampling, Usage

Answer = str | Message | Exception


class ScriptedModel:
    """Answers each request in turn from a list, or every request by a function; an exception in its place is raised.

    Args:
        answers: the replies in order, or a function from request to reply.
        name: how records call it.
        slots: how many calls at once it pretends to serve; keep 1 where the order of the list matters.
    """

    def __init__(
        self, answers: Iterable[Answer] | Callable[[Request], Answer], name: str = "scripted", slots: int = 1
    ) -> None:
        self.name = name
        self.slots = slots
        if callable(answers):
            self._answer = answers
        else:
            rest = iter(answers)
            self._answer = lambda _: next(rest, ModelError("the script has no more replies"))

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Give the next answer of the script."""
        del sampling
        answer = self._answer(request)
        if isinstance(answer, Exception):
            raise answer
        message = answer if isinstance(answer, Message) else Message(role="assistant", content=answer)
        return Reply(message=message, model=self.name, usage=Usage(), latency_s=0.0, processing_s=0.0)

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""
