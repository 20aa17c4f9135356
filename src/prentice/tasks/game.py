"""Games: anything with `reset` and `step` in motion as an environment, one episode of it and the task around it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from prentice.models.policy import Policy
from prentice.records import Metric, Reply, Request, Split, Tool, ToolCall, digest
from prentice.tasks.chance import RandomChoice
from prentice.tasks.contract import Audience, Case, Environment, Step, TaskConfig
from prentice.tasks.metered import Metered
from prentice.tasks.prompts import Entry, Function, Prompt, entry, render, shown
from prentice.tasks.results import Outcome, Question, info_metrics, read_reset, read_step
from prentice.tasks.seeds import Seeds
from prentice.tasks.tools import Toolbox


class GameConfig(TaskConfig, Prompt):
    """What every game's section says."""

    seeds: Seeds = Seeds()
    """Which seeds make the cases of each split; no seed may be in two."""
    max_steps: int = Field(50, ge=1)
    """Replies until an episode ends without success."""
    illegal: Literal["stay", "pass", "end"] = "stay"
    """What becomes of a reply that is none of the choices: the step is spent and the question put again (stay), the
    game gets it as it is (pass), or the episode ends (end)."""


@dataclass(frozen=True)
class Started:
    """A fresh game with what belongs to one episode of it."""

    game: Any
    """Has `reset` and `step`, plain or async, and may have `close`."""
    toolboxes: Mapping[str, Toolbox]
    """Function → the tools that it may call."""
    models: tuple[Metered, ...] = ()


