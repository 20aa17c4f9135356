"""A Gymnasium environment as a task, where its observations are text or can be told as text.

The environment is made by its id and used as it is: this module only turns a reply into an action, and an observation
into text.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue

from prentice.errors import ConfigError, MissingExtraError
from prentice.tasks.beside import load_beside
from prentice.tasks.game import GameConfig, GameTask, Started
from prentice.tasks.prompts import PLAY, Function, Prompt

if TYPE_CHECKING:
    import gymnasium

_MARKED = re.compile(r"\x1b\[[\d;]*m(.*?)\x1b\[0?m", re.DOTALL)


class GymnasiumConfig(GameConfig):
    """Any Gymnasium environment that can be told as text."""

    kind: str = "gymnasium"
    """The built-in that this section configures."""
    id: str
    """The environment's registered id, such as `FrozenLake-v1` or `my_module:MyGame-v0`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Arguments of `gymnasium.make`."""
    text: str | None = None
    """Function `my_module:tell(environment, observation)` that gives the text; without it, a text observation as it is,
    else what the environment renders, which takes `options.render_mode = "ansi"`."""


class GymnasiumTask(GameTask):
    """A Gymnasium environment as a task: `choices` name its actions, the first one action 0.

    Args:
        config: see `GymnasiumConfig`.
        folder: the project's folder, where a function for `text` lies.
    Raises: MissingExtraError without gymnasium; ConfigError if there is no such environment, its actions are neither a
        number nor a text, or it cannot be told as text.
    """

    Config = GymnasiumConfig
    name = "gymnasium"
    config: GymnasiumConfig

    def __init__(self, config: GymnasiumConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self._tell: Callable[[Any, Any], str] = (
            load_beside(config.text, folder, "[task] text") if config.text else _text_or_picture
        )
        example = self._make()
        self._origin = f"{type(example.unwrapped).__module__}:{type(example.unwrapped).__qualname__}"
        prompt = {key: getattr(config, key) for key in Prompt.model_fields}
        self.prompts = {PLAY: Function(**prompt | {"choices": _choices(config, example.action_space)})}
        if config.text is None:
            _check_can_be_told(config, example)
        example.close()

    def _make(self) -> gymnasium.Env[Any, Any]:
        try:
            import gymnasium
        except ModuleNotFoundError as error:
            raise MissingExtraError("gymnasium is not installed", 'pip install "prentice[envs]"') from error
        try:
            options: dict[str, Any] = self.config.options
            return gymnasium.make(self.config.id, **options)
        except (gymnasium.error.Error, ModuleNotFoundError, TypeError) as error:
            raise ConfigError(f'[task] id = "{self.config.id}": {str(error).splitlines()[0]}') from error

    def code(self) -> JsonValue:
        """The version of gymnasium, and of the package that the environment comes from, as far as it says one."""
        import gymnasium

        package = importlib.import_module(self._origin.split(".", maxsplit=1)[0].split(":")[0])
        return [gymnasium.__version__, self._origin, str(getattr(package, "__version__", ""))]

    def start(self) -> Started:
        """A fresh environment."""
        return Started(_Told(self._make(), self._tell, self.prompts[PLAY].choices), {})


class _Told:
    """A Gymnasium environment, told as text."""

    def __init__(
        self, environment: gymnasium.Env[Any, Any], tell: Callable[[Any, Any], str], actions: tuple[str, ...]
    ) -> None:
        self._environment, self._tell = environment, tell
        self._actions = {name: number for number, name in enumerate(actions)}

    def reset(self, seed: int) -> str:
        """Begin with this seed."""
        observation, _ = self._environment.reset(seed=seed)
        return self._tell(self._environment, observation)

    def step(self, reply: str) -> tuple[str, Any, Any, Any, dict[str, Any]]:
        """Take the action that the reply names."""
        space: Any = self._environment.action_space
        action = reply if not hasattr(space, "n") else int(space.start) + self._actions[reply]
        observation, reward, terminated, truncated, info = self._environment.step(action)
        return self._tell(self._environment, observation), reward, terminated, truncated, info

    def close(self) -> None:
        """Free what it holds."""
        self._environment.close()


def _text_or_picture(environment: Any, observation: Any) -> str:
    """The observation where it is text, else what the environment draws with letters; what it marks gets brackets."""
    if isinstance(observation, str):
        return observation
    return _MARKED.sub(r"[\1]", environment.render()).strip("\n")


def _check_can_be_told(config: GymnasiumConfig, example: Any) -> None:
    import gymnasium

    if not isinstance(example.observation_space, gymnasium.spaces.Text) and example.render_mode != "ansi":
        raise ConfigError(
            f'[task] id = "{config.id}": its observations are {example.observation_space}, not text',
            'set [task] text to a function that tells them, or options.render_mode to "ansi" where it knows that',
        )


def _choices(config: GymnasiumConfig, space: Any) -> tuple[str, ...]:
    import gymnasium

    if isinstance(space, gymnasium.spaces.Text):
        return config.choices
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise ConfigError(
            f'[task] id = "{config.id}": its actions are {space}, not a number or a text',
            'write a class with reset and step around it, and use kind = "python"',
        )
    if config.illegal == "pass":
        raise ConfigError(
            '[task] illegal = "pass": an environment whose actions are numbers cannot get a reply that names none',
            'set it to "stay" or "end"',
        )
    names = config.choices or tuple(str(number) for number in range(int(space.n)))
    if len(names) != space.n or len(set(names)) != len(names):
        raise ConfigError(f"[task] choices names {len(set(names))} actions, and {config.id} has {space.n}")
    return names
