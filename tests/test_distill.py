"""A student learns from a teacher of its own vocabulary: cut, told once, written on the way, resumed, or refused."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from killing import kill_underway, needs_sigkill, written
from prentice.errors import ConfigError, PrenticeError, TrainingError
from prentice.models.hf import HFModel, load
from prentice.pipeline import Project, run
from prentice.pipeline.learning.distill import LINK, named_teacher
from prentice.progress import Bar, Silent
from prentice.records import Checkpoint, ModelSource, Request, Sampling
from prentice.training.check import stop_ids
from prentice.training.distill.config import DistillConfig
from prentice.training.distill.cut import spread, write_cut
from prentice.training.distill.soft import IDS, LOGS
from prentice.training.distill.teacher import TEXT_ONLY, Teacher, TeacherFiles, open_teacher
from prentice.training.distill.train import Classroom, distill_examples, with_context
from prentice.training.distill.writing import OnPolicy, Writer
from prentice.training.engine import ForestModel
from prentice.training.items import Item
from prentice.training.run import Links
from prentice.training.start import open_checker, open_model
from prentice.training.visits import Passes
from test_pipeline import write_project
from test_training_sft import curve
from tiny_models import write_tiny_llama
from training_models import begin_with, examples, write_family

SOURCE = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
OTHER = ModelSource(name="other", source="path:other", sha256="1" * 64)
WHERE = Path("rows.parquet")
CONFIG = DistillConfig(epochs=2, batch=4, learning_rate=0.003, save_seconds=0, top_k=5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def elder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model with the base's tokenizer."""
    return write_tiny_llama(tmp_path_factory.mktemp("elder"), seed=5)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family("llama", tmp_path_factory.mktemp("deep"), num_hidden_layers=5)


def room(base: Path, home: Path, teacher: Path | None = None) -> Classroom:
    """The student's base teaches, unless another one does."""
    other = TeacherFiles(base, SOURCE) if teacher is None else TeacherFiles(teacher, OTHER)
    return Classroom(base, SOURCE, other, home / "told")


def distill(base: Path, home: Path, config: DistillConfig = CONFIG, **more: Any) -> Checkpoint:
    teacher, progress = more.pop("teacher", None), more.pop("progress", Silent())
    rows, out = examples(more.pop("count", 16), val=4), home / more.pop("out", "out")
    return distill_examples(config, room(base, home, teacher), rows, WHERE, out=out, links=Links(), progress=progress)


# --- cutting


def test_layers_that_stay_are_spread_evenly_with_first_and_last() -> None:
    assert spread(30, 15) == (0, 2, 4, 6, 8, 10, 12, 15, 17, 19, 21, 23, 25, 27, 29)
    assert (spread(5, 2), spread(5, 5), spread(4, 1)) == ((0, 4), (0, 1, 2, 3, 4), (0,))


@pytest.mark.parametrize("keep", [(), (1, 2, 4)])
def test_a_cut_keeps_the_layers_that_it_says_and_forgets_the_rest(
    deep: Path, tmp_path: Path, keep: tuple[int, ...]
) -> None:
    cut = load(write_cut(deep, tmp_path / "cut", 3, keep))
    whole = load(deep).state_dict()
    stay = keep or (0, 2, 4)
    assert cut.config.num_hidden_layers == 3
    for name, weight in cut.state_dict().items():
        head, dot, tail = name.partition("layers.")
        number, _, rest = tail.partition(".")
        assert torch.equal(weight, whole[f"{head}{dot}{stay[int(number)]}.{rest}" if dot else name]), name
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (deep, tmp_path / "cut")]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()


def test_a_cut_of_all_layers_is_the_model_itself(deep: Path, tmp_path: Path) -> None:
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(load(write_cut(deep, tmp_path / "cut", 5))(ids).logits, load(deep)(ids).logits)


def test_what_a_config_says_of_each_layer_follows_the_layers(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    base = write_family("gemma3", tmp_path / "base", num_hidden_layers=4, layer_types=kinds)
    cut = load(write_cut(base, tmp_path / "cut", 2, (0, 1)))
    assert cut.config.layer_types == kinds[:2]
    assert load(write_cut(base, tmp_path / "odd", 2, (1, 3))).config.layer_types == ["full_attention"] * 2


def test_more_layers_than_there_are_is_one_clear_line(deep: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.distill\.layers = 6: the model has 5 layers"):
        write_cut(deep, tmp_path / "cut", 6)
    with pytest.raises(TrainingError, match=r"train\.distill\.keep names layer 5, and the model has 5"):
        write_cut(deep, tmp_path / "cut", 2, (0, 5))
    assert not (tmp_path / "cut").exists()


def test_a_model_whose_layers_are_no_list_is_refused_by_name(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "gpt2")
    GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=512)).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(TrainingError, match="gpt2: its layers are not one list `layers`, so it cannot be cut"):
        write_cut(tmp_path / "gpt2", tmp_path / "cut", 1)


