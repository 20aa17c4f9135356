"""The shipped recordings answer what their examples ask: a prompt that is changed has to be recorded anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from prentice.models.specs import RECORDED
from prentice.pipeline import Project
from prentice.records import Split
from prentice.records.store import Store
from prentice.rollouts import play_all

EXAMPLES = Path(__file__).parents[1] / "examples"
SHIPPED = [
    folder.name
    for folder in sorted(EXAMPLES.iterdir())
    if (folder / "prentice.toml").is_file() and Project(folder).config.teacher.model.startswith(RECORDED)
]
EACH = 7
"""One case in so many is played, and the last, which tells whether the numbers in the file are right."""


def test_entities_retrieval_and_the_main_job_have_one() -> None:
    assert {"multihop", "ner", "support"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recording_answers_its_example(name: str, tmp_path: Path) -> None:
    project = Project(EXAMPLES / name)
    config = project.config
    played: tuple[tuple[Split, int], ...] = (("train", config.rollout.cases), ("test", config.evaluate.cases))
    with Store.open(tmp_path / "store.db") as store:
        for split, count in played:
            cases = project.task.cases(split)[: count or None]
            some = [*cases[:-1:EACH], cases[-1]]
            run = play_all(project.task, project.open_policy(config.teacher.model), some, store, config.rollout)
            episodes = list(store.episodes(run=run))
            assert {episode.case for episode in episodes} == {case.id for case in some}
            assert {episode.failure for episode in episodes} == {None}
            assert any(episode.metric("success") is True for episode in episodes)
