"""The student at play: tries on a real server, what of them is kept, the probe's advice, and reward that rises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.app.cli.probe_view import print_probe
from prentice.app.cli.train import _with
from prentice.errors import DataError, ModelError, TrainingError
from prentice.models.local import LocalModel
from prentice.pipeline import Project
from prentice.pipeline.ablation.reinforced import ablate_play
from prentice.pipeline.learning import learn_chain
from prentice.pipeline.learning.grpo import LINK
from prentice.pipeline.learning.reinforce import Ground
from prentice.pipeline.probing import probe
from prentice.progress import Silent
from prentice.records import Message, Request, Sampling
from prentice.tasks import Case
from prentice.training.gguf import write_gguf
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.probe import Pace, Probe
from prentice.training.grpo.rolled import Rolled
from reinforce_task import WORDS, ScriptedDrawer
from test_training_sft import Heard
from tiny_models import write_tiny_llama

HOT = Sampling(temperature=1.0, max_tokens=6, logprobs=True)
ASKED = Request(function="f", messages=(Message(role="user", content="Where is my card?"),))
TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def gguf(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(base, path, "f32", "tiny")
    return path


def write_project(folder: Path, base: Path, more: str = "") -> Path:
    """A project whose student only learns by play."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prentice.toml").write_text(
        f"""threads = 1
[task]
kind = "reinforce_task:Letters"
[teacher]
model = "x:y"
[student]
base = "{base.as_posix()}"
[rollout]
max_tokens = 4
[export]
quantization = "f32"
[train]
stages = ["grpo"]
[train.grpo]
group = 8
batch = 4
epochs = 7
updates = 3
learning_rate = 0.05
lora_rank = 4
lora_alpha = 8
kl = 0
max_tokens = 256
{more}
""",
        encoding="utf-8",
    )
    return folder


def ground(folder: Path, base: Path, more: str = "") -> Ground:
    project = Project(write_project(folder, base, more))
    return Ground(project, project.config.train.grpo)


# --- draws ---------------------------------------------------------------------------------------------------------


async def test_a_draw_names_every_token_and_how_likely_it_was(gguf: Path) -> None:
    model = LocalModel(gguf, context=256, threads=1)
    drawn = [await model.draw(ASKED, HOT.model_copy(update={"seed": seed})) for seed in range(20)]
    await model.close()
    assert len({each.prompt for each in drawn}) == 1
    assert all(0 < len(each.tokens) <= 6 for each in drawn)
    assert [each.reply.usage.output_tokens for each in drawn] == [len(each.tokens) for each in drawn]
    told = [each for each in drawn if each.logprobs]
    # a byte that is a part of a letter is not told of; a random model writes many
    assert 0 < len(told) < 20
    assert all(len(each.logprobs) == len(each.tokens) and max(each.logprobs) <= 0 for each in told)


async def test_a_reply_that_ends_ends_with_the_stop_token_and_one_that_was_cut_does_not(base: Path, gguf: Path) -> None:
    from transformers import AutoTokenizer

    from prentice.training.check import stop_ids

    stops = stop_ids(AutoTokenizer.from_pretrained(base), base)
    model = LocalModel(gguf, context=256, threads=1)
    ended = False
    for seed in range(400):
        drawn = await model.draw(ASKED, HOT.model_copy(update={"seed": seed, "max_tokens": 8, "temperature": 2.0}))
        assert (drawn.tokens[-1] in stops) == (drawn.reply.finish_reason == "stop")
        assert not stops & set(drawn.tokens[:-1])
        ended = ended or drawn.reply.finish_reason == "stop"
    await model.close()
    assert ended


async def test_llama_cpps_log_probabilities_are_those_of_torch(base: Path, gguf: Path) -> None:
    import torch

    from prentice.training.forest import Row
    from prentice.training.start import open_model

    model = LocalModel(gguf, context=256, threads=1)
    drawn = [await model.draw(ASKED, HOT.model_copy(update={"seed": seed})) for seed in range(10)]
    await model.close()
    told = [each for each in drawn if each.logprobs]
    student = open_model(GRPOConfig(), base, torch.device("cpu"))
    with torch.no_grad():
        found = student(student.batch([Row(each.prompt, each.tokens) for each in told]))
    theirs = torch.tensor([logprob for each in told for logprob in each.logprobs])
    # llama.cpp keeps keys and values in 16 bits
    assert float((found - theirs).abs().max()) < 0.05
    assert float((found - theirs).abs().mean()) < 0.01


