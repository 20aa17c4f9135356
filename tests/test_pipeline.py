"""The whole way on a tiny random model: every stage is real, only the weights mean nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import prentice
from prentice.errors import ConfigError, DataError, PrenticeError
from prentice.evaluation import success_cost_plot
from prentice.models import ScriptedModel
from prentice.models.local import LocalModel
from prentice.pipeline import Context, Outcome, Project, run, run_stage, states
from prentice.pipeline.forecast import forecast
from prentice.pipeline.record import Recorder
from prentice.pipeline.walk import stage_named
from prentice.progress import Silent
from prentice.records import Checkpoint, Episode, Metric, Sampling, Turn
from prentice.records.jsonl import read_episodes, write_episodes
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.runs import StageRecord, read_record
from tiny_models import write_tiny_llama

LABELS = ("card_lost", "card_late", "cash")
STAGES = ["rollout", "curate", "train", "export", "evaluate", "report"]


def write_project(folder: Path, base: Path, *, cases: int = 36, more: str = "") -> Path:
    """A project with a recorded teacher that is right in two cases of three."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["id,split,text,label"]
    rows += [
        f"{split}{i},{split},message {split} {i},{LABELS[i % 3]}" for split in ("train", "test") for i in range(cases)
    ]
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "prentice.toml").write_text(
        f"""threads = 1
{more}
[task]
kind = "classify"
cases = "cases.csv"
instructions = "Which?"
[teacher]
model = "recorded:teacher/*.jsonl.gz"
[student]
base = "{base.as_posix()}"
[train.sft]
epochs = 1
[evaluate]
cases = 24
""",
        encoding="utf-8",
    )
    record(folder)
    return folder


def record(folder: Path) -> None:
    """The teacher's and the base's recorded episodes."""
    project = Project(folder)
    task = project.task

    def answer(text: str) -> str:
        number = int(text.rsplit(" ", 1)[1])
        return LABELS[number % 3] if number % 3 else LABELS[1]

    with Store.open(folder / "recording.db") as store:
        for role in ("teacher", "base"):
            policy = ScriptedModel(lambda request: answer(str(request.inputs["text"])), name=f"scripted:{role}")
            for split in ("train", "test"):
                run_of = play_all(task, policy, task.cases(split), store, RolloutConfig())
                episodes = [timed(e, role) for e in store.episodes(run=run_of) if e.split == split]
                write_episodes(folder / "teacher" / f"{role}-{split}.jsonl.gz", episodes)


def timed(episode: Episode, role: str) -> Episode:
    """The episode with times as a machine would have taken them."""
    (turn,) = episode.turns
    reply = turn.reply.model_copy(update={"latency_s": 0.5, "processing_s": 0.9})
    tags = {"role": "base"} if role == "base" else {}
    return episode.model_copy(update={"turns": (turn.model_copy(update={"reply": reply}),), "tags": tags})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A project that was run once."""
    folder = write_project(tmp_path_factory.mktemp("finished") / "project", base)
    return folder, prentice.run(folder)


def test_a_run_ends_with_a_report_of_every_policy_and_a_verdict(finished: tuple[Path, Outcome]) -> None:
    _, outcome = finished
    results = {result.name: result for result in outcome.report.results}
    assert list(results) == ["teacher", "base", "student", "most frequent label"]
    assert results["teacher"].success.value == pytest.approx(2 / 3)
    assert all(result.n == 24 for result in results.values())
    assert results["teacher"].timing == "scaled"
    assert results["student"].timing == "measured"
    assert outcome.report.verdict is not None
    page = outcome.page.read_text(encoding="utf-8")
    assert "most frequent label" in page


def test_the_second_run_skips_every_stage_quickly(finished: tuple[Path, Outcome]) -> None:
    folder, first = finished
    begun = time.process_time()
    again = run(folder)
    assert list(again.skipped) == STAGES
    assert time.process_time() - begun < 10
    assert again.report == first.report


def test_a_changed_setting_runs_what_depends_on_it_and_nothing_else(finished: tuple[Path, Outcome]) -> None:
    folder, _ = finished
    again = run(folder, overrides=["evaluate.margin=0.5"])
    assert list(again.skipped) == STAGES[: STAGES.index("evaluate")]
    assert again.report.verdict is not None
    assert again.report.verdict.margin == 0.5


def test_a_wider_context_plays_anew_and_trains_nothing_that_is_the_same(finished: tuple[Path, Outcome]) -> None:
    folder, _ = finished
    assert list(run(folder, overrides=["context=2048"]).skipped) == ["train", "export"]


def test_other_held_out_levels_are_other_inputs_of_the_comparison(tmp_path: Path) -> None:
    section = '[task]\nkind = "babyai"\nlevel = "GoToObj"\n[teacher]\nmodel = "task:clumsy expert"\n'
    (tmp_path / "prentice.toml").write_text(section, encoding="utf-8")
    done = {"export": StageRecord(stage="export", inputs="the same", seconds=0)}

    def inputs(*overrides: str) -> object:
        return stage_named("evaluate").inputs(Context(Project(tmp_path, overrides), Silent(), done=done))

    assert inputs() == inputs()
    assert inputs("task.test_level=GoToDoor") != inputs()
    assert inputs("task.seeds.test=[4_000_000, 4_000_004]") != inputs()


def test_each_configuration_gets_its_own_report_back_when_all_is_skipped(finished: tuple[Path, Outcome]) -> None:
    folder, first = finished
    other = run(folder, overrides=["evaluate.margin=0.4"])
    again = run(folder)
    assert len(again.skipped) == len(STAGES)
    assert again.report == first.report != other.report


def test_two_recordings_of_the_same_policy_are_two_teachers(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    context = Context(Project(folder), Silent())
    first = run_stage(context, "rollout").facts
    for path in (folder / "teacher").iterdir():
        text = [e.model_copy(update={"turns": (said(e, LABELS[2]),)}) for e in read_episodes(path)]
        write_episodes(path, text)
    second = run_stage(Context(Project(folder), Silent()), "rollout").facts
    assert (first["right"], second["right"]) == (24, 12)


def said(episode: Episode, text: str) -> Turn:
    """The episode's turn with another reply."""
    (turn,) = episode.turns
    message = turn.reply.message.model_copy(update={"content": text})
    return turn.model_copy(update={"reply": turn.reply.model_copy(update={"message": message})})


