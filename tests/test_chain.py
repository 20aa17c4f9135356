"""Methods one after the other: each starts from what the one before has made, and each can be left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

import prentice
from ablation_projects import write_ablation_project
from prentice.app.cli.main import app
from prentice.pipeline import Context, Project
from prentice.pipeline.ablation.leaving_out import ablate_stages
from prentice.pipeline.partly import train_up_to
from prentice.pipeline.walk import run_stage
from prentice.progress import Silent
from prentice.records import Checkpoint
from prentice.runs import read_record
from tiny_models import write_tiny_llama

TWICE = ['train.stages=["sft", "sft"]']


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose student was fine-tuned twice, each time with fresh adapters."""
    folder = write_ablation_project(tmp_path_factory.mktemp("chain") / "project", base)
    context = Context(Project(folder, TWICE), Silent())
    for stage in ("rollout", "curate", "train", "export"):
        run_stage(context, stage)
    return folder


def checkpoints(folder: Path, where: str) -> list[Checkpoint]:
    return [read_record(Checkpoint, f) for f in sorted((folder / ".prentice" / where).glob("*/checkpoint.json"))]


def test_each_method_starts_from_the_merged_weights_of_the_one_before(trained: Path) -> None:
    (first,), (second,) = checkpoints(trained, "chain"), checkpoints(trained, "train")
    assert first.parent is None
    assert second.parent == first.id
    assert second.base.name.endswith("+sft")
    assert second.figures["loss_first"] < first.figures["loss_first"], "it goes on where the first has ended"
    (merged,) = (trained / ".prentice" / "chain").glob("*/merged/model.safetensors")
    (exported,) = (trained / ".prentice" / "export").glob("*/model/model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    with safe_open(merged, framework="pt") as before, safe_open(exported, framework="pt") as after:
        assert not before.get_tensor(name).equal(after.get_tensor(name))


def test_what_a_method_has_made_is_not_made_again(trained: Path) -> None:
    (file,) = (trained / ".prentice" / "chain").glob("*/checkpoint.json")
    before = file.stat().st_mtime_ns
    run_stage(context := Context(Project(trained, TWICE), Silent()), "train")
    train_up_to(context, "sft")
    assert file.stat().st_mtime_ns == before


def test_a_method_that_is_added_begins_from_what_was_trained_before(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "project", base)
    alone = Context(Project(folder), Silent())
    for stage in ("rollout", "curate", "train"):
        run_stage(alone, stage)
    (first,) = checkpoints(folder, "train")
    run_stage(Context(Project(folder, TWICE), Silent()), "train")
    assert checkpoints(folder, "chain") == []
    (second,) = (each for each in checkpoints(folder, "train") if each.parent)
    assert second.parent == first.id
    run_stage(Context(Project(folder, [*TWICE, "train.sft.seed=5"]), Silent()), "train")
    (other,) = checkpoints(folder, "chain")
    assert other.recipe["seed"] == 5


def test_the_methods_are_those_whose_sections_stand_in_the_file(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "project", base, more="[train.grpo]\n[train.cpt]\n", wide=3, deep=0)
    assert Project(folder).config.train.chain == ("cpt", "sft", "grpo")
    assert Project(folder, ['train.stages=["grpo"]']).config.train.chain == ("grpo",)


def test_a_method_that_the_project_does_not_name_is_refused_in_one_line(trained: Path) -> None:
    said = CliRunner().invoke(app, ["train", "distill", str(trained)])
    assert said.exit_code == 2
    assert "the student is trained by sft; distill is not among them" in said.stderr
    assert "add a section [train.distill]" in said.stderr


def test_every_stage_is_left_out_in_turn_and_compared_with_the_whole_chain(trained: Path) -> None:
    settings = [*TWICE, "ablate.cases=6", "ablate.seeds=1"]
    said = CliRunner().invoke(
        app, ["ablate", "stages", str(trained), "--dry-run", *(part for s in settings for part in ("--set", s))]
    )
    assert said.exit_code == 0, said.output
    assert "all stages: sft → sft" in said.output
    made, folder = ablate_stages(Project(trained, settings), Silent())
    (table,) = made.tables
    assert (table.title, table.reference) == ("sft → sft", "all stages")
    assert [arm.name for arm in table.arms] == ["all stages", "without sft"]
    assert all(len(arm.students) == 1 for arm in table.arms)
    assert (folder / "ablation.svg").exists()


def test_of_a_single_method_none_can_be_left_out(trained: Path) -> None:
    said = CliRunner().invoke(app, ["ablate", "stages", str(trained)])
    assert said.exit_code == 2
    assert "the student is trained by sft alone, so no stage can be left out" in said.stderr


def test_a_chain_of_methods_ends_in_a_report(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "project", base, wide=12, deep=0)
    outcome = prentice.run(folder, overrides=[*TWICE, "evaluate.cases=4", 'evaluate.policies=["teacher", "student"]'])
    assert {result.name for result in outcome.report.results} >= {"teacher", "student"}