async def test_a_prompt_that_does_not_fit_is_a_model_error(gguf: Path) -> None:
    model = LocalModel(gguf, context=256, threads=1)
    long = Request(function="f", messages=(Message(role="user", content="card " * 400),))
    with pytest.raises(ModelError, match=r"llama\.cpp"):
        await model.draw(long, HOT)
    await model.close()


# --- play ----------------------------------------------------------------------------------------------------------


def test_every_case_is_played_by_turns_and_rewarded_by_the_metric(base: Path, tmp_path: Path) -> None:
    drawer = ScriptedDrawer(lambda request, attempt: "e" if attempt < 3 else "x")
    it = ground(tmp_path, base)
    tries = it.play(drawer, it.cases[:2], "s", None, Silent())
    assert [(each.case, each.attempt) for each in tries] == [(word, n) for word in WORDS[:2] for n in range(8)]
    assert [each.reward for each in tries] == ([1.0] * 3 + [0.0] * 5) * 2
    assert all([said.reply[-1] for said in each.turns] == [2, 2] for each in tries)
    assert {asked.temperature for asked in drawer.asked} == {1.0}
    assert len({asked.seed for asked in drawer.asked}) == 16  # a try keeps its seed over its turns


def test_a_seat_plays_the_tries_of_one_case_after_another_and_helps_out_where_most_are_left(
    base: Path, tmp_path: Path
) -> None:
    drawer = ScriptedDrawer(lambda request, attempt: "e", seconds=0.02)
    it = ground(tmp_path, base, "slots = 2")
    it.play(drawer, it.cases[:3], "s", None, Silent())
    begun = [asked[0].content for asked in drawer.shown if len(asked) == 1]
    assert [sorted(begun[i : i + 2]) for i in range(0, 16, 2)] == [["one", "two"]] * 8  # a case for each of two seats
    assert begun[16:] == ["three"] * 8


def test_another_metric_can_be_the_reward(base: Path, tmp_path: Path) -> None:
    drawer = ScriptedDrawer(lambda request, attempt: "e" if len(request.messages) == 1 else "x")
    it = ground(tmp_path, base, 'reward = "share"')
    (first, *_) = it.play(drawer, it.cases[:1], "s", None, Silent())
    assert (first.reward, first.success) == (0.5, 0.0)


def test_a_metric_that_no_episode_has_is_one_line_that_names_those_there_are(base: Path, tmp_path: Path) -> None:
    it = ground(tmp_path, base, 'reward = "points"')
    with pytest.raises(DataError) as error:
        it.play(ScriptedDrawer(lambda request, attempt: "e"), it.cases, "s", None, Silent())
    assert error.value.problem == "episode of case 'one': metric 'points' is no number, so it is no reward"
    assert error.value.hint == "name another one: train.grpo.reward; this episode has: share, success"


def test_a_try_that_fails_in_the_middle_of_a_group_has_no_reward_and_says_why(base: Path, tmp_path: Path) -> None:
    drawer = ScriptedDrawer(lambda request, attempt: None if attempt == 1 else "e")
    it = ground(tmp_path, base)
    tries = it.play(drawer, it.cases[:1], "s", None, Silent())
    assert [each.reward is None for each in tries] == [attempt == 1 for attempt in range(8)]
    assert tries[1].failure == "model: no reply"
    case = Case(id="broken", split="train", inputs={"word": "w", "fault": True})
    (broken, *_) = it.play(drawer, [case], "s", None, Silent())
    assert broken.failure == "environment: ValueError: boom"


def test_finished_tries_are_not_played_again_and_a_line_cut_by_a_kill_is_none(base: Path, tmp_path: Path) -> None:
    it, keep = ground(tmp_path, base), tmp_path / "playing.jsonl"
    first = ScriptedDrawer(lambda request, attempt: "e")
    before = it.play(first, it.cases[:1], "s", keep, Silent())
    whole = keep.read_text(encoding="utf-8")
    keep.write_text(whole[:-20], encoding="utf-8")
    second = ScriptedDrawer(lambda request, attempt: "e")
    again = it.play(second, it.cases[:1], "s", keep, Silent())
    assert again == before
    assert len(second.asked) == 2  # the two turns of the try that was cut
    third = ScriptedDrawer(lambda request, attempt: "e")
    assert it.play(third, it.cases[:1], "s", keep, Silent()) == before
    assert not third.asked


