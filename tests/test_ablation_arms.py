"""Which rows each arm gets from equal attempts of the teacher, how long it trains on them, and why it has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablation_projects import write_ablation_project
from prentice.pipeline import Project
from prentice.pipeline.ablation.curation import CURATED, Arms, teachers_work
from prentice.pipeline.ablation.plan import Run
from prentice.pipeline.ablation.sizes import Sizes
from prentice.pipeline.ablation.work import Work
from prentice.progress import Silent
from prentice.training.start import open_checker
from tiny_models import write_tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def planned(folder: Path, *overrides: str) -> tuple[Arms, list[Run]]:
    """The arms with their rows, and the runs; nothing is trained."""
    project = Project(folder, overrides)
    work, compared = Work.of(project, Silent()), Arms.of(project)
    compared.fill(work, teachers_work(work, compared), work.home / "rows")
    return compared, compared.runs(work)


def labels(compared: Arms, arm: str) -> dict[str, str]:
    """Case → what its row teaches."""
    return {e.case: e.reply.content for e in compared.rows[arm].examples}


@pytest.fixture(scope="module")
def filled(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Arms, list[Run]]:
    return planned(write_ablation_project(tmp_path_factory.mktemp("filled"), base))


def test_every_arm_spends_the_same_attempts(filled: tuple[Arms, list[Run]]) -> None:
    compared, _ = filled
    assert compared.pools.attempts == 60
    assert len(compared.pools.deep) * compared.pools.tries == 60
    assert compared.costs["wide"] == compared.costs["deep"] == "60 attempts, 15 CPU-s"
    assert compared.costs["people"] == "none of the teacher"


def test_each_arm_learns_what_its_name_says(filled: tuple[Arms, list[Run]]) -> None:
    compared, _ = filled
    right = {f"train{i}" for i in range(60) if i % 3}
    assert labels(compared, "curated").keys() == right
    assert labels(compared, "all").keys() == {f"train{i}" for i in range(60)}
    assert labels(compared, "importance") == labels(compared, "curated")
    # 20 cases are tried thrice; in odd ones the later tries differ from the first and from each other
    best = labels(compared, "best")
    assert best.keys() == {f"train{i}" for i in range(20)}, "the best of a case, even if none is right"
    assert labels(compared, "agreement").keys() == {f"train{i}" for i in range(0, 20, 2)}
    human = labels(compared, "human")
    assert len(human) == 60
    assert all(label == ("card_lost", "card_late", "cash")[int(case[5:]) % 3] for case, label in human.items())


def test_the_tokens_are_made_equal_by_epochs(filled: tuple[Arms, list[Run]]) -> None:
    _, runs = filled
    first = {(run.arm, run.budget): run for run in runs if run.seed == 0}
    curated = first[CURATED, "cost"]
    assert curated.sft.epochs == 2
    for (_, budget), run in first.items():
        if budget == "tokens":
            assert run.tokens == pytest.approx(curated.tokens, rel=0.02)
        else:
            assert run.sft.epochs == 2
    # by hand: two passes over the curated rows are so many passes over all of them
    per_pass = first["all", "cost"].tokens / 2
    assert first["all", "tokens"].sft.epochs == pytest.approx(curated.tokens / per_pass, abs=1e-4)


def test_random_rows_are_as_many_as_the_curated_and_others_for_another_seed(filled: tuple[Arms, list[Run]]) -> None:
    _, runs = filled
    drawn = [{e.id for e in run.rows.examples} for run in runs if (run.arm, run.budget) == ("random", "cost")]
    (curated, *_) = [run.rows.examples for run in runs if run.arm == CURATED]
    assert [len(rows) for rows in drawn] == [len(curated)] * 3
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_the_same_work_has_one_key_and_other_work_another(filled: tuple[Arms, list[Run]]) -> None:
    _, runs = filled
    keys = {(run.arm, run.budget, run.seed): run.key for run in runs}
    assert keys[CURATED, "tokens", 0] == keys[CURATED, "cost", 0]
    assert keys["importance", "tokens", 0] == keys["importance", "cost", 0] != keys[CURATED, "cost", 0]
    assert keys["all", "tokens", 0] != keys["all", "cost", 0]
    assert keys[CURATED, "cost", 0] != keys[CURATED, "cost", 1]


@pytest.mark.parametrize(
    "changed", ["evaluate.metric=other", "export.quantization=f16", "ablate.cases=5", "rollout.max_tokens=9"]
)
def test_a_setting_that_may_change_success_changes_the_key(base: Path, tmp_path: Path, changed: str) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    only = 'ablate.arms=["curated"]'
    _, before = planned(folder, only)
    _, after = planned(folder, only, changed)
    assert not {run.key for run in before} & {run.key for run in after}


def test_how_often_the_state_is_saved_changes_no_key(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    only = 'ablate.arms=["curated"]'
    _, before = planned(folder, only)
    _, after = planned(folder, only, "train.sft.save_seconds=1", "train.sft.micro_tokens=100")
    assert [run.key for run in before] == [run.key for run in after]


def test_a_recording_of_single_tries_leaves_out_the_arms_that_choose_among_tries(base: Path, tmp_path: Path) -> None:
    compared, runs = planned(write_ablation_project(tmp_path / "p", base, deep=0))
    reason = "the recording holds no case with 3 tries"
    assert compared.left_out == {"best": reason, "agreement": reason}
    assert {run.arm for run in runs} == {CURATED, "all", "random", "importance", "human"}


def test_two_tries_are_too_few_to_agree(base: Path, tmp_path: Path) -> None:
    compared, _ = planned(write_ablation_project(tmp_path / "p", base), "ablate.tries=2")
    assert compared.left_out == {"agreement": "tries = 2, and of fewer than 3 it says little that they agree"}
    assert len(compared.pools.deep) * 2 == compared.pools.attempts == 40


def test_an_arm_without_its_metric_is_left_out_with_the_metrics_name(base: Path, tmp_path: Path) -> None:
    compared, _ = planned(write_ablation_project(tmp_path / "p", base), "evaluate.metric=politeness")
    assert "no episode has a metric 'politeness'" in compared.left_out["best"]


def test_attempts_are_bounded_by_single_tries_where_no_arm_chooses_among_several(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base, deep=5)
    assert planned(folder, 'ablate.arms=["all"]')[0].pools.attempts == 60
    assert planned(folder)[0].pools.attempts == 15


def test_weights_of_curation_weigh_no_other_arm(base: Path, tmp_path: Path) -> None:
    # a wrong episode would weigh nothing, and a row that weighs nothing is an error
    compared, _ = planned(write_ablation_project(tmp_path / "p", base), "curate.weight_by=3 * success")
    assert compared.left_out == {}
    assert {e.weight for e in compared.rows["curated"].examples} == {3.0}
    assert {e.weight for name in ("all", "random", "human") for e in compared.rows[name].examples} == {1.0}


def test_rows_that_no_run_could_train_on_are_left_out_of_an_arm_and_counted(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    whole, _ = planned(folder)
    checker = open_checker(512, Path("rows"), base)
    lengths = [len(r.row.tokens) for r in checker.check(whole.rows["all"].examples)]
    compared, _ = planned(folder, f"train.sft.max_tokens={max(lengths) - 1}")
    lost = lengths.count(max(lengths))
    assert len(compared.rows["all"].examples) == 60 - lost
    assert f"; {lost} of 60 rows cannot be trained on, the first since it is longer than" in compared.told(
        compared.chosen[1]
    )
    assert compared.told(compared.chosen[0]).endswith("CPU-s)"), "curated rows are what the user would train on"


def test_fewer_rows_are_among_more_rows_of_the_same_seed(filled: tuple[Arms, list[Run]]) -> None:
    compared, _ = filled
    rows = compared.rows["all"]
    few, more, other = (
        {e.id for e in rows.sample(seed, size, 2).split("train")} for seed, size in ((0, 5), (0, 20), (1, 20))
    )
    assert (len(few), len(more)) == (5, 20)
    assert few < more
    assert more != other


def test_sizes_beyond_what_there_is_give_way_to_all_there_is(filled: tuple[Arms, list[Run]]) -> None:
    compared, _ = filled
    rows = compared.rows["all"]
    there = len(rows.split("train"))
    assert Sizes.of(rows, (300, 10, 30, 100)).tried == (10, 30, there)
    assert Sizes.of(rows, (300, 10, 30, 100)).left_out == (100, 300)
    assert Sizes.of(rows, (10, there)).tried == (10, there)
    assert Sizes.of(rows, (10, 30)).tried == (10, 30), "nothing larger was asked for"
