"""The page on environments: its classes are played and its configurations opened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prentice.config import build, read_toml
from prentice.models import ScriptedModel
from prentice.pipeline import Project, ProjectConfig
from prentice.records import Episode, Message, ToolCall
from prentice.rollouts import play
from prentice.tasks import TASKS, Task
from prentice.tasks.python import PythonTask

PAGE = (Path(__file__).parents[1] / "docs" / "environments.md").read_text(encoding="utf-8")


@pytest.fixture
def projects(tmp_path: Path) -> dict[str, Path]:
    """Every configuration of the page as a project, by what it plays, with the page's classes beside it."""
    for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        name = code.splitlines()[0].removeprefix("# ")
        for folder in ("guess", "shop", "desk"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / name.removesuffix(".py") / name).write_text(code, encoding="utf-8")
    found = {}
    for text in re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL):
        name = re.findall(r'(?:environment|id) = "([\w-]+)', text)[0]
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "prentice.toml").write_text(text, encoding="utf-8")
        found[name] = tmp_path / name
    return found


async def played(task: Task, *replies: str | Message) -> Episode:
    """The first training case, played with these replies."""
    policy = ScriptedModel(list(replies))
    return await play(policy, task.environment("teacher"), task.cases("train")[0], run="r", task="t")


async def test_the_pages_environments_are_played_as_the_page_says(projects: dict[str, Path]) -> None:
    guess = await played(Project(projects["guess"]).task, "4", "0")
    assert [turn.request.messages[-1].content for turn in guess.turns] == ["Which number below ten?", "lower"]
    assert guess.metric("success") is True

    def call(name: str, arguments: str) -> Message:
        return Message(role="assistant", tool_calls=(ToolCall(id="1", name=name, arguments=arguments),))

    shop = await played(Project(projects["shop"]).task, call("sell", '{"item": "pen"}'), call("close_shop", "{}"))
    assert (shop.metric("success"), shop.metric("sold"), shop.metric("tool_errors")) == (True, 1, 0)
    desk = Project(projects["desk"]).task
    assert isinstance(desk, PythonTask)
    desk.open_model = lambda spec: ScriptedModel(lambda request: "yes" if request.choices else "It broke!")
    episode = await played(desk, "refund", "We are sorry.")
    assert [turn.request.function for turn in episode.turns] == ["sort", "play"]
    assert episode.turns[0].request.messages[-1].content == "Message: It broke!"
    assert (episode.metric("polite"), episode.metric("user_calls"), episode.metric("judge_calls")) == (True, 1, 1)
    lake = await played(Project(projects["FrozenLake-v1"]).task, "down", "down", "right", "right", "down", "right")
    assert lake.metric("success") is True


def test_the_pages_settings_exist(projects: dict[str, Path]) -> None:
    assert len(projects) == 5
    for folder in projects.values():
        section = build(ProjectConfig, read_toml(folder / "prentice.toml"), str(folder)).task
        assert build(TASKS.load(section["kind"]).Config, section, str(folder)).kind == section["kind"]