# --- the teacher


def taught_by(base: Path, top: int = 5) -> Teacher:
    files = TeacherFiles(base, SOURCE)
    return open_teacher(files, base, top=top, at_once=200, device=torch.device("cpu"))


def items_of(base: Path, count: int = 8) -> list[Item]:
    return [checked.item for checked in open_checker(512, WHERE, base).check(examples(count))]


def test_rows_told_in_small_parts_know_what_rows_told_at_once_know(base: Path) -> None:
    teacher, items = taught_by(base), items_of(base)
    one, many = replace(teacher, at_once=10_000).tell(items), replace(teacher, at_once=1).tell(items)
    for a, b in zip(one, many, strict=True):
        assert a.row.given[IDS].shape == (len(a.row.reply), 5)  # type: ignore[union-attr]
        assert torch.equal(a.row.given[IDS], b.row.given[IDS])  # type: ignore[arg-type]
        torch.testing.assert_close(a.row.given[LOGS], b.row.given[LOGS], rtol=1e-4, atol=1e-5)


def test_what_the_teacher_said_is_read_back_and_only_damaged_files_are_asked_again(base: Path, tmp_path: Path) -> None:
    class Deaf(Teacher):
        def tell(self, items: Any) -> list[Item]:
            raise AssertionError(f"asked for {len(items)} rows")

    teacher, items = taught_by(base), items_of(base, 300)
    told = teacher.tell_once(items, tmp_path, Silent())
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 2
    deaf = Deaf(teacher.model, teacher.source, teacher.top, teacher.within, teacher.at_once)
    again = deaf.tell_once(items, tmp_path, Silent())
    assert all(torch.equal(a.row.given[LOGS], b.row.given[LOGS]) for a, b in zip(told, again, strict=True))  # type: ignore[arg-type]
    small = min(files, key=lambda file: file.stat().st_size)
    small.write_bytes(small.read_bytes()[:100])
    with pytest.raises(AssertionError, match="asked for 44 rows"):
        deaf.tell_once(items, tmp_path, Silent())
    teacher.tell_once(items, tmp_path, Silent())
    assert deaf.tell_once(items, tmp_path, Silent())


def test_a_teacher_with_another_vocabulary_can_only_write_text(base: Path, deep: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"'other' as teacher has another vocabulary .*: token \d+ is ") as error:
        distill(base, tmp_path, teacher=deep)
    assert error.value.hint == TEXT_ONLY
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_teacher_that_is_gone_is_one_clear_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="gone: the teacher 'other' is gone"):
        distill(base, tmp_path, teacher=tmp_path / "gone")


@pytest.mark.parametrize("layers", [0, 2])
def test_a_student_that_is_its_own_teacher_has_nothing_to_learn(base: Path, tmp_path: Path, layers: int) -> None:
    with pytest.raises(TrainingError, match="'tiny' is its own teacher, and has nothing to learn from itself"):
        distill(base, tmp_path, CONFIG.model_copy(update={"layers": layers}))


# --- the run


