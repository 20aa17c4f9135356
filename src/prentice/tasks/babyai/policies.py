"""Reference policies: the level's own expert program, the same made clumsy, and a random walk.

They see what every policy is sent: the request's inputs say level, seed and the actions so far, from which a world can
be built again. What they reply says nothing of how the action came about.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from prentice.records import Message, Reply, Request, Sampling, digest
from prentice.tasks.babyai.words import ACTIONS
from prentice.tasks.babyai.world import World

REMEMBERED = 4096
"""Episodes in flight whose worlds are kept; one that was forgotten is played again from its actions."""
MOVES = ACTIONS[:3]
"""What a random step draws from: the other actions mostly do nothing, so a walk without them is harder to beat."""
ENDLESS = 1 << 30
WAITED = ""
"""Stands in the list of actions for a step in which nothing was done."""


class RandomWalk:
    """Turns left or right or goes forward, each as likely as any other; the sampling's seed decides."""

    name, slots, portable = "random walk", 16, True

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """A random action."""
        return _reply(self.name, _dice(request, sampling).choice(MOVES))

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""


class Expert:
    """The expert program that BabyAI ships (`BabyAIBot`), made clumsy by a share of random steps.

    Args:
        clumsiness: share of the steps at which a random action is taken, drawn as `RandomWalk` draws it.
    """

    slots, portable = 16, True

    def __init__(self, clumsiness: float = 0.0) -> None:
        self.clumsiness = clumsiness
        self.name = f"clumsy expert ({clumsiness:.0%} random steps)" if clumsiness else "expert"
        self._minds: OrderedDict[tuple[JsonValue, ...], _Mind] = OrderedDict()

    def __reduce__(self) -> tuple[type[Expert], tuple[float]]:
        return Expert, (self.clumsiness,)  # worlds that it remembers can be built again anywhere

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """The expert's next action, or a random one."""
        dice = _dice(request, sampling)
        level, seed, actions = _whereabouts(request.inputs)
        mind = self._minds.pop((level, seed, *actions[:-1]), None) if actions else None
        if mind is None:
            mind = _Mind(level, seed)
            for action in actions[:-1]:
                mind.follow(action)
        if actions:
            mind.follow(actions[-1])
        self._minds[(level, seed, *actions)] = mind
        if len(self._minds) > REMEMBERED:
            self._minds.popitem(last=False)
        best = mind.advice()  # asked at every step, so that it keeps up with what was really done
        return _reply(self.name, dice.choice(MOVES) if dice.random() < self.clumsiness else best)

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Forget all worlds."""
        self._minds.clear()


class _Mind:
    """The expert program in a world of its own, which follows what happens in the environment's."""

    def __init__(self, level: str, seed: int) -> None:
        self._world = World(level, seed, ENDLESS)
        self._bot = self._fresh()
        self._done: int | None = None

    def follow(self, action: str) -> None:
        """See an action done."""
        if action == WAITED:
            self._world.wait()
            return
        self._world.act(action)
        self._done = ACTIONS.index(action)

    def advice(self) -> str:
        """What the program would do now."""
        try:
            number = int(self._bot.replan(self._done))
        except Exception:  # it gives up on states that no expert gets into; a new one plans from what is
            self._bot = self._fresh()
            number = self._second_thought()
        self._done = None
        return ACTIONS[number] if number < len(ACTIONS) else "go forward"

    def _second_thought(self) -> int:
        try:
            return int(self._bot.replan())
        except Exception:
            return ACTIONS.index("go forward")

    def _fresh(self) -> Any:
        from minigrid.utils.baby_ai_bot import BabyAIBot

        make: Any = BabyAIBot  # it has no types
        return make(self._world.env)


def _whereabouts(inputs: Mapping[str, JsonValue]) -> tuple[str, int, list[str]]:
    actions = inputs["actions"]
    assert isinstance(actions, list)
    return str(inputs["level"]), int(str(inputs["seed"])), [str(action) for action in actions]


def _dice(request: Request, sampling: Sampling) -> random.Random:
    _, seed, actions = _whereabouts(request.inputs)
    return random.Random(digest([sampling.seed, sampling.attempt, seed, len(actions)]))


def _reply(name: str, action: str) -> Reply:
    # no time and no cost: a program's say nothing about those of the model it stands in for
    return Reply(message=Message(role="assistant", content=action), model=name)