def test_from_runs_a_stage_and_those_after_it_again(finished: tuple[Path, Outcome]) -> None:
    folder, _ = finished
    assert list(run(folder, start="evaluate").skipped) == STAGES[: STAGES.index("evaluate")]


def test_several_students_are_trained_alike_and_stand_in_one_report(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", base, more=f'students = ["{base.as_posix()}", "other"]')
    write_tiny_llama(folder / "other", seed=1)
    assert any("then for other too" in line for line in forecast(folder))
    outcome = run(folder)
    assert [r.name for r in outcome.report.results] == [
        "teacher",
        "base",
        "student",
        "student other",
        "most frequent label",
    ]
    both = [r for r in outcome.report.results if r.name.startswith("student")]
    assert all(r.difference is not None and r.cost_unit == "CPU-s" for r in both)
    assert both[0].policy != both[1].policy
    assert "student other" in success_cost_plot(outcome.report)
    assert outcome.report.facts["command"] == f"prentice run {folder}"
    assert list(run(folder).skipped) == STAGES
    assert all(done for _, done in states(Context(Project(folder), Silent())))
    assert run_stage(Context(Project(folder), Silent()), "evaluate").facts
    alone = run(folder, overrides=["students=[]"])
    assert list(alone.skipped) == STAGES[: STAGES.index("evaluate")]
    assert alone.report.facts["command"] == f"prentice run {folder} --set 'students=[]'"
    write_tiny_llama(folder / "third", seed=2)
    with pytest.raises(PrenticeError, match="are not all trained with this configuration"):
        run_stage(Context(Project(folder, [f'students=["{base.as_posix()}", "third"]']), Silent()), "evaluate")


@pytest.mark.parametrize(
    ("students", "message"),
    [
        ('["elsewhere"]', r"students begins with 'elsewhere' and \[student\] base is"),
        ('["{base}", "x", "x"]', "students names 'x' twice"),
    ],
)
def test_students_that_contradict_the_file_are_refused(base: Path, tmp_path: Path, students: str, message: str) -> None:
    folder = write_project(tmp_path / "project", base)
    with pytest.raises(ConfigError, match=message):
        Project(folder, [f"students={students.replace('{base}', base.as_posix())}"])


def test_an_unknown_stage_lists_the_known_ones(finished: tuple[Path, Outcome]) -> None:
    with pytest.raises(PrenticeError, match="no stage named 'trian'"):
        run(finished[0], start="trian")


def test_a_checkpoint_of_other_weights_is_not_exported_with_these(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    context = Context(Project(folder), Silent())
    for stage in STAGES[: STAGES.index("export")]:
        run_stage(context, stage)
    record = context.folder("train") / "checkpoint.json"
    checkpoint = read_record(Checkpoint, record)
    other = checkpoint.model_copy(update={"base": checkpoint.base.model_copy(update={"sha256": "f" * 64})})
    record.write_text(other.model_dump_json(), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"it was trained from weights with SHA-256 ffffffffffff…, and .* has [0-9a-f]{12}…"
    ):
        run_stage(Context(Project(folder), Silent()), "export")


def test_a_stage_alone_runs_again_on_what_the_others_left(finished: tuple[Path, Outcome]) -> None:
    folder, _ = finished
    context = Context(Project(folder), Silent())
    assert run_stage(context, "curate").facts["hash"]
    assert all(done for _, done in states(Context(Project(folder), Silent())))


def test_tries_that_another_configuration_played_change_no_dataset(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    context = Context(Project(folder), Silent())
    run_stage(context, "rollout")
    first = run_stage(context, "curate").facts["hash"]
    with context.project.store() as store:
        wrong = next(e for e in store.episodes() if e.metric("success") is False)
        store.add(
            [wrong.model_copy(update={"id": "x", "attempt": 1, "metrics": (Metric(name="success", value=True),)})]
        )
    assert run_stage(context, "curate").facts["hash"] == first


def test_curation_never_sees_the_right_label(base: Path, tmp_path: Path) -> None:
    """The right label of a case that the teacher got wrong is in no episode and in no row to learn from."""
    secret = "zebra_label_nobody_says"
    folder = write_project(tmp_path / "p", base)
    cases = (folder / "cases.csv").read_text(encoding="utf-8")
    # case train0 is answered wrong; its right label occurs nowhere else, and no policy can choose it
    (folder / "cases.csv").write_text(cases.replace("message train 0,card_lost", f"message train 0,{secret}"), "utf-8")
    for old in (folder / "teacher").iterdir():
        old.unlink()
    record(folder)
    context = Context(Project(folder), Silent())
    run_stage(context, "rollout")
    run_stage(context, "curate")
    from prentice.records.parquet import read_dataset, read_ledger

    place = context.folder("curate")
    _, examples = read_dataset(place)
    assert "train0" not in {example.case for example in examples}
    assert "train0" in {row.case for row in read_ledger(place)}
    with context.project.store() as store:
        episodes = list(store.episodes(run=str(context.done["rollout"].facts["run"])))
    wrong = next(e for e in episodes if e.case == "train0")
    assert wrong.metrics == (Metric(name="success", value=False),)
    # every request lists all labels in its choices and, for the teacher, in its instructions; nothing else may say it
    bare = [
        turn.model_copy(update={"request": turn.request.model_copy(update={"choices": (), "messages": ()})})
        for episode in episodes
        for turn in episode.turns
    ]
    told = "".join(turn.model_dump_json() for turn in bare) + "".join(e.model_dump_json() for e in examples)
    assert secret not in told


def test_a_dataset_without_rows_says_how_many_episodes_there_were(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    with pytest.raises(DataError, match=r"nothing kept: 0 of 36 episodes satisfied"):
        run(folder, overrides=["curate.keep=success and not success"])


def test_a_recording_of_another_prompt_is_refused_in_one_line(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    with pytest.raises(PrenticeError, match="this prompt was not recorded"):
        run(folder, overrides=["task.instructions=What else?"])


def test_the_whole_run_works_with_every_socket_but_loopback_refused(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base, more="offline = true")
    code = (
        "import sys, socket, prentice\n"
        "outcome = prentice.run(sys.argv[1])\n"
        "from prentice.errors import PrenticeError\n"
        "try: socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
        "except PrenticeError: print('refused', outcome.report.cases)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("refused 24"), done.stderr


def test_a_recording_is_written_and_answers_again(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    out = tmp_path / "again.jsonl.gz"
    recorder = Recorder(Project(folder), policy=None, split="train", limit=5, role="teacher")
    assert "5 recorded episodes to replay" in recorder.forecast()
    assert recorder.record(out) == 5
    assert [e.turns[0].reply.latency_s for e in read_episodes(out)] == [0.5] * 5


def test_as_many_training_cases_are_recorded_as_the_project_plays(base: Path, tmp_path: Path) -> None:
    project = Project(write_project(tmp_path / "p", base), ["rollout.cases=7"])
    training = Recorder(project, policy=None, split="train", limit=None, role="teacher")
    held_out = Recorder(project, policy=None, split="test", limit=None, role="teacher")
    assert [len(training.cases), len(held_out.cases)] == [7, len(project.task.cases("test"))]
    assert len(project.task.cases("train")) > 7


def test_a_live_local_model_takes_the_recordings_place_with_one_line(base: Path, tmp_path: Path, smollm2: Path) -> None:
    folder = write_project(tmp_path / "p", base, cases=3)
    context = Context(Project(folder, [f"teacher.model=local:{smollm2}"]), Silent())
    facts = run_stage(context, "rollout").facts
    assert (facts["episodes"], facts["failed"]) == (3, 0)


def test_the_examples_live_teacher_answers_as_it_was_recorded(qwen: Path) -> None:
    """The line `model = "local:qwen2.5-coder-1.5b"` with the real model: it says again what was recorded."""
    project = Project(Path(__file__).parents[1] / "examples" / "support")
    from prentice.models.specs import read_recording

    recording = read_recording(project.config.teacher.model, project.folder)
    assert recording.live == "local:qwen2.5-coder-1.5b"
    asked = [e for e in recording.replies if e.attempt == 0][:2]
    model = LocalModel(qwen, name=recording.live, context=2048)
    for episode in asked:
        reply = asyncio.run(model.generate(episode.turns[0].request, Sampling()))
        assert reply.text == episode.turns[0].reply.text
    asyncio.run(model.close())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this platform")
def test_kill_9_in_each_stage_of_a_run_is_made_up_for_by_the_next(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    code = "import sys, prentice; prentice.run(sys.argv[1])"
    for made in ("store.db", "curate", "train", "export"):
        process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while process.poll() is None and not (folder / ".prentice" / made).exists() and time.monotonic() < until:
            time.sleep(0.005)
        assert process.poll() is None, f"the run ended before it could be killed at {made}"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    outcome = run(folder)
    assert outcome.report.cases == 24
    with Project(folder).store() as store:
        assert max(store.runs().values()) == 36
