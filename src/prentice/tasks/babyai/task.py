"""BabyAI as a task: prompts, splits by seeds, illegal replies, and metrics that come from the world's state alone."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from pydantic import Field, JsonValue

from prentice.models.policy import Policy
from prentice.records import Message, Metric, Reply, Request, Split, digest
from prentice.tasks.babyai.policies import WAITED, Expert, RandomWalk
from prentice.tasks.babyai.words import ACTIONS, BLOCKED, WAYS, blocked_ways, focus, shorten
from prentice.tasks.babyai.world import Outcome, World, make_level
from prentice.tasks.contract import Audience, Case, Environment, Step, TaskConfig
from prentice.tasks.seeds import Seeds

FUNCTION = "act"
AUDIENCES: tuple[Audience, ...] = ("teacher", "student")
CLUMSY = "clumsy expert"
MEANINGS = (
    "turn to your left",
    "turn to your right",
    "take one step forward",
    "pick up the object in front of you",
    "put down the object that you carry",
    "open, close or use the object in front of you",
)
RULES = "\n".join(
    [
        "You walk through a world of rooms, one action at a time, to carry out an instruction.",
        "You may do one of these:",
        *(f"{action}: {meaning}" for action, meaning in zip(ACTIONS, MEANINGS, strict=True)),
        "What you see is told by its distance from you: steps to the left or right, and steps forward. To go to an "
        "object, stand right before it and face it. What you do not see may be beside or behind you: turn around.",
    ]
)
ANSWER = "Reply with the action alone."
THINK = "Think in one or two sentences, then write the action in a last line that begins with `Action:`."
EXAMPLE: Mapping[str, JsonValue] = {
    "mission": "go to the red ball",
    "observation": "a red ball 2 steps left and 1 step forward\na closed blue door 1 step forward",
    "history": [["a wall 1 step forward", ACTIONS[0]]],
    "actions": [ACTIONS[0]],
}
"""Its prompts stand for all prompts where they are compared."""
_ACTION_LINE = re.compile(r"action:\s*(.+)", re.IGNORECASE)


class BabyAIConfig(TaskConfig):
    """Which level is played, how its world is told, and what an episode may take."""

    kind: str = "babyai"
    """The built-in that this section configures."""
    level: str | tuple[str, ...] = "GoToLocal"
    """A BabyAI level by name, without prefix and version; of several, seeds take them in turns."""
    test_level: str | tuple[str, ...] = ()
    """The same for held-out cases, where they are of other levels than those trained on."""
    seeds: Seeds = Seeds()
    """Which seeds make the cases of each split."""
    max_steps: int = Field(20, ge=1)
    """Actions until an episode ends without success."""
    history: int = Field(3, ge=0)
    """Past steps that the prompt shows: observations and actions to the teacher, actions alone to the student, whose
    prompt is kept short."""
    student_view: Literal["goal", "all"] = "goal"
    """What the student is told of what is seen: walls, what it carries, what its instruction names and which ways
    are blocked (goal), or everything (all). The teacher is told everything."""
    reasoning: bool = False
    """Let the policy write its thoughts before the action; its reply is then free text."""
    illegal: Literal["wait", "forward", "end"] = "wait"
    """What a reply does that is no action: nothing (the step is spent), go forward as in BALROG, or end the episode."""
    clumsiness: float = Field(0.5, ge=0, le=1)
    """Share of random steps of `task:clumsy expert`."""


class BabyAI:
    """Navigation by words.

    Args:
        config: see `BabyAIConfig`.
        folder: unused; nothing is read from files.
    Raises: UnknownNameError if there is no such level.
    """

    Config = BabyAIConfig
    name = "babyai"

    def __init__(self, config: BabyAIConfig, folder: Path) -> None:
        del folder
        self.config = config
        for level in (*self._levels("train"), *self._levels("test")):
            make_level(level)  # a wrong name shows now, not in each of a thousand episodes

    def _levels(self, split: Split) -> tuple[str, ...]:
        level = self.config.test_level if split == "test" and self.config.test_level else self.config.level
        return (level,) if isinstance(level, str) else level

    def fingerprint(self) -> str:
        """Hash of what shapes an episode of one seed: more seeds, or another policy, leave what was played valid."""
        settings = self.config.model_dump(mode="json", exclude={"clumsiness", "seeds", "test_level"})
        prompts = [self.render(FUNCTION, EXAMPLE, audience).model_dump(mode="json") for audience in AUDIENCES]
        return digest([settings, prompts])

    def cases(self, split: Split) -> Sequence[Case]:
        """One case a seed."""
        levels = self._levels(split)
        return [
            Case(id=f"{level}-{seed}", split=split, inputs={"level": level, "seed": seed})
            for seed in self.config.seeds.of(split)
            for level in levels[seed % len(levels) :][:1]
        ]

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """The prompt: what stays the same comes first, so that it can be cached; what is seen now comes late."""
        show = self._for_teacher if audience == "teacher" else self._for_student
        return Request(
            function=function,
            inputs=dict(inputs),
            messages=show(inputs),
            choices=() if self.config.reasoning else ACTIONS,
        )

    def _for_teacher(self, inputs: Mapping[str, JsonValue]) -> tuple[Message, ...]:
        past = [f"You saw:\n{seen or 'nothing'}\nYou did: {done or 'nothing'}" for seen, done in _history(inputs)]
        now = f"You see:\n{inputs['observation'] or 'nothing'}"
        task = f"{RULES}\n{THINK if self.config.reasoning else ANSWER}\nYour instruction: {inputs['mission']}"
        return Message(role="system", content=task), Message(role="user", content="\n\n".join([*past, now]))

    def _for_student(self, inputs: Mapping[str, JsonValue]) -> tuple[Message, ...]:
        seen, mission = shorten(str(inputs["observation"])) or "nothing", str(inputs["mission"])
        # whoever turned because the way was blocked must know it, or turns back
        past = ", ".join(
            f"{BLOCKED} {done or 'nothing'}" if WAYS[0] in blocked_ways(shorten(before), mission) else done or "nothing"
            for before, done in _history(inputs)
        )
        if self.config.student_view == "goal":
            seen = focus(seen, mission) or "nothing"
        # the goal comes last, beside what it names: a small model is slow to learn to look things up
        lines = [*([past or "start"] if self.config.history else []), seen, mission]
        return Message(role="system", content="Walk."), Message(role="user", content="\n".join(lines))

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment."""
        return _Walk(self, audience)

    def demonstration(self, case: Case) -> str | None:
        """None: an episode takes several replies."""
        del case
        return None

    def baselines(self) -> Mapping[str, Policy]:
        """A random walk, the level's expert program, and that program made clumsy."""
        policies = {"random walk": RandomWalk(), "expert": Expert(), CLUMSY: Expert(self.config.clumsiness)}
        return cast("Mapping[str, Policy]", policies)