class GameTask(ABC):
    """A task whose environment is a game."""

    name = "game"

    def __init__(self, config: GameConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.prompts: Mapping[str, Function] = {}
        """Function → its prompt."""
        self.tools: Mapping[str, Sequence[Tool]] = {}
        """Function → the tools that it may call; a function that may call none can be absent."""

    @abstractmethod
    def start(self) -> Started:
        """A fresh game."""

    @abstractmethod
    def code(self) -> JsonValue:
        """What makes the game another game: a hash of its source, a version."""

    def fingerprint(self) -> str:
        """Hash of the settings, the game's code and the cases of a file; more seeds leave what was played valid."""
        cases = [case.model_dump(mode="json") for split in ("train", "val", "test") for case in self.file_cases(split)]
        tools = {name: [tool.model_dump(mode="json") for tool in rows] for name, rows in self.tools.items()}
        return digest([self.config.model_dump(mode="json", exclude={"seeds"}), self.code(), tools, cases])

    def file_cases(self, split: Split) -> Sequence[Case]:
        """The cases that come from a file; none where they come from seeds."""
        del split
        return ()

    def cases(self, split: Split) -> Sequence[Case]:
        """One case a seed."""
        return [Case(id=f"seed-{n}", split=split, inputs={"seed": n}) for n in self.config.seeds.of(split)]

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment."""
        return GameEnvironment(self, audience)

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """The function's instructions, then the chat that the inputs hold."""
        return render(function, self.prompts[function], self.tools.get(function, ()), inputs["chat"], audience)

    def demonstration(self, case: Case) -> str | None:
        """None: an episode may take several replies."""
        del case
        return None

    def baselines(self) -> Mapping[str, Policy]:
        """Where every function has choices: one of them by chance."""
        return {RandomChoice.name: RandomChoice()} if all(p.choices for p in self.prompts.values()) else {}


class GameEnvironment:
    """One episode of a game."""

    def __init__(self, task: GameTask, audience: Audience) -> None:
        self._task, self._audience = task, audience
        self._started: Started | None = None
        self._chats: dict[str, list[Entry]] = {}
        self._steps = self._illegal = 0
        self._return = 0.0
        self._graded: list[Metric] = []

    async def reset(self, case: Case) -> Request:
        """Make the game and let it begin."""
        self._started = self._task.start()
        self._where = type(self._started.game).__name__
        reset = self._started.game.reset
        return self._ask(
            read_reset(f"{self._where}.reset", await _call(reset, **_arguments(reset, case.model_copy(deep=True))))
        )

    def _ask(self, question: Question) -> Request:
        if question.function not in self._task.prompts:
            known = ", ".join(self._task.prompts)
            raise TypeError(f"{self._where} asked the function {question.function!r}; there are: {known}")
        self._question = question
        self._chats.setdefault(question.function, []).extend(question.entries)
        return self._request()

    def _request(self) -> Request:
        name = self._question.function
        chat = shown(self._chats[name], self._task.prompts[name].history)
        return self._task.render(name, {"chat": list(chat)}, self._audience)

    async def step(self, reply: Reply) -> Step:
        """Run the tools that the reply calls, or give it to the game."""
        if self._started is None:
            raise RuntimeError("step before reset")
        self._steps += 1
        name = self._question.function
        self._chats[name].append(entry(reply.message))
        toolbox = self._started.toolboxes.get(name)
        if toolbox is not None and reply.message.tool_calls:
            return await self._use(toolbox, reply.message.tool_calls)
        choices = self._task.prompts[name].choices
        legal = not choices or reply.text.strip() in choices
        self._illegal += not legal
        turn_metrics = [Metric(name="illegal", value=not legal)] if choices else []
        if not legal and self._task.config.illegal != "pass":
            ends = self._task.config.illegal == "end"
            return self._go_on(Outcome(None if ends else self._question, done=ends), turn_metrics)
        where = f"{self._where}.step"
        text = reply.text.strip() if choices and legal else reply.text
        outcome = read_step(where, await _call(self._started.game.step, text))
        return self._go_on(outcome, [*turn_metrics, Metric(name="reward", value=outcome.reward)])

    async def _use(self, toolbox: Toolbox, calls: Sequence[ToolCall]) -> Step:
        errors = toolbox.errors
        messages = await toolbox.answer(calls)
        self._chats[self._question.function] += [entry(message) for message in messages]
        about = [Metric(name="tool_errors", value=float(toolbox.errors - errors))]
        if toolbox.done is not None:
            where = f"{self._where}: a tool's Done"
            return self._go_on(read_step(where, (None, toolbox.done.reward, True, toolbox.done.info)), about)
        if self._steps >= self._task.config.max_steps:
            return self._go_on(Outcome(None), about)
        return Step(request=self._request(), turn_metrics=tuple(about))

    def _go_on(self, outcome: Outcome, turn_metrics: list[Metric]) -> Step:
        self._return += outcome.reward
        self._graded += [value for value in outcome.info.values() if isinstance(value, Metric)]
        about = info_metrics(f"{self._where}.step", outcome.info)
        if outcome.question is None or self._steps >= self._task.config.max_steps:
            return Step(metrics=self._about_episode(outcome, about), turn_metrics=(*turn_metrics, *about))
        return Step(request=self._ask(outcome.question), turn_metrics=(*turn_metrics, *about))

    def _about_episode(self, last: Outcome, info: list[Metric]) -> tuple[Metric, ...]:
        values: dict[str, bool | float] = {
            "success": last.success,
            "steps": float(self._steps),
            "return": self._return,
        }
        if any(prompt.choices for prompt in self._task.prompts.values()):
            values["illegal_replies"] = float(self._illegal)
        boxes = self._started.toolboxes.values() if self._started else ()
        if boxes:
            values["tool_calls"] = float(sum(box.calls for box in boxes))
            values["tool_errors"] = float(sum(box.errors for box in boxes))
        return (*(Metric(name=name, value=value) for name, value in values.items()), *info, *self._graded)

    async def spent(self) -> tuple[Metric, ...]:
        """What the models inside the game took."""
        models = self._started.models if self._started else ()
        return tuple(metric for model in models for metric in model.metrics())

    async def close(self) -> None:
        """Close the game, if it can be closed."""
        close = getattr(self._started.game, "close", None) if self._started else None
        if close is not None:
            await _call(close)


async def _call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = method(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


def _arguments(reset: Callable[..., Any], case: Case) -> dict[str, JsonValue]:
    """The case's inputs that `reset` takes, and the answer key if it asks for it by name."""
    parameters = inspect.signature(reset).parameters
    known = {**case.inputs, "expected": case.expected} if "expected" in parameters else case.inputs
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return {name: value for name, value in known.items() if takes_all or name in parameters}
