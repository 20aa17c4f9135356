"""A Python class with `reset` and `step` as a task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from pydantic import Field, JsonValue, model_validator

from prentice.errors import ConfigError
from prentice.models.policy import Policy
from prentice.models.specs import open_policy
from prentice.records import Split, digest
from prentice.tasks.beside import load_beside
from prentice.tasks.cases import read_cases
from prentice.tasks.contract import Case
from prentice.tasks.game import GameConfig, GameTask, Started
from prentice.tasks.metered import Metered
from prentice.tasks.prompts import PLAY, Function
from prentice.tasks.tools import Toolbox, bind, describe


class PythonConfig(GameConfig):
    """An environment of your own: a Python class with `reset` and `step`."""

    kind: str = "python"
    """The built-in that this section configures."""
    environment: str
    """The class, as `my_module:MyGame`; the module lies beside `prentice.toml`."""
    cases: Path | None = None
    """File of cases (.csv or .jsonl) with id, split and what `reset` takes; without it, the seeds are the cases."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Arguments that the class is made with."""
    models: dict[str, str] = Field(default_factory=dict)
    """Models inside the environment, by role: the class gets each as the argument of that name, such as
    `user = "anthropic:claude-haiku-4-5"`."""
    functions: dict[str, Function] = Field(default_factory=dict)
    """Further functions (prompts), by the name that `Ask` gives; the keys beside this one are those of `play`."""

    @model_validator(mode="after")
    def _cases_come_from_one_place(self) -> Self:
        if self.cases is not None and "seeds" in self.model_fields_set:
            raise ValueError("both `cases` and `seeds` are set; name one of them")
        return self


class PythonTask(GameTask):
    """A class of the user's own as a task.

    Args:
        config: see `PythonConfig`.
        folder: the project's folder, where the class and the cases lie.
    Raises: ConfigError if the class cannot be found, lacks a method, or cannot be made with the options and models.
    """

    Config = PythonConfig
    name = "python"
    config: PythonConfig

    def __init__(self, config: PythonConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self.open_model: Callable[[str], Policy] = partial(open_policy, folder=folder)
        """Opens the models inside the environment from their specs."""
        self._class = load_beside(config.environment, folder, "[task] environment")
        _check_class(self._class, config)
        self._tools = {tool.name: tool for tool in map(describe, bind(self._functions, self._class))}
        play = Function(
            **{key: getattr(config, key) for key in Function.model_fields if hasattr(config, key)},
            tools=tuple(self._tools),
        )
        self.prompts = {PLAY: play, **config.functions}
        for name, function in self.prompts.items():
            for tool in function.tools:
                if tool not in self._tools:
                    known = ", ".join(self._tools) or "none"
                    raise ConfigError(f"[task.functions.{name}] tools: no tool {tool!r}", f"the class has: {known}")
        self.tools = {name: [self._tools[t] for t in f.tools] for name, f in self.prompts.items() if f.tools}

    @property
    def _functions(self) -> Sequence[Callable[..., Any]]:
        return tuple(getattr(self._class, "tools", ()))

    @cached_property
    def _by_split(self) -> Mapping[str, tuple[Case, ...]]:
        rows = () if self.config.cases is None else read_cases(self.folder / self.config.cases)
        return {split: tuple(case for case in rows if case.split == split) for split in ("train", "val", "test")}

    @cached_property
    def _models(self) -> dict[str, Policy]:
        return {role: self.open_model(spec) for role, spec in self.config.models.items()}

    @property
    def has_models(self) -> bool:
        """Whether it is played in one process alone, which holds the models, their limits and the budget."""
        return bool(self.config.models)

    @property
    def begins_with_models(self) -> bool:
        """Whether `reset` may ask them."""
        return self.has_models

    def code(self) -> JsonValue:
        """Hash of the file that holds the class."""
        return digest(Path(inspect.getfile(self._class)).read_text(encoding="utf-8"))

    def file_cases(self, split: Split) -> Sequence[Case]:
        """The cases of the file, in its order."""
        return self._by_split[split]

    def cases(self, split: Split) -> Sequence[Case]:
        """The file's cases, or one a seed."""
        return super().cases(split) if self.config.cases is None else self.file_cases(split)

    def start(self) -> Started:
        """A fresh object of the class."""
        models = {role: Metered(policy, role) for role, policy in self._models.items()}
        game = self._class(**self.config.options, **models)
        bound = {function.__name__: function for function in bind(self._functions, game)}
        boxes = {name: Toolbox([bound[t] for t in f.tools]) for name, f in self.prompts.items() if f.tools}
        return Started(game, boxes, tuple(models.values()))


def _check_class(kind: Any, config: PythonConfig) -> None:
    where = f'[task] environment = "{config.environment}"'
    if not isinstance(kind, type):
        raise ConfigError(f"{where} is not a class", "name a class with the methods reset and step")
    for method in ("reset", "step"):
        if not callable(getattr(kind, method, None)):
            raise ConfigError(f"{where} has no method `{method}`", "see docs/environments.md for the two that it needs")
    if both := config.options.keys() & config.models.keys():
        raise ConfigError(f"[task] options and models both name {min(both)!r}")
    try:
        inspect.signature(kind).bind(**config.options, **config.models)
    except TypeError as error:
        raise ConfigError(f"{where} cannot be made with [task.options] and [task.models]: {error}") from error
