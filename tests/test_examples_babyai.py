"""The second example: its teacher comes with the task, and another takes its place with one line."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

import prentice
from prentice.curation import curate
from prentice.errors import UnknownNameError
from prentice.pipeline import Project
from prentice.pipeline.forecast import forecast
from prentice.pipeline.record import Recorder
from prentice.records import Episode
from prentice.records.filters import Filter
from prentice.records.parquet import read_dataset, read_ledger
from tiny_models import write_tiny_llama

BABYAI = Path(__file__).parents[1] / "examples" / "babyai"


def make_project(home: Path, *overrides: str) -> Project:
    """The example, its work kept elsewhere."""
    return Project(BABYAI, ["task.seeds.train=[0, 12]", "task.level=GoToObj", *overrides], home=home)


def test_the_tasks_own_policy_teaches_and_its_full_name_says_what_it_is(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    assert project.identity(project.config.teacher.model) == "clumsy expert (50% random steps)"
    assert Recorder(project, policy=None, split="train", limit=None, role="teacher").record(None) == 12
    with project.store() as store:
        assert {e.policy for e in store.episodes()} == {"clumsy expert (50% random steps)"}


def test_more_seeds_play_only_what_is_new(tmp_path: Path) -> None:
    for seeds, stored in (("[0, 5]", 5), ("[0, 9]", 9)):
        project = make_project(tmp_path, f"task.seeds.train={seeds}")
        Recorder(project, policy=None, split="train", limit=None, role="teacher").record(None)
        with project.store() as store:
            assert store.count() == stored
            assert len(store.runs()) == 1


def test_the_examples_turns_are_those_that_came_nearer(tmp_path: Path) -> None:
    project = make_project(tmp_path / "home")
    Recorder(project, policy=None, split="train", limit=None, role="teacher").record(None)
    with project.store() as store:
        episodes = list(store.episodes())
    task = project.task
    curate(project.config.curate, episodes, render=lambda f, i: task.render(f, i, "student"), out=tmp_path / "set")
    nearer = {
        (e.id, n)
        for e in episodes
        for n in range(len(e.turns))
        if _value(e.metrics, "path_after", n) < _value(e.metrics, "path_before", n)
    }
    ledger = read_ledger(tmp_path / "set")
    assert {(row.episode, row.turn) for row in ledger if row.fate == "kept"} == nearer
    assert len(read_dataset(tmp_path / "set")[1]) == len(nearer) < len(ledger)


def _value(metrics: object, name: str, turn: int) -> float:
    assert isinstance(metrics, tuple)
    return float(next(m.value for m in metrics if m.name == name and m.turn == turn))


def test_the_whole_way_goes_over_many_turns(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    folder = tmp_path / "project"
    shutil.copytree(BABYAI, folder, ignore=shutil.ignore_patterns(".prentice"))
    small = ["task.level=GoToObj", "task.seeds.train=[0, 6]", "task.seeds.test=[100, 120]", "task.max_steps=5"]
    settings = [*small, f"student.base={base}", "export.check_rows=5", "threads=1"]
    outcome = prentice.run(folder, overrides=settings)
    results = {result.name: result for result in outcome.report.results}
    assert list(results) == ["teacher", "student", "random walk", "expert"], "the teacher is not listed twice"
    assert results["teacher"].policy == "clumsy expert (50% random steps)"
    assert results["expert"].success.value > results["random walk"].success.value
    student = results["student"]
    assert student.turns is not None
    assert 1 < student.turns <= 5
    assert (student.turn_p50_s or 0) > 0
    assert "a turn at the median" in outcome.page.read_text(encoding="utf-8")
    assert outcome.report.verdict is not None
    assert outcome.report.verdict.answer == "hold", "a program's costs say nothing of a language model's"
    drawn = prentice.run(folder, overrides=[*settings, "evaluate.temperature=2.0"])
    assert drawn.skipped == ("rollout", "curate", "train", "export"), "only held-out replies are drawn otherwise"
    with Project(folder, settings).store() as store:
        one, other = _replies_by_run(store.episodes(Filter(policy=student.policy, split="test")))
    assert one != other


def _replies_by_run(episodes: Iterable[Episode]) -> list[list[tuple[str, ...]]]:
    runs: dict[str, list[tuple[str, ...]]] = {}
    for episode in episodes:
        runs.setdefault(episode.run, []).append(tuple(turn.reply.text for turn in episode.turns))
    return list(runs.values())


def test_a_policy_the_task_does_not_bring_is_named_with_those_it_does(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no policy named 'wizard'") as caught:
        make_project(tmp_path).open_policy("task:wizard")
    assert caught.value.hint == "known: random walk, expert, clumsy expert"


@pytest.mark.parametrize(
    ("model", "says"),
    [("task:expert", "a policy that the task brings"), ("openai:gpt-5-mini", "at most $")],
)
def test_a_dry_run_says_what_another_teacher_would_cost(model: str, says: str) -> None:
    lines = forecast(BABYAI, [f"teacher.model={model}"])
    assert says in lines[0]
