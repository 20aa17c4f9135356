"""`prentice curate pairs` and the preference step in a project: made where missing, kept where nothing has changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ablation_projects import write_ablation_project
from prentice.app.cli.main import app
from prentice.pipeline import Context, Project, run_stage, states
from prentice.pipeline.lineage import descendants
from prentice.progress import Silent
from prentice.records import Checkpoint, Feedback, Manifest, Message, utc_now
from prentice.records.parquet import PAIRS, read_rows
from prentice.runs import read_record
from tiny_models import write_tiny_llama

THREE = "[rollout]\ntries = 3\ncases = 20\n"
"""The recorded teacher's several tries, some of which are right and others wrong."""
JUDGED = """
import json
from prentice.models.scripted import ScriptedModel
from prentice.tasks.classify import Classify


def judge(request):
    text = request.messages[-1].content
    first = text.partition("The first reply:\\n")[2].partition("\\n")[0]
    verdict = "first" if first == "card_late" else "second"
    return json.dumps({"reason": "cards are late", "verdict": verdict})


class Judged(Classify):
    def teachers(self):
        return {"critic": ScriptedModel(judge, name="critic", slots=2)}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def prentice(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def curated(folder: Path, *overrides: str) -> Context:
    context = Context(Project(folder, overrides), Silent())
    for stage in ("rollout", "curate"):
        run_stage(context, stage)
    return context


def test_pairs_of_a_project_are_made_once_and_lie_under_what_they_were_made_from(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base, more=THREE)
    curated(folder)
    first = prentice("curate", "pairs", str(folder))
    assert first.exit_code == 0, first.stderr
    assert "pairs of" in first.stdout
    (made,) = (folder / ".prentice" / "pairs").glob("*/manifest.json")
    before = made.stat().st_mtime_ns
    assert prentice("curate", "pairs", str(folder)).stdout == first.stdout.partition("\n")[2]  # no bar: nothing is done
    assert made.stat().st_mtime_ns == before
    _, pairs = read_rows(made.parent, PAIRS)
    keys = {case.id: case.expected for case in Project(folder).task.cases("train")}
    assert pairs
    assert all(pair.chosen.content == keys[pair.case] != pair.rejected.content for pair in pairs)
    # the student's prompt, not the teacher's with all its labels
    assert {pair.messages[0].content for pair in pairs} == {"Which?"}


def test_curate_without_a_name_still_makes_the_rows_to_imitate(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    assert prentice("rollout", str(folder)).exit_code == 0
    plain, named = prentice("curate", str(folder)), prentice("curate", "rows", str(folder))
    assert plain.exit_code == named.exit_code == 0
    assert "kept" in plain.stdout
    assert not (folder / ".prentice" / "pairs").exists()


def test_a_teacher_that_tried_each_case_once_gives_no_pairs_and_one_line(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    curated(folder)
    said = prentice("curate", "pairs", str(folder))
    assert said.exit_code == 2
    assert "no pairs to learn from in 60 replies (60: its case was tried once)" in said.stderr
    assert "pairs.student_tries = 4" in said.stderr


def test_edits_make_pairs_thumbs_make_thumbs_and_new_ones_make_them_anew(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base)
    context = curated(folder)
    with context.project.store() as store:
        wrong = next(e for e in store.episodes() if not e.metric("success"))
        right = Message(role="assistant", content="card_lost")
        store.add_feedback(
            [Feedback(id="f", episode=wrong.id, name="demonstration", demonstration=right, at=utc_now())]
        )
    edits = prentice("curate", "pairs", str(folder), "--from", "edits")
    assert "\n1 pairs of 1 among 60 replies" in edits.stdout, edits.stderr
    assert "dropped 59 (98 %): nobody wrote another one" in edits.stdout
    thumbs = prentice("curate", "pairs", str(folder), "--from", "thumbs")
    assert "61 thumbs of 60 among 60 replies" in thumbs.stdout, thumbs.stderr
    assert "41 thumbs up, 20 down" in thumbs.stdout


def test_the_preference_step_makes_its_pairs_and_starts_from_the_fine_tuned_student(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base, more=f"{THREE}[train.preference]\nbatch = 4\n")
    context = curated(folder)
    run_stage(context, "train")
    checkpoint = read_record(Checkpoint, context.folder("train") / "checkpoint.json")
    assert checkpoint.method == "preference"
    assert checkpoint.base.name.endswith("+sft")
    (made,) = (folder / ".prentice" / "pairs").glob("*/manifest.json")
    assert checkpoint.dataset == read_record(Manifest, made).hash
    assert dict(states(context))["train"]
    _, pairs = read_rows(made.parent, PAIRS)
    kinds = {d.kind: d.folder for d in descendants(folder / ".prentice", [pairs[0].episodes[1]])}
    assert kinds["checkpoint"].startswith("train/")
    assert kinds["dataset"].startswith("pairs/"), "the worse reply's episode is in no other"
    with context.project.store() as store:
        feedback = Feedback(id="f", episode=pairs[0].episodes[0], name="success", value=False, at=utc_now())
        store.add_feedback([feedback])
    assert not dict(states(Context(Project(folder), Silent())))["train"]


def test_the_students_own_attempts_become_pairs(base: Path, tmp_path: Path) -> None:
    more = "[pairs]\nstudent_tries = 4\nstudent_cases = 8\n[train.preference]\nbatch = 4\n"
    folder = write_ablation_project(tmp_path / "p", base, more=more)
    context = curated(folder)
    alone = prentice("curate", "pairs", str(folder))
    assert alone.exit_code == 0, alone.stderr
    assert "among 92 replies" in alone.stdout  # 60 of the teacher, 32 of the student
    with context.project.store() as store:
        assert store.count() == 60
    said = prentice("curate", "pairs", str(folder), "--dry-run")
    assert "the student makes 4 attempts at each of 8 training cases" in said.stdout


def test_a_critic_judges_what_nobody_else_has_and_a_dry_run_says_what_it_would_be_asked(
    base: Path, tmp_path: Path
) -> None:
    asks = '[pairs]\nsources = ["critic"]\nbetter = "turns"\n[pairs.critic]\nmodel = "task:critic"\n'
    folder = write_ablation_project(tmp_path / "p", base, more=THREE + asks)
    (folder / "judged_task.py").write_text(JUDGED, encoding="utf-8")
    file = folder / "prentice.toml"
    file.write_text(file.read_text().replace('"classify"', '"judged_task:Judged"'), encoding="utf-8")
    curated(folder)
    ahead = prentice("curate", "pairs", str(folder), "--dry-run")
    assert ahead.exit_code == 0, ahead.stderr
    assert "critic task:critic: 24 pairs of replies, 48 calls" in ahead.stdout
    assert not (folder / ".prentice" / "pairs").exists()
    done = prentice("curate", "pairs", str(folder))
    assert done.exit_code == 0, done.stderr
    assert "critic critic: 24 pairs of replies, each asked twice with the replies swapped" in done.stdout
    assert "position bias: the first reply won in" in done.stdout
    (made,) = (folder / ".prentice" / "pairs").glob("*/manifest.json")
    _, pairs = read_rows(made.parent, PAIRS)
    assert {(pair.chosen.content, pair.source, pair.reason) for pair in pairs} == {
        ("card_late", "critic", "cards are late")
    }
    assert "0 calls" in prentice("curate", "pairs", str(folder), "--dry-run").stdout


def test_a_critic_that_nobody_named_is_asked_for_by_name(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "p", base, more=THREE)
    curated(folder)
    said = prentice("curate", "pairs", str(folder), "--from", "critic")
    assert said.exit_code == 2
    assert 'pairs.sources names "critic", and pairs.critic.model names no model' in said.stderr
