"""An environment of the `verifiers` package (0.1) as a task, used as it is.

Its own loop plays the episode; it asks a client that hands each chat to whoever plays here and waits for the reply. So
single turns, many turns, tools and whatever an environment overrides work as their author wrote them. Its rubric scores
the episode; a reward function that raises ends the episode as a failure, where the package itself would score 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from prentice.errors import ConfigError, JudgeError, MetricError, MissingExtraError, ModelError
from prentice.models.policy import Policy
from prentice.models.specs import open_policy
from prentice.records import Message, Metric, Reply, Request, Sampling, Split, Tool, digest
from prentice.tasks.contract import Audience, Case, Environment, Step, TaskConfig
from prentice.tasks.metered import Metered
from prentice.tasks.openai_form import OpenAIForm, read_tool
from prentice.tasks.prompts import PLAY, Function, entry, render
from prentice.tasks.results import number

SUPPORTED = "0.1."
Troubles = list[tuple[str, Exception]]
_troubles: ContextVar[Troubles] = ContextVar("reward functions of this episode that raised")
_judge: ContextVar[Metered] = ContextVar("judge of this episode")


class VerifiersConfig(TaskConfig):
    """Any environment of the `verifiers` package, version 0.1."""

    kind: str = "verifiers"
    """The built-in that this section configures."""
    id: str
    """What `verifiers.load_environment` takes: an installed environment, or a module beside `prentice.toml`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Arguments of the environment."""
    student_instructions: str | None = None
    """The student's system prompt instead of the environment's: training can replace long instructions."""
    success_at: float = 1.0
    """An episode is a success from this reward on."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Where the environment has no evaluation set of its own: the last share of its rows is held out."""
    judge: str | None = None
    """The model that its rubric's judge asks, such as `anthropic:claude-haiku-4-5`."""


