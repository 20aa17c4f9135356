"""The policy to beat wherever replies are choices: one of them by chance."""

from __future__ import annotations

import random

from prentice.errors import ModelError
from prentice.records import Message, Reply, Request, Sampling, digest


class RandomChoice:
    """Draws each of a request's choices with the same probability; the sampling's seed and the prompt decide."""

    name, slots = "random choice", 64

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """One of the choices; raises ModelError if there are none."""
        if not request.choices:
            raise ModelError("there is nothing to choose from")
        said = [message.content for message in request.messages]
        dice = random.Random(digest([sampling.seed, sampling.attempt, said]))
        message = Message(role="assistant", content=dice.choice(request.choices))
        return Reply(message=message, model=self.name, latency_s=0.0, processing_s=0.0)

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""