def _history(inputs: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    rows = inputs["history"]
    return [(str(row[0]), str(row[1])) for row in rows if isinstance(row, list)] if isinstance(rows, list) else []


def legal_action(reply: Reply, *, reasoning: bool) -> str | None:
    """The action that a reply names; None if it names none."""
    text = reply.text
    if reasoning:
        found = _ACTION_LINE.findall(text)
        text = found[-1] if found else ""
    text = " ".join(text.lower().split()).strip(" .`*\"'")
    return text if text in ACTIONS else None


class _Walk:
    """One episode."""

    def __init__(self, task: BabyAI, audience: Audience) -> None:
        self._task, self._audience = task, audience
        self._history: deque[JsonValue] = deque(maxlen=task.config.history)
        self._actions: list[JsonValue] = []
        self._illegal = 0

    async def reset(self, case: Case) -> Request:
        self._case = case
        self._world = World(str(case.inputs["level"]), int(str(case.inputs["seed"])), self._task.config.max_steps)
        self._seen = {self._world.state()}
        return self._request()

    def _request(self) -> Request:
        self._observation = self._world.observation
        inputs: dict[str, JsonValue] = {
            **self._case.inputs,
            "mission": self._world.mission,
            "observation": self._observation,
            "history": list(self._history),
            "actions": list(self._actions),
        }
        return self._task.render(FUNCTION, inputs, self._audience)

    async def step(self, reply: Reply) -> Step:
        config = self._task.config
        action = legal_action(reply, reasoning=config.reasoning)
        illegal = action is None
        self._illegal += illegal
        if illegal and config.illegal == "forward":
            action = "go forward"
        before, left_before = self._world.state(), self._world.path_left()
        outcome = self._world.wait() if action is None else self._world.act(action)
        about = self._about_turn(before, left_before)
        done = action or WAITED
        self._history.append([self._observation, done])
        self._actions.append(done)
        if outcome.done or (illegal and config.illegal == "end"):
            return Step(metrics=self._about_episode(outcome), turn_metrics=about)
        return Step(request=self._request(), turn_metrics=about)

    def _about_turn(self, before: tuple[object, ...], left_before: int | None) -> tuple[Metric, ...]:
        now, left = self._world.state(), self._world.path_left()
        flags = {"nothing_changed": now == before, "seen_before": now in self._seen}
        self._seen.add(now)
        paths = {"path_before": left_before, "path_after": left}
        numbers = [Metric(name=name, value=float(value)) for name, value in paths.items() if value is not None]
        return (*numbers, *(Metric(name=name, value=value) for name, value in flags.items()))

    def _about_episode(self, outcome: Outcome) -> tuple[Metric, ...]:
        return (
            Metric(name="success", value=outcome.success),
            Metric(name="steps", value=float(len(self._actions))),
            Metric(name="return", value=outcome.reward),
            Metric(name="illegal_replies", value=float(self._illegal)),
        )

    async def close(self) -> None:
        """Nothing to give back."""