def test_a_pass_plays_every_case_once_and_the_next_in_another_order(base: Path, tmp_path: Path) -> None:
    it = ground(tmp_path, base, "").project
    own = Ground(it, it.config.train.grpo.model_copy(update={"batch": 3}))
    rounds = [[case.id for case in own.round(number)] for number in range(8)]
    for number in range(0, 8, 2):
        assert sorted(rounds[number] + rounds[number + 1]) == sorted(WORDS)
    assert len({tuple(found) for found in rounds[::2]}) > 1


# --- the whole way -------------------------------------------------------------------------------------------------


def test_a_student_that_plays_on_llama_cpp_gets_more_and_more_reward(base: Path, tmp_path: Path) -> None:
    # what llama.cpp draws differs from run to run on a busy machine: some learn all in seven rounds and stop
    settings = ["train.grpo.epochs=6", "train.grpo.reward=share"]
    project, heard = Project(write_project(tmp_path / "p", base), settings), Heard()
    checkpoint = learn_chain(project, Path(), tmp_path / "out", heard)
    figures = checkpoint.figures
    assert figures["rounds"] == 6
    assert figures["tries_failed"] == 0
    assert figures["reward_first"] < 0.5
    assert figures["reward_last"] > figures["reward_first"] + 0.15
    assert figures["sampler_gap"] < 0.03
    assert any(line.startswith("round 6: 32 tries") for line in heard.lines)
    assert not list((tmp_path / "out").rglob("*.gguf"))


def test_several_processes_are_refused_in_one_line(base: Path, tmp_path: Path) -> None:
    project = Project(write_project(tmp_path, base), ["train.launch.processes=2"])
    with pytest.raises(TrainingError, match="grpo trains in one process"):
        learn_chain(project, Path(), tmp_path / "out", Silent())


def test_what_makes_play_another_makes_another_checkpoint(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path, base)
    same, other = ["train.grpo.slots=2"], ["rollout.max_tokens=5"]
    inputs = [LINK.inputs(Project(folder, overrides)) for overrides in ([], same, other)]
    assert inputs[0] == inputs[1] != inputs[2]


# --- the probe -----------------------------------------------------------------------------------------------------

PACE = Pace(serve=2.0, play=0.5, score=0.01, learn=0.03)


def probed(groups: Sequence[Sequence[float]], *, success: bool = True) -> Probe:
    tries = [
        Rolled(case=f"c{case}", attempt=attempt, reward=reward, success=reward if success else None)
        for case, group in enumerate(groups)
        for attempt, reward in enumerate(group)
    ]
    return Probe(tries, PACE, GRPOConfig(group=4, batch=8, epochs=2), cases=32)


@pytest.mark.parametrize(
    ("groups", "advice"),
    [
        ([(0, 1, 0, 0)] * 4 + [(0, 0, 0, 0)] * 8, "go"),  # a third varies
        ([(0, 1, 0, 0)] * 3 + [(0, 0, 0, 0)] * 9, "warm up"),  # a quarter, and success 1/16
        ([(1, 1, 0, 1)] * 3 + [(1, 1, 1, 1)] * 9, "stop"),  # a quarter, and success 15/16
        ([(0, 0, 0, 0)] * 12, "warm up"),
        ([(1, 1, 1, 1)] * 12, "stop"),
    ],
)
def test_the_advice_follows_from_the_groups_that_vary_and_from_success(
    groups: list[tuple[float, ...]], advice: str
) -> None:
    found = probed(groups)
    assert found.advice == advice
    assert found.varied.low <= found.varied.value <= found.varied.high


def test_what_a_step_costs_is_play_and_learning_of_what_varies() -> None:
    found = probed([(0, 1, 0, 1)] * 6 + [(0, 0, 0, 0)] * 6)
    # 2 s to start, 8 cases, 4 tries of 0.5 s
    assert found.play_seconds == pytest.approx(2 + 32 * 0.5)
    assert found.update_seconds == 0  # nothing was said in these tries
    assert found.hours == pytest.approx(8 * 18 / 3600)


def test_a_probe_plays_the_student_and_measures_this_machine(base: Path, tmp_path: Path) -> None:
    project = Project(write_project(tmp_path, base, 'reward = "share"'), ["train.grpo.probe_cases=3"])
    found = probe(project, Silent())
    assert len(found.tries) == 24
    assert found.turns == 2
    assert found.pace.play > 0
    assert found.pace.learn > 0  # on so small a model noise decides which of the two is greater
    assert found.pace.score > 0
    assert found.update_seconds > 0
    assert found.advice in ("go", "warm up")
    assert not (tmp_path / ".prentice" / "train").exists()