class VerifiersTask:
    """A verifiers environment as a task.

    Args:
        config: see `VerifiersConfig`.
        folder: the project's folder, where a module of one's own lies.
    Raises: MissingExtraError without verifiers 0.1; ConfigError if the environment cannot be loaded, continues texts
        instead of chats, or has a judge that `judge` does not name.
    """

    Config = VerifiersConfig
    name = "verifiers"

    def __init__(self, config: VerifiersConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.open_model: Callable[[str], Policy] = partial(open_policy, folder=folder)
        """Opens the judge's model from its spec."""
        self.loaded = _load(config, folder)
        self.tools: tuple[Tool, ...] = tuple(read_tool(row) for row in getattr(self.loaded, "oai_tools", None) or ())
        for rubric in _rubrics(self.loaded.rubric):
            rubric.funcs[:] = [_watched(function) for function in rubric.funcs]
            if hasattr(rubric, "judge_client"):
                if config.judge is None:
                    raise ConfigError(f'[task] id = "{config.id}": it has a judge', "name its model in [task] judge")
                rubric.judge_client = rubric.class_objects["judge_client"] = OpenAIForm(_ask_judge, "judge")

    @property
    def has_models(self) -> bool:
        """Whether it is played in one process alone, which holds the judge, its limits and the budget."""
        return self.config.judge is not None

    @cached_property
    def judge(self) -> Policy | None:
        """The judge's model, where there is one."""
        return None if self.config.judge is None else self.open_model(self.config.judge)

    @cached_property
    def rows(self) -> Mapping[Split, Sequence[Mapping[str, Any]]]:
        """The environment's rows of each split."""
        rows = list(self.loaded.get_dataset())
        self.loaded.build_eval_dataset()
        if self.loaded.eval_dataset is not None:
            return {"train": rows, "val": (), "test": list(self.loaded.get_eval_dataset())}
        cut = min(len(rows) - 1, round(len(rows) * (1 - self.config.test_share)))
        return {"train": rows[:cut], "val": (), "test": rows[cut:]}

    def fingerprint(self) -> str:
        """Hash of the settings, the package's version and all rows; changes of an environment's code are not seen."""
        rows = {split: [repr(sorted(row.items())) for row in rows] for split, rows in self.rows.items()}
        return digest([self.config.model_dump(mode="json"), metadata.version("verifiers"), rows])

    def cases(self, split: Split) -> Sequence[Case]:
        """One case a row; the row itself, with its answer, stays in the environment."""
        return [Case(id=f"{split}-{n}", split=split, inputs={"row": n}) for n in range(len(self.rows[split]))]

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment."""
        return _Rollout(self, audience)

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """The chat as the environment wrote it; the student may get a system prompt of its own."""
        request = render(function, Function(), self.tools, inputs["chat"], audience)
        if audience == "teacher" or self.config.student_instructions is None:
            return request
        own = (Message(role="system", content=self.config.student_instructions),)
        rest = tuple(message for message in request.messages if message.role != "system")
        return request.model_copy(update={"messages": own + rest})

    def demonstration(self, case: Case) -> str | None:
        """None: what a right reply looks like is the rubric's to say."""
        del case
        return None

    def baselines(self) -> Mapping[str, Policy]:
        """None that fits every environment."""
        return {}


class _Rollout:
    """One episode: the environment's loop runs beside, and asks through a client."""

    def __init__(self, task: VerifiersTask, audience: Audience) -> None:
        self._task, self._audience = task, audience
        self._asked: asyncio.Queue[Request | None] = asyncio.Queue()
        self._replied: asyncio.Queue[Reply] = asyncio.Queue()
        self._loop: asyncio.Task[tuple[Metric, ...]] | None = None
        self._judge = None if task.judge is None else Metered(task.judge, "judge")

    async def reset(self, case: Case) -> Request:
        row = self._task.rows[case.split][int(str(case.inputs["row"]))]
        self._loop = asyncio.create_task(self._play(dict(row)))
        request = await self._asked.get()
        if request is None:
            await self._loop
            raise TypeError(f"the environment {self._task.config.id} ended before it asked anything")
        return request

    async def step(self, reply: Reply) -> Step:
        if self._loop is None:
            raise RuntimeError("step before reset")
        self._replied.put_nowait(reply)
        request = await self._asked.get()
        return Step(metrics=await self._loop) if request is None else Step(request=request)

    async def _play(self, row: dict[str, Any]) -> tuple[Metric, ...]:
        troubles: Troubles = []
        _troubles.set(troubles)
        if self._judge is not None:
            _judge.set(self._judge)
        loaded = self._task.loaded
        try:
            state = await loaded.rollout(row, OpenAIForm(self._answer, PLAY), self._task.name, {})
            if state.get("error") is not None:
                raise state["error"]
            try:
                await loaded.rubric.score_rollout(state)
            except AssertionError as error:  # rewards that compare several episodes of a case
                raise MetricError(f"the rubric cannot score one episode: {error}") from error
        finally:
            self._asked.put_nowait(None)
        if troubles:
            raise _named(*troubles[0])
        return self._metrics(state)

    async def _answer(self, request: Request, sampling: Sampling) -> Reply:
        del sampling  # the rollout here says how a reply is drawn
        chat: list[JsonValue] = [dict(entry(message)) for message in request.messages]
        self._asked.put_nowait(self._task.render(PLAY, {"chat": chat}, self._audience))
        reply = await self._replied.get()
        if reply.text or reply.message.tool_calls:
            return reply
        # the package takes an empty reply for a broken provider; it is a reply, and the rubric's to score
        return reply.model_copy(update={"message": Message(role="assistant", content=" ")})

    def _metrics(self, state: Mapping[str, Any]) -> tuple[Metric, ...]:
        values = {"reward": state["reward"], **(state["metrics"] or {})}
        read = {name: number(f"metric {name!r}", value) for name, value in values.items()}
        reward = float(read["reward"] or 0.0)
        known = {"success": reward >= self._task.config.success_at} | {k: v for k, v in read.items() if v is not None}
        return tuple(Metric(name=name, value=value) for name, value in known.items())

    async def spent(self) -> tuple[Metric, ...]:
        return () if self._judge is None else self._judge.metrics()

    async def close(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # what it raised was the step's to tell
                await self._loop


def _load(config: VerifiersConfig, folder: Path) -> Any:
    try:
        version = metadata.version("verifiers")
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError("verifiers is not installed", 'pip install "prentice[verifiers]"') from error
    if not version.startswith(SUPPORTED):
        raise MissingExtraError(
            f"verifiers {version} has another form of environment than {SUPPORTED}x",
            'pip install "prentice[verifiers]" brings the one that works here',
        )
    import verifiers

    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        loaded = verifiers.load_environment(config.id, **config.options)
    except Exception as error:  # the environment's own code: a missing package, key or argument
        raise ConfigError(f'[task] id = "{config.id}" cannot be loaded: {type(error).__name__}: {error}') from error
    if loaded.message_type != "chat":
        raise ConfigError(f'[task] id = "{config.id}" continues texts, and only chats can be played')
    return loaded


def _rubrics(rubric: Any) -> Iterator[Any]:
    """The rubric, or those of a group, however deep."""
    yield rubric
    for inner in getattr(rubric, "rubrics", ()):
        yield from _rubrics(inner)


def _watched(function: Callable[..., Any]) -> Callable[..., Any]:
    """The reward function, with what it raises kept: the package scores 0 then and goes on."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> float:
        try:
            value = function(*args, **kwargs)
            return float(await value if inspect.isawaitable(value) else value)
        except Exception as error:
            _troubles.get().append((getattr(function, "__name__", "reward"), error))
            raise

    return call


def _named(name: str, error: Exception) -> JudgeError | MetricError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, JudgeError):
        cause = cause.__cause__
    return cause or MetricError(f"reward function {name!r} raised {type(error).__name__}: {error}")


async def _ask_judge(request: Request, sampling: Sampling) -> Reply:
    try:
        return await _judge.get().generate(request, sampling)
    except ModelError as error:
        raise JudgeError(error.problem, error.hint) from error
