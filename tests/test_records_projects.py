"""A project's store: its own file by default, another file, or a database named by an environment variable."""

from __future__ import annotations

from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from postgres import Postgres
from prentice.errors import ConfigError, PrenticeError
from prentice.models import ScriptedModel
from prentice.pipeline import Context, Project, run_stage, states
from prentice.pipeline.record import Recorder
from prentice.pipeline.stores import open_store
from prentice.progress import Silent
from prentice.records import Episode, Request
from prentice.records.filters import Filter
from prentice.records.jsonl import write_episodes
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.tasks.classify import Classify, ClassifyConfig
from test_records_writers import at_once


def write_project(folder: Path, store: str) -> Path:
    """Twelve cases that a recorded teacher answers rightly."""
    folder.mkdir()
    rows = "".join(f"c{i},train,text {i},yes\n" for i in range(12)) + "t,test,text,no\n"
    (folder / "cases.csv").write_text("id,split,text,label\n" + rows, encoding="utf-8")
    (folder / "prentice.toml").write_text(
        f'{store}\n[task]\nkind = "classify"\ncases = "cases.csv"\ninstructions = "Which?"\n'
        '[teacher]\nmodel = "recorded:teacher.jsonl"\n[curate]\nval_share = 0.25\n',
        encoding="utf-8",
    )
    task = Project(folder, ["store="]).task
    with Store.open(folder / "recording.db") as opened:
        run = play_all(task, ScriptedModel(lambda _: "yes"), task.cases("train"), opened, RolloutConfig())
        write_episodes(folder / "teacher.jsonl", opened.episodes(run=run))
    return folder


def walked(folder: Path) -> Context:
    """The project after rollout and curate."""
    context = Context(Project(folder), Silent())
    run_stage(context, "rollout")
    run_stage(context, "curate")
    return context


def test_a_store_by_url_carries_rollout_and_curate_and_is_skipped_when_done(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.fresh()
    monkeypatch.setenv("PRENTICE_STORE", url)
    folder = write_project(tmp_path / "p", 'store = "$PRENTICE_STORE"')
    assert not dict(states(Context(Project(folder), Silent())))["rollout"]
    walked(folder)
    assert dict(states(Context(Project(folder), Silent())))["rollout"]
    assert (
        "0 recorded episodes"
        in Recorder(Project(folder), policy=None, split="train", limit=None, role="teacher").forecast()
    )
    assert not list(folder.rglob("store.db"))
    with Store.open(url) as store:
        assert store.count(Filter(task="classify")) == 12
    with open_store(str(folder)) as store:
        assert store.count() == 12
    assert url not in "".join(file.read_text() for file in (folder / ".prentice").rglob("*.json"))


def test_a_store_in_another_file_stands_where_the_project_says(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", 'store = "../common.db"')
    walked(folder)
    with Store.open(tmp_path / "common.db") as store:
        assert store.count() == 12


def test_a_project_that_names_another_store_plays_again_instead_of_skipping(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", "")
    walked(folder)
    moved = Context(Project(folder, ["store=other.db"]), Silent())
    assert not dict(states(moved))["rollout"]


def test_episodes_that_were_removed_are_missed_with_a_clear_line(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", "")
    walked(folder)
    with open_store(str(folder)) as store:
        gone: Episode = next(store.episodes())
        store.delete(Filter(id=gone.id))
    with pytest.raises(PrenticeError, match=r"of 12 episodes to learn from only 11 are still there .*--from rollout"):
        run_stage(Context(Project(folder), Silent()), "curate")


def test_an_environment_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRENTICE_STORE", raising=False)
    folder = write_project(tmp_path / "p", 'store = "$PRENTICE_STORE"')
    with pytest.raises(ConfigError, match=r"'\$PRENTICE_STORE': that environment variable is not set"):
        Project(folder).store()


def test_two_runs_on_one_store_both_go_on_and_every_attempt_is_stored_once(tmp_path: Path, postgres: Postgres) -> None:
    places = [str(tmp_path / "store.db"), postgres.fresh()]
    at_once(_play, [(places, tmp_path / str(number)) for number in range(2)])
    for place in places:
        with Store.open(place) as store:
            ((run, number),) = store.runs().items()
            assert number == 80
            assert store.attempts(run) == {(f"c{i}", attempt) for i in range(40) for attempt in range(2)}
            assert {episode.turns[0].reply.text for episode in store.episodes()} == {"yes"}


def _play(start: Barrier, places: list[str], folder: Path) -> None:
    folder.mkdir()
    rows = "".join(f"c{i},train,text {i},yes\n" for i in range(40)) + "p,prompt,never,no\n"
    (folder / "cases.csv").write_text("id,split,text,label\n" + rows, encoding="utf-8")
    task = Classify(ClassifyConfig(cases=Path("cases.csv"), instructions="Which?"), folder)
    start.wait(240)
    for place in places:
        with Store.open(place) as store:
            play_all(task, ScriptedModel(_yes), task.cases("train"), store, RolloutConfig(tries=2))


def _yes(request: Request) -> str:
    del request
    return "yes"
