"""Gymnasium environments as tasks: a text game registered here, and two that come with the package."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.config import build
from prentice.errors import ConfigError
from prentice.models import ScriptedModel
from prentice.records import Episode
from prentice.rollouts import play
from prentice.tasks.gym import GymnasiumConfig, GymnasiumTask


class Echo(gymnasium.Env[str, str]):
    """Say back what it says; its words come from its seed."""

    observation_space = gymnasium.spaces.Text(10_000)
    action_space = gymnasium.spaces.Text(10_000)

    def __init__(self, words: str = "") -> None:
        self.words = words

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.words = self.words or f"word {self.np_random.integers(1000)}"
        return self.words, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "", float(action == self.words), True, False, {"length": len(action)}


gymnasium.register("PrenticeEcho-v0", entry_point="test_tasks_gym:Echo", disable_env_checker=True)


def tell_taxi(environment: Any, observation: Any) -> str:
    """The taxi's place in words."""
    row, column, *_ = environment.unwrapped.decode(observation)
    return f"row {row}, column {column}"


def task(name: str, **settings: Any) -> GymnasiumTask:
    """The environment of that id as a task."""
    return GymnasiumTask(build(GymnasiumConfig, {"kind": "gymnasium", "id": name, **settings}, "[task]"), Path())


async def played(task: GymnasiumTask, *replies: str) -> Episode:
    """The first training case, played with these replies."""
    case = task.cases("train")[0]
    return await play(ScriptedModel(list(replies)), task.environment("teacher"), case, run="r", task="t")


async def test_a_text_environment_is_played_as_it_is_and_its_seed_makes_the_case() -> None:
    echo = task("PrenticeEcho-v0", seeds={"train": [5, 7]})
    words = [(await echo.environment("teacher").reset(case)).messages[0].content for case in echo.cases("train")]
    again = [(await echo.environment("teacher").reset(case)).messages[0].content for case in echo.cases("train")]
    assert words == again
    assert words[0] != words[1]
    episode = await played(echo, words[0])
    assert (episode.metric("success"), episode.metric("return"), episode.metric("length")) == (True, 1, len(words[0]))


async def test_what_a_toy_text_environment_draws_is_its_observation_and_choices_name_its_actions() -> None:
    walk = ("left", "down", "right", "up")
    lake = task("FrozenLake-v1", options={"render_mode": "ansi", "is_slippery": False}, choices=walk)
    episode = await played(lake, "down", "down", "right", "jump", "right", "down", "right")
    seen = [turn.request.messages[-1].content for turn in episode.turns]
    assert seen[0] == "[S]FFF\nFHFH\nFFFH\nHFFG"
    assert seen[1] == "  (Down)\nSFFF\n[F]HFH\nFFFH\nHFFG"
    assert episode.turns[0].request.choices == walk
    assert seen[4] == seen[3], "an illegal reply changes nothing"
    assert [episode.metric(name) for name in ("success", "steps", "illegal_replies")] == [True, 7, 1]
    assert (await played(lake, "right", "down")).metric("success") is False


async def test_a_function_of_the_users_own_tells_what_is_no_text() -> None:
    taxi = task("Taxi-v4", text="test_tasks_gym:tell_taxi")
    episode = await played(taxi, *["1"] * 50)
    assert episode.turns[0].request.messages[0].content.startswith("row ")
    assert episode.turns[0].request.choices == ("0", "1", "2", "3", "4", "5")
    assert (episode.metric("success"), episode.metric("steps")) == (False, 50)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("FrozenLak-v1", {}, r'id = "FrozenLak-v1": Environment `FrozenLak` doesn\'t exist'),
        ("no_such_module:X-v0", {}, "no_such_module"),
        ("PrenticeEcho-v0", {"options": {"wrds": 1}}, "unexpected keyword argument 'wrds'"),
        ("FrozenLake-v1", {}, r"its observations are Discrete\(16\), not text .*render_mode"),
        ("FrozenLake-v1", {"options": {"render_mode": "ansi"}, "choices": ["a"]}, "choices names 1 actions, and"),
        ("FrozenLake-v1", {"options": {"render_mode": "ansi"}, "illegal": "pass"}, 'illegal = "pass"'),
        ("FrozenLake-v1", {"text": "test_tasks_gym:tell_boat"}, "has no 'tell_boat'"),
        ("Pendulum-v1", {"text": "test_tasks_gym:tell_taxi"}, "its actions are Box.* not a number or a text"),
    ],
)
def test_what_cannot_be_told_or_played_is_named_before_anything_is_played(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        task(name, **settings)


async def test_a_task_can_be_sent_to_another_process() -> None:
    lake = task("FrozenLake-v1", options={"render_mode": "ansi"})
    copy = pickle.loads(pickle.dumps(lake))
    assert copy.fingerprint() == lake.fingerprint()
    assert (await played(copy, *["0"] * 50)).failure is None


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
async def test_text_of_all_scripts_passes_unchanged(words: str) -> None:
    echo = task("PrenticeEcho-v0", options={"words": words}, prompt="{observation}")
    episode = await played(echo, words)
    assert episode.turns[0].request.messages[0].content == words
    assert episode.metric("success") is True
