"""The same student on other rows and on fewer, end to end on a tiny model: tables, resume, what is left out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablation_projects import write_ablation_project
from prentice.app.cli.main import app
from prentice.errors import ConfigError, DataError
from prentice.evaluation.ablation import Ablation
from prentice.pipeline import Project
from prentice.pipeline.ablation.curation import ablate_curation
from prentice.pipeline.ablation.sizes import ablate_sizes
from prentice.progress import Silent
from prentice.runs import claimed
from tiny_models import write_tiny_llama

QUICK = ["ablate.cases=6", "ablate.seeds=1"]
SMALL = ["ablate.cases=6", "ablate.seeds=2", 'ablate.arms=["all"]']


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ablation, Path]:
    """A project, what its ablation came to, and the folder of the files."""
    folder = write_ablation_project(tmp_path_factory.mktemp("finished") / "project", base)
    return folder, *ablate_curation(Project(folder, SMALL), Silent())


def results(folder: Path) -> dict[str, int]:
    """Key of each finished run → when its record was written, in ns."""
    return {f.parent.name: f.stat().st_mtime_ns for f in (folder / ".prentice" / "ablate").glob("*/result.json")}


def test_both_tables_hold_every_arm_with_its_students_interval_and_difference(
    finished: tuple[Path, Ablation, Path],
) -> None:
    _, made, _ = finished
    assert [table.title for table in made.tables] == [
        "equal supervised tokens",
        "equal teacher cost, own rows for the configured epochs",
    ]
    for table in made.tables:
        assert [arm.name for arm in table.arms] == ["curated", "all"]
        assert all(list(arm.students) == [0, 1] for arm in table.arms)
        assert all(len(s.successes) == 6 for arm in table.arms for s in arm.students.values())
        assert all(arm.success is not None and arm.success.low < arm.success.high for arm in table.arms)
        assert [arm.difference is None for arm in table.arms] == [True, False]
    assert made.references == {"teacher": pytest.approx(4 / 6)}, "two test cases of three, from the recording"


def test_plain_distillation_sees_the_curated_arms_tokens_in_one_table_and_all_its_own_in_the_other(
    finished: tuple[Path, Ablation, Path],
) -> None:
    _, made, _ = finished
    (curated, plain), (same, own) = ([next(iter(arm.students.values())) for arm in table.arms] for table in made.tables)
    assert curated == same, "one run that stands in both tables"
    assert plain.tokens == pytest.approx(curated.tokens, rel=0.03), "as seen, to the nearest row"
    assert own.epochs == curated.epochs == 2
    assert own.visits == 2 * own.rows > plain.visits
    assert own.rows == plain.rows > curated.rows
    assert curated.figures["supervised_tokens"] * 2 == curated.tokens, "counted as training counts them"


def test_what_stays_on_disk_is_records_not_models(finished: tuple[Path, Ablation, Path]) -> None:
    folder, made, _ = finished
    kept = {s.key for table in made.tables for arm in table.arms for s in arm.students.values()}
    assert results(folder).keys() == kept
    for key in kept:
        assert [f.name for f in (folder / ".prentice" / "ablate" / key).glob("[!.]*")] == ["result.json"]


def test_the_files_hold_what_the_record_says(finished: tuple[Path, Ablation, Path]) -> None:
    _, made, files = finished
    assert Ablation.model_validate_json((files / "ablation.json").read_bytes()) == made
    page = (files / "ablation.md").read_text(encoding="utf-8")
    assert page.count("| curated | ") == 2
    assert "all: every episode that did not fail, right or wrong (plain distillation) (60 attempts, 15 CPU-s)" in page
    drawing = (files / "ablation.svg").read_text(encoding="utf-8")
    assert drawing.startswith("<?xml")
    assert all(f">{name}<" in drawing for name in ("curated", "all", "teacher"))


def test_a_second_call_trains_nothing_and_another_seed_only_what_is_missing(
    finished: tuple[Path, Ablation, Path],
) -> None:
    folder, made, _ = finished
    before = results(folder)
    again, _ = ablate_curation(Project(folder, SMALL), Silent())
    assert results(folder) == before
    assert again.tables == made.tables
    fewer, _ = ablate_curation(Project(folder, [*SMALL, "ablate.seeds=1", 'ablate.arms=["all"]']), Silent())
    assert results(folder) == before
    assert fewer.tables[0].arms[1].students[0] == made.tables[0].arms[1].students[0]
    one, _ = ablate_curation(Project(folder, [*SMALL, 'ablate.equal=["cost"]']), Silent())
    assert one.tables == made.tables[1:]


def test_after_a_kill_only_what_was_not_finished_is_done(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    overrides = [*QUICK, 'ablate.arms=["all"]']
    command = [sys.executable, "-m", "prentice", "ablate", "curation", str(folder)]
    killed = subprocess.Popen(
        [*command, *(word for each in overrides for word in ("--set", each))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (before := results(folder)) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert before, "nothing was finished before the end"
    made, _ = ablate_curation(Project(folder, overrides), Silent())
    after = results(folder)
    assert before.items() <= after.items(), "what was finished was not done again"
    assert len(after) == 3, "curated, and plain distillation under both budgets"
    assert all(arm.students for table in made.tables for arm in table.arms)


def test_what_another_process_is_at_is_waited_for_and_not_done_twice(
    finished: tuple[Path, Ablation, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(finished[0], tmp_path / "p")
    before = results(folder)
    run = folder / ".prentice" / "ablate" / min(before)
    (run / "result.json").rename(tmp_path / "result.json")
    with ThreadPoolExecutor(1) as pool:
        with claimed(run) as free:
            assert free
            waiting = pool.submit(ablate_curation, Project(folder, SMALL), Silent())
            with pytest.raises(TimeoutError):
                waiting.result(timeout=5)
            (tmp_path / "result.json").rename(run / "result.json")  # as the other process ends
        made, _ = waiting.result(timeout=60)
    assert made.tables == finished[1].tables
    assert results(folder) == before, "nothing was trained"


def test_sizes_are_tried_up_to_what_there_is_and_few_rows_are_visited_often(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    overrides = [*QUICK, "ablate.sizes=[4, 500]", "ablate.least_visits=40"]
    made, files = ablate_sizes(Project(folder, overrides), Silent())
    (table,) = made.tables
    few, whole, beyond = table.arms
    assert (few.name, beyond.name) == ("4", "500")
    assert beyond.left_out == f"only {whole.name} curated rows are there; all of them stand in its place"
    assert few.students[0].epochs == 10, "40 visits over 4 rows"
    assert whole.students[0].epochs == 2, "as configured: more than 40 visits"
    assert whole.students[0].rows == int(whole.name)
    assert table.reference == whole.name
    drawing = (files / "ablation.svg").read_text(encoding="utf-8")
    assert ">curated rows to train on<" in drawing
    assert f">{whole.name}<" in drawing


def test_a_dry_run_says_which_students_and_does_nothing(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    said = CliRunner().invoke(app, ["ablate", "curation", str(folder), "--dry-run"])
    assert said.exit_code == 0
    assert "teacher: 1 of each of 60 cases\nteacher: 3 of each of 20 cases\n" in said.output
    assert "all (cost): 54 rows, 2 epochs, " in said.output
    assert " 0 of them done; the others visit " in said.output
    assert not (folder / ".prentice").exists()
    more = CliRunner().invoke(app, ["ablate", "sizes", str(folder), "--dry-run", "--set", "ablate.sizes=[10]"])
    assert "10 (sizes): 10 rows, 30 epochs, " in more.output
    assert not (folder / ".prentice").exists()


def test_a_dry_run_with_a_live_teacher_plays_nothing(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    live = ["--set", "teacher.model=openai:gpt-5-mini", "--set", "offline=true"]
    said = CliRunner().invoke(app, ["ablate", "curation", str(folder), "--dry-run", *live])
    assert said.exit_code == 0, said.output
    assert "teacher: 120 attempts at most are to be played first" in said.output


def test_single_tries_end_in_tables_that_say_which_arms_are_missing(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base, deep=0)
    made, files = ablate_curation(Project(folder, [*QUICK, 'ablate.arms=["best"]']), Silent())
    assert made.tables[0].arms[1].left_out == "the recording holds no case with 3 tries"
    assert "best: the best of 3 tries of each case, by success\n" in (files / "ablation.md").read_text(encoding="utf-8")


def test_a_metric_that_counts_no_success_is_refused_before_anything_is_trained(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    with pytest.raises(DataError, match=r"metric 'politeness' is None, not a flag or a share from 0 to 1"):
        ablate_curation(Project(folder, [*QUICK, "evaluate.metric=politeness"]), Silent())
    assert not results(folder)


def test_cases_that_are_learnt_from_are_no_held_out_cases(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    with pytest.raises(ConfigError, match='split = "train"'):
        ablate_curation(Project(folder, [*QUICK, "evaluate.split=train"]), Silent())


def test_more_attempts_than_there_are_is_an_error_with_the_number(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    with pytest.raises(ConfigError, match=r"attempts = 99: the 60 cases there are allow 3 to 60"):
        ablate_curation(Project(folder, ["ablate.attempts=99"]), Silent())


def test_the_record_is_plain_json(finished: tuple[Path, Ablation, Path]) -> None:
    _, _, files = finished
    found = json.loads((files / "ablation.json").read_text(encoding="utf-8"))
    assert found["tables"][0]["arms"][0]["students"]["0"]["successes"]
