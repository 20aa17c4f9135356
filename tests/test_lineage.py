"""Deletion with lineage: what was made from deleted episodes says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.curation import CurateConfig, curate
from prentice.pipeline.lineage import MARK, delete_episodes, descendants, mark_of
from prentice.records import Checkpoint, Exported, Manifest, ModelSource, Request
from prentice.records.filters import Filter
from prentice.records.store import Store
from prentice.runs import read_record, write_atomic
from records_examples import example

EPISODES = [example(f"c{number}", tags={"person": f"p{number}"}) for number in range(6)]
TOML = '[task]\nkind = "classify"\ncases = "cases.csv"\ninstructions = "Which?"\n[teacher]\nmodel = "recorded:x"\n'


def _checkpoint(name: str, dataset: str, source: str = "path:b") -> Checkpoint:
    base = ModelSource(name="b", source=source, sha256="0")
    return Checkpoint(
        id=name, kind="adapter", base=base, dataset=dataset, method="sft", recipe={}, code="0", steps=1, seconds=1.0
    )


def _dataset(home: Path, name: str, cases: int) -> Manifest:
    def render(function: str, inputs: object) -> Request:
        return next(e.turns[0].request for e in EPISODES if e.turns[0].request.inputs == inputs)

    folder = home / "curate" / name
    return curate(CurateConfig(conflicts="off"), EPISODES[:cases], render=render, out=folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A project with a store and two datasets, of its first four and two episodes; from each a checkpoint."""
    (tmp_path / "prentice.toml").write_text(TOML, encoding="utf-8")
    home = tmp_path / ".prentice"
    with Store.open(home / "store.db") as store:
        store.add(EPISODES)
    for name, cases in (("four", 4), ("two", 2)):
        manifest = _dataset(home, name, cases)
        checkpoint = _checkpoint(f"trained-on-{name}", manifest.hash)
        write_atomic(home / "train" / name / "checkpoint.json", checkpoint.model_dump_json())
    exported = Exported(
        name="s", gguf="s.gguf", model=None, checkpoint="trained-on-four", quantization="q8_0", size=1, sha256="0",
        rows_checked=0, agreement=None, equal_prompts=None, seconds={},
    )  # fmt: skip
    write_atomic(home / "export" / "e" / "export.json", exported.model_dump_json())
    return home


def _marked(home: Path) -> list[str]:
    return sorted(path.parent.relative_to(home).as_posix() for path in home.rglob(MARK))


def test_every_dataset_checkpoint_and_export_made_from_a_deleted_episode_is_marked(home: Path) -> None:
    with Store.open(home / "store.db") as store:
        assert delete_episodes(store, Filter(tags={"person": "p3"}), [home]) == 1
        assert _marked(home) == ["curate/four", "export/e", "train/four"]
        assert delete_episodes(store, Filter(tags={"person": "p0"}), [home]) == 1
        assert _marked(home) == ["curate/four", "curate/two", "export/e", "train/four", "train/two"]
        assert store.count() == 4
    mark = mark_of(home / "train" / "four")
    assert mark is not None
    assert mark.episodes == tuple(sorted([EPISODES[0].id, EPISODES[3].id]))


def test_what_later_methods_of_a_chain_have_made_of_it_is_marked_too(home: Path) -> None:
    hash_ = read_record(Manifest, home / "curate" / "two" / "manifest.json").hash
    first = _checkpoint("first", hash_)
    second = _checkpoint("second", "pairs", source="checkpoint:first")
    third = _checkpoint("third", "cases", source="checkpoint:second")
    stranger = _checkpoint("stranger", "cases", source="checkpoint:another")
    for folder, each in (
        ("chain/sft-1", first),
        ("chain/preference-2", second),
        ("train/3", third),
        ("train/4", stranger),
    ):
        write_atomic(home / folder / "checkpoint.json", each.model_dump_json())
    (home / "told").mkdir()
    with Store.open(home / "store.db") as store:
        delete_episodes(store, Filter(tags={"person": "p0"}), [home])
    assert not (home / "told").exists(), "what a teacher said of their words goes with them"
    assert {"chain/sft-1", "chain/preference-2", "train/3"} <= set(_marked(home))
    assert "train/4" not in _marked(home)


def test_an_episode_that_nothing_was_learnt_from_marks_nothing(home: Path) -> None:
    with Store.open(home / "store.db") as store:
        assert delete_episodes(store, Filter(tags={"person": "p5"}), [home]) == 1
    assert _marked(home) == []
    assert mark_of(home / "train" / "two") is None


def test_descendants_are_named_and_nothing_is_changed_by_a_dry_run(home: Path) -> None:
    assert [(d.kind, d.folder) for d in descendants(home, [EPISODES[1].id])] == [
        ("dataset", "curate/four"),
        ("checkpoint", "train/four"),
        ("export", "export/e"),
        ("dataset", "curate/two"),
        ("checkpoint", "train/two"),
    ]
    place = str(home.parent)
    said = CliRunner().invoke(app, ["episodes", "delete", place, "-w", "tag.person=p1", "--dry-run"])
    assert "checkpoint" in said.stdout
    assert "1 episodes would be removed" in said.stdout
    assert _marked(home) == []
    said = CliRunner().invoke(app, ["episodes", "delete", str(home / "store.db"), "-w", "tag.person=p1", "--yes"])
    assert said.exit_code == 0, said.stderr
    assert "5 folders are marked" in said.stdout
    assert len(_marked(home)) == 5