def test_a_cut_student_comes_nearer_to_its_teacher_and_leaves_a_model_of_its_own(base: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 12, "layers": 1})
    done = distill(base, tmp_path, config)
    assert (done.kind, done.method, done.base) == ("full", "distill", SOURCE)
    assert done.figures["gradient_difference"] <= 1e-5
    assert done.figures["loss_last"] < 0.5 * done.figures["loss_first"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["checkpoint.json", "curve.jsonl", "model"]
    assert load(tmp_path / "out" / "model").config.num_hidden_layers == 1


def test_the_first_validation_loss_is_the_divergence_that_transformers_gives(
    base: Path, elder: Path, tmp_path: Path
) -> None:
    """A student that does not move: the forward divergence of its own logits from the teacher's, row by row."""
    config = CONFIG.model_copy(update={"learning_rate": 1e-12, "epochs": 1, "top_k": 10_000})
    done = distill(base, tmp_path, config, teacher=elder)
    models = [AutoModelForCausalLM.from_pretrained(folder).eval() for folder in (base, elder)]
    total = weight = 0.0
    for checked in open_checker(512, WHERE, base).check([e for e in examples(16, val=4) if e.split == "val"]):
        row = checked.row
        with torch.no_grad():
            logits = [m(torch.tensor([row.tokens[:-1]])).logits[0, len(row.prompt) - 1 :] for m in models]
        ours, theirs = (x.log_softmax(-1) for x in logits)
        total += float((theirs.exp() * (theirs - ours)).sum()) * row.weight
        weight += len(row.reply) * row.weight
    assert done.figures["val_loss"] == pytest.approx(total / weight, rel=1e-4)


def test_context_supervises_all_but_what_rows_begin_with_and_validates_on_replies(base: Path, tmp_path: Path) -> None:
    items = items_of(base, 12)
    common = begin_with([item.row.tokens for item in items])
    wide = with_context(items)
    assert common > 10
    assert [item.row.tokens for item in wide] == [item.row.tokens for item in items]
    assert {len(item.row.prompt) for item in wide} == {common}
    config = CONFIG.model_copy(update={"layers": 1, "epochs": 1, "learning_rate": 1e-12})
    plain, context = (
        distill(base, tmp_path, config.model_copy(update={"context": on}), out=f"context {on}") for on in (False, True)
    )
    assert context.figures["val_loss"] == pytest.approx(plain.figures["val_loss"], rel=1e-4)
    assert context.figures["supervised_seen"] == sum(len(item.row.tokens) - common for item in items)
    assert context.figures["supervised_seen"] > 2 * plain.figures["supervised_seen"]


def test_text_alone_needs_no_teacher_and_is_fine_tuning(base: Path, tmp_path: Path) -> None:
    done = distill(base, tmp_path, CONFIG.model_copy(update={"alpha": 0.0}), teacher=tmp_path / "gone")
    assert done.figures["loss_last"] < done.figures["loss_first"]
    assert not (tmp_path / "told").exists()


class StopAfterError(Exception):
    """The kill."""


class StopAfter(Silent):
    """Stops the run when so many steps have been taken."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        with super().bar(title, total, unit, done) as inner:
            yield self if title == "training" else inner

    def advance(self, amount: float = 1, **facts: str) -> None:
        del amount, facts
        self.steps -= 1
        if self.steps < 0:
            raise StopAfterError


WAYS: dict[str, dict[str, Any]] = {
    "cut": {"layers": 1, "context": True},
    "hidden": {"layers": 1, "hidden": 0.5, "alpha": 0.5},
    "on policy": {"on_policy": 0.5, "divergence": "jensen_shannon", "reply_tokens": 6},
    "adapter": {"method": "lora", "lora_rank": 4},
}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    base: Path, elder: Path, tmp_path: Path, way: str
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums are split among threads
    config = CONFIG.model_copy(update=WAYS[way])
    distill(base, tmp_path, config, teacher=elder, out="whole")
    with pytest.raises(StopAfterError):
        distill(base, tmp_path, config, teacher=elder, out="stopped", progress=StopAfter(2))
    assert (tmp_path / "stopped" / "resume.safetensors").exists()
    distill(base, tmp_path, config, teacher=elder, out="stopped")
    torch.set_num_threads(threads)
    whole, stopped = (curve(tmp_path / name) for name in ("whole", "stopped"))
    assert len(whole) == 6
    assert stopped == whole


SCRIPT = """
import sys
from pathlib import Path
from test_distill import CONFIG, distill
base, home, config = sys.argv[1:]
distill(Path(base), Path(home), CONFIG.model_validate_json(config), out="killed")
"""


@needs_sigkill
def test_killed_with_kill_9_a_cut_goes_on_as_if_it_had_not_been(base: Path, tmp_path: Path, one_thread: None) -> None:
    config = CONFIG.model_copy(update={"layers": 1, "epochs": 30})
    distill(base, tmp_path, config, out="whole")
    script = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{SCRIPT}"
    kill_underway(script, [str(base), str(tmp_path), config.model_dump_json()], tmp_path / "killed", 20)
    assert written(tmp_path / "killed") < 90
    distill(base, tmp_path, config, out="killed")
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    models = [(tmp_path / out / "model" / "model.safetensors").read_bytes() for out in ("killed", "whole")]
    assert models[0] == models[1]
    assert not list((tmp_path / "killed").glob("cut-*"))


# --- on-policy


def test_the_student_writes_what_it_would_say_as_it_is(base: Path) -> None:
    items, model = items_of(base), open_model(CONFIG, base)
    cold = Writer(model, stop_ids(AutoTokenizer.from_pretrained(base), base), 9, 1e-4)
    replies = [item.row.reply for item in cold.rewrite(items, 0)]
    judge = HFModel(base)
    for example, reply in zip(examples(8), replies, strict=True):
        asked = Request(function="f", messages=example.messages)
        expected = asyncio.run(judge.generate(asked, Sampling(max_tokens=9))).message.content
        assert judge.tokenizer.decode(reply, skip_special_tokens=True) == expected
    warm = replace(cold, temperature=2.0)
    once, again, other = (warm.rewrite(items, seed) for seed in (1, 1, 2))
    assert [i.row for i in once] == [i.row for i in again] != [i.row for i in other]
    assert [i.row.prompt for i in once] == [i.row.prompt for i in items]
    assert model.causal.config._attn_implementation == model.attention


def test_the_share_of_rows_that_the_student_writes_is_drawn_anew_at_each_step(base: Path) -> None:
    items = items_of(base)
    given = Passes(items, 50, 8, 0)
    written = [replace(item, id=f"{item.id}!") for item in items]

    def write(rows: Any, seed: int) -> list[Item]:
        del seed
        return [next(w for w in written if w.id == f"{row.id}!") for row in rows]

    visits = OnPolicy(given, 0.25, 0, write, list)
    steps = [visits.of(step) for step in range(visits.steps)]
    assert [[i.id.rstrip("!") for i in rows] for rows in steps] == [[i.id for i in given.of(s)] for s in range(50)]
    share = sum(i.id.endswith("!") for rows in steps for i in rows) / 400
    assert 0.18 < share < 0.32  # three standard deviations about .25
    assert visits.of(3) == steps[3]
    assert (visits.rows, visits.count(0), visits.is_last_of_pass(0)) == (400, 8, True)


# --- settings and the project


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("train.distill.on_policy=0.5 train.distill.alpha=0.5", "on_policy = 0.5 needs alpha = 1"),
        ("train.distill.context=true train.distill.alpha=0", "context needs alpha = 1 and on_policy = 0"),
        ("train.distill.layers=1 train.distill.method=lora", 'layers = 1 needs method = "full"'),
        ("train.distill.layers=2 train.distill.keep=[0,1,2]", "keep names 3 layers, and layers = 2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(base: Path, tmp_path: Path, settings: str, said: str) -> None:
    folder = write_project(tmp_path / "p", base, cases=3)
    with pytest.raises(ConfigError) as error:
        Project(folder, settings.split())
    assert said in str(error.value)


def project_with(base: Path, folder: Path, *settings: str) -> Project:
    return Project(write_project(folder, base, cases=3), settings)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("gone", "train.distill.teacher = 'gone': the teacher is gone: no folder of that name"),
        ("lora", "lora is an adapter, not a whole model"),
        ("qwen2.5-coder-1.5b", "it comes as GGUF only, and its probabilities are read from safetensors"),
    ],
)
def test_a_teacher_whose_probabilities_cannot_be_had_is_refused(
    base: Path, tmp_path: Path, teacher: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRENTICE_HOME", str(tmp_path / "none"))  # no model is needed to say so
    project = project_with(base, tmp_path / "p", f"train.distill.teacher={teacher}")
    (tmp_path / "p" / "lora" / "adapter").mkdir(parents=True)
    with pytest.raises(PrenticeError) as error:
        named_teacher(project)
    assert said in str(error.value)


def test_a_teacher_is_a_folder_or_what_a_checkpoint_holds_and_decides_what_is_learnt(
    base: Path, tmp_path: Path
) -> None:
    project = project_with(base, tmp_path / "p", "train.distill.teacher=older")
    shutil.copytree(base, tmp_path / "p" / "older" / "model")
    named = named_teacher(project)
    assert named is not None
    assert named.safetensors == tmp_path / "p" / "older" / "model"
    before = LINK.inputs(project)
    write_tiny_llama(tmp_path / "p" / "older" / "model", seed=9)
    assert json.dumps(LINK.inputs(project)) != json.dumps(before)


def test_several_processes_are_refused(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", base)
    with pytest.raises(PrenticeError, match="distillation runs in one"):
        run(folder, overrides=["train.stages=['distill']", "train.launch.processes=2"])


def test_a_project_distils_its_tuned_student_into_a_cut_that_is_exported_and_compared(
    base: Path, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "p", base)
    outcome = run(
        folder, overrides=["train.distill.layers=1", "train.distill.epochs=1", "evaluate.policies=['student']"]
    )
    model = ForestModel(AutoModelForCausalLM.from_pretrained(outcome.student / "model"))
    assert model.causal.config.num_hidden_layers == 1
    assert json.loads((outcome.student / "export.json").read_text(encoding="utf-8"))["agreement"] >= 0.9
    student = next(r for r in outcome.report.results if r.name == "student")
    assert student.n == 24
    assert list((folder / ".prentice" / "told").glob("*.safetensors"))
