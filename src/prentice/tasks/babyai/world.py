"""A BabyAI level in motion: what is seen, what an action does, how far it still is. Knows nothing of prompts."""

from __future__ import annotations

import contextlib
import difflib
import io
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

from prentice.errors import MissingExtraError, UnknownNameError
from prentice.tasks.babyai.paths import distances
from prentice.tasks.babyai.sight import Sight
from prentice.tasks.babyai.words import ACTIONS, describe

PREFIX = "BabyAI-"
CHANGES_THE_GRID = ("pick up", "drop", "toggle")


class Outcome(NamedTuple):
    """What an action led to."""

    done: bool
    success: bool
    reward: float
    """minigrid's own: 1 − 0.9 · steps / step limit on success, else 0."""


class World:
    """One level, started from one seed; equal levels and seeds are equal worlds.

    Args:
        level: a level's name without prefix and version, such as `GoToLocal`.
        seed: decides rooms, objects, the agent's place and its instruction.
        max_steps: actions allowed.
    Raises: UnknownNameError, MissingExtraError.
    """

    def __init__(self, level: str, seed: int, max_steps: int) -> None:
        self.env: Any = make_level(level)
        self.env.gen_obs = dict  # asked for at every step; it takes longer than all the rest, and `Sight` does its work
        with contextlib.redirect_stdout(io.StringIO()):  # it says which draws of a level it rejected
            self.env.reset(seed=seed)
        self.env.max_steps = max_steps
        self._sight = Sight(self.env.grid)
        self._ways: dict[tuple[int, int, int], int] | None = None

    @property
    def mission(self) -> str:
        """The instruction, such as `go to the red ball`."""
        return str(self.env.mission)

    @property
    def observation(self) -> str:
        """What the agent sees and carries."""
        env, held = self.env, self.env.carrying
        x, y = map(int, env.agent_pos)
        seen = self._sight.look(x, y, int(env.agent_dir), held and held.encode())
        return describe(seen, (held.color, held.type) if held else None)

    def state(self) -> tuple[Any, ...]:
        """Equal for two moments between which nothing differs but the time."""
        env, held = self.env, self.env.carrying
        return (*map(int, env.agent_pos), int(env.agent_dir), held and (held.color, held.type), self._sight.key)

    def act(self, action: str) -> Outcome:
        """Do one of `ACTIONS`."""
        _, reward, success, cut, _ = self.env.step(ACTIONS.index(action))
        if action in CHANGES_THE_GRID and (sight := Sight(self.env.grid)).key != self._sight.key:
            self._sight, self._ways = sight, None
        won = bool(success) and reward > 0
        return Outcome(done=bool(success or cut), success=won, reward=float(reward) if won else 0.0)

    def wait(self) -> Outcome:
        """Let a step pass in which nothing is done."""
        self.env.step_count += 1
        return Outcome(done=self.env.step_count >= self.env.max_steps, success=False, reward=0.0)

    def path_left(self) -> int | None:
        """Fewest actions until the instruction is carried out; None where this is not known.

        Known for instructions to go to, pick up or open one object, unless the way leads through a locked door or
        something has to be moved out of it.
        """
        if self._ways is None:
            self._ways = distances(self.env.grid, self._targets())
        x, y = map(int, self.env.agent_pos)
        left = self._ways.get((x, y, int(self.env.agent_dir)))
        return None if left is None else left + self._last_action()

    def _targets(self) -> list[tuple[int, int]]:
        aim = getattr(self.env.instrs, "desc", None)
        if aim is None:
            return []
        return [pos for obj, pos in zip(aim.obj_set, aim.obj_poss, strict=False) if self.env.grid.get(*pos) is obj]

    def _last_action(self) -> int:
        """Going there is all of `go to`; the others take one action more."""
        return 0 if type(self.env.instrs).__name__ == "GoToInstr" else 1


def make_level(level: str) -> Any:
    """A fresh environment of minigrid, not reset yet.

    Raises: UnknownNameError with the nearest names; MissingExtraError if minigrid is not installed.
    """
    return _maker(level)()


@cache
def _maker(level: str) -> Callable[[], Any]:
    known = level_ids()
    if level not in known:
        near = difflib.get_close_matches(level, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        raise UnknownNameError(f"no BabyAI level named {level!r}", hint)
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    spec = gymnasium.spec(known[level])
    assert isinstance(spec.entry_point, str)
    # not gymnasium.make, which takes longer than the level itself for wrappers that would be taken off again
    return partial(load_env_creator(spec.entry_point), **spec.kwargs)


@cache
def level_ids() -> dict[str, str]:
    """Name → minigrid's id of every BabyAI level, the newest version of each.

    Raises: MissingExtraError if minigrid is not installed.
    """
    try:
        import gymnasium
        import minigrid  # noqa: F401 - registers its levels
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "BabyAI needs minigrid, which is not installed", 'pip install "prentice[envs]"'
        ) from error
    ids = sorted(name for name in gymnasium.registry if name.startswith(PREFIX))
    return {name.removeprefix(PREFIX).rpartition("-v")[0]: name for name in ids}