def test_the_probes_table_fits_and_ends_with_the_next_step() -> None:
    console = Console(width=100, record=True)
    print_probe(probed([(0, 1, 0, 1)] * 4), console, "prentice train grpo somewhere")
    text = console.export_text()
    assert "4 cases, 4 tries each" in text
    assert "groups with different rewards  100.0 % [51.0 %, 100.0 %]" in text
    assert "go: 100% of the groups have different rewards" in text
    assert text.rstrip().splitlines()[-1] == "prentice train grpo somewhere"
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--probe"], ["groups with different rewards"]),
        (["--dry-run"], ['"clip_high": 0.28', '"stages": [']),
    ],
    ids=["probe", "dry run"],
)
def test_the_command_probes_or_prints_before_hours_are_spent(
    base: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    folder = write_project(tmp_path, base)
    overrides = ["--set", "train.grpo.probe_cases=2", "--set", "train.grpo.group=2"]
    result = CliRunner().invoke(app, ["train", "grpo", str(folder), *arguments, *overrides], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert all(word in result.output for word in words)


def test_the_probe_stands_behind_the_methods_that_the_project_names_and_training_asks_to_be_named() -> None:
    chain = _with("grpo", TOP / "examples" / "babyai", ['train.stages=["cpt", "sft", "distill"]'])
    assert chain[-1] == 'train.stages=["cpt", "sft", "grpo", "distill"]'
    said = CliRunner().invoke(app, ["train", "grpo", str(TOP / "examples" / "babyai")])
    assert said.exit_code == 2
    assert "add a section [train.grpo]" in said.output


# --- how many cases ------------------------------------------------------------------------------------------------


def test_sizes_of_play_are_compared_with_no_play_and_nothing_is_done_twice(base: Path, tmp_path: Path) -> None:
    settings = ["ablate.case_sizes=[2, 4, 64]", "ablate.seeds=2", "train.grpo.epochs=1"]
    project = Project(write_project(tmp_path, base, 'reward = "share"'), settings)
    made, folder = ablate_play(project, tmp_path, Silent())
    (table,) = made.tables
    # of 64 cases there are four
    assert [arm.name for arm in table.arms] == ["base", "base, 2 cases", "base, 4 cases"]
    assert table.reference == "base"
    assert all(sorted(arm.students) == [0, 1] for arm in table.arms)
    still, two, four = table.arms
    assert still.students[0] == still.students[1]  # who does not play does not depend on a seed
    assert still.students[0].visits == 0
    # one round of four cases, and of two
    assert [student.figures["rounds"] for arm in (two, four) for student in arm.students.values()] == [1] * 4
    assert two.difference is not None
    assert "| base, 4 cases |" in (folder / "ablation.md").read_text(encoding="utf-8")
    assert (folder / "ablation.svg").exists()
    results = {f: f.stat().st_mtime_ns for f in (tmp_path / ".prentice" / "ablate").glob("*/result.json")}
    again, _ = ablate_play(project, tmp_path, Silent())
    assert again.tables == made.tables
    assert {f: f.stat().st_mtime_ns for f in results} == results
    assert len(results) == 5


def test_a_student_with_nothing_to_learn_from_stands_in_the_table_as_it_began(base: Path, tmp_path: Path) -> None:
    settings = ["ablate.case_sizes=[2]", "ablate.seeds=1", "train.grpo.idle=1", "task.turns=5", "rollout.max_tokens=1"]
    made, _ = ablate_play(Project(write_project(tmp_path, base), settings), tmp_path, Silent())
    still, played = made.tables[0].arms
    assert played.students[0].successes == still.students[0].successes
    assert "base, 2 cases: no tries of a case differed in reward, so nothing was learnt" in made.notes


def test_sizes_of_play_can_be_seen_before(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path, base)
    overrides = ["--set", "ablate.case_sizes=[2]", "--set", "ablate.seeds=1"]
    result = CliRunner().invoke(app, ["ablate", "sizes", str(folder), "--dry-run", *overrides])
    assert result.exit_code == 0, result.output
    # seven rounds of two cases, eight tries each
    assert result.output.splitlines() == ["base: 0 tries", "base, 2 cases: 112 tries", "2 students, 112 tries in all"]
