"""A task that a random model can learn by play: write the letter `e`, twice; and a student that draws from a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from prentice.errors import ModelError
from prentice.models.local import Drawn
from prentice.models.policy import Policy
from prentice.records import Message, Metric, Reply, Request, Sampling, Split, digest
from prentice.tasks import Audience, Case, Step
from prentice.tasks.contract import TaskConfig

WORDS = ("one", "two", "three", "four")


class LettersConfig(TaskConfig):
    """How often an `e` is asked for."""

    turns: int = 2
    """Turns of an episode."""


class _Letters:
    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._said: list[Message] = []

    async def reset(self, case: Case) -> Request:
        self._case = case
        if case.inputs["fault"]:
            raise ValueError("boom")
        return self._request()

    def _request(self) -> Request:
        asked = Message(role="user", content=str(self._case.inputs["word"]))
        return Request(function="letters", messages=(asked, *self._said))

    async def step(self, reply: Reply) -> Step:
        self._said += [Message(role="assistant", content=reply.text), Message(role="user", content="Again")]
        replies = [message.content for message in self._said if message.role == "assistant"]
        if len(replies) < self._turns:
            return Step(request=self._request())
        share = sum("e" in text for text in replies) / self._turns
        return Step(metrics=(Metric(name="success", value=share == 1), Metric(name="share", value=share)))

    async def close(self) -> None:
        """Nothing to give back."""


class Letters:
    """Reply with an `e` in it."""

    Config = LettersConfig
    name = "letters"

    def __init__(self, config: LettersConfig, folder: Path) -> None:
        del folder
        self.config = config

    def fingerprint(self) -> str:
        """Hash of the settings."""
        return digest([self.config.turns])

    def cases(self, split: Split) -> Sequence[Case]:
        """One a word."""
        return [Case(id=word, split=split, inputs={"word": word, "fault": False}) for word in WORDS]

    def environment(self, audience: Audience) -> _Letters:
        """A fresh environment."""
        del audience
        return _Letters(self.config.turns)

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """Nothing asks for it."""
        raise NotImplementedError(function, inputs, audience)

    def demonstration(self, case: Case) -> str | None:
        """None."""
        del case
        return None

    def baselines(self) -> Mapping[str, Policy]:
        """None."""
        return {}


class ScriptedDrawer:
    """Draws what a function says of the request and the try; None stands for a model that fails.

    Args:
        seconds: that a draw takes.
    """

    def __init__(self, answer: Callable[[Request, int], str | None], seconds: float = 0.0) -> None:
        self._answer, self._seconds = answer, seconds
        self.asked: list[Sampling] = []
        self.shown: list[Sequence[Message]] = []

    async def draw(self, request: Request, sampling: Sampling) -> Drawn:
        """The answer, a token a letter."""
        self.asked.append(sampling)
        self.shown.append(request.messages)
        await asyncio.sleep(self._seconds)
        text = self._answer(request, sampling.attempt)
        if text is None:
            raise ModelError("no reply")
        reply = Reply(message=Message(role="assistant", content=text), model="script")
        ids = (*map(ord, text), 2)
        return Drawn((1, 5), ids, (-0.5,) * len(ids), reply)
