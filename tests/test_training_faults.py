"""What goes wrong in the middle of a run ends it in one line: where it happened, and what to set."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from prentice.errors import TrainingError
from prentice.models.hf import load
from prentice.progress import Silent
from prentice.records import ModelSource
from prentice.training.config import SFTConfig
from prentice.training.faults import at_once, memory_named
from prentice.training.forest import Batch, Row
from prentice.training.items import Item
from prentice.training.loop import Loop, Plan
from prentice.training.lora import merge_adapter
from prentice.training.losses import sft_loss
from prentice.training.method import Method
from prentice.training.sft import train_examples
from prentice.training.start import open_start
from prentice.training.visits import Passes
from tiny_models import write_tiny_llama
from training_models import examples, write_family

WHERE = Path("rows.parquet")
CONFIG = SFTConfig(lora_rank=4, lora_alpha=8)
PLAN = Plan(
    micro_tokens=8192,
    learning_rate=0.01,
    schedule="cosine",
    warmup=0.0,
    patience=0,
    save_seconds=1e9,
    section="train.sft",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def loop(
    base: Path, out: Path, *, loss: Any = sft_loss, count: int = 8, val: int = 0, batch: int = 4, epochs: float = 2
) -> Loop:
    start = open_start(CONFIG, examples(count, val=val), WHERE, base, None)
    visits = Passes(start.train, epochs, batch, seed=0)
    return Loop(start, visits, Method("sft", loss), PLAN, out=out, fingerprint="f")


def row_of(length: int, first: int = 1) -> Item:
    return Item("r", Row((first,) * (length - 1), (2,)))


@pytest.mark.parametrize(
    ("rows", "cut", "computed", "expected"),
    [
        ([row_of(100)] * 8, 8192, 800, "micro_tokens = 400"),
        ([row_of(100)] * 200, 8192, 6000, "micro_tokens = 3000"),  # 20 000 tokens, of which most are shared
        ([row_of(100)] * 20, 1500, None, "micro_tokens = 750"),
        ([row_of(1000), row_of(10)], 8192, 1010, "micro_tokens = 1000"),
        ([row_of(1000), row_of(10)], 1000, 1000, "leave longer rows out"),  # already as small as that
        ([row_of(1000)], 8192, 1000, "leave longer rows out"),
    ],
)
def test_what_is_told_to_set_is_less_than_what_is_set(
    rows: list[Item], cut: int, computed: int | None, expected: str
) -> None:
    problem, hint = at_once(rows, "at step 3", cut, computed)
    assert expected in hint
    assert problem.startswith(f"at step 3: {len(rows)} rows of ")


def test_other_errors_pass_and_a_line_that_was_said_is_not_said_again() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), memory_named("here", "hint"):
        raise RuntimeError("shapes differ")
    with (
        pytest.raises(TrainingError, match=r"^out of memory inside"),
        memory_named("outside", "hint"),
        memory_named("inside", "hint"),
    ):
        raise torch.OutOfMemoryError


def test_memory_that_ends_while_validating_or_changing_weights_says_so(base: Path, tmp_path: Path) -> None:
    def little(logprobs: Tensor, batch: Batch) -> Tensor:
        if not torch.is_grad_enabled():
            raise torch.OutOfMemoryError
        return sft_loss(logprobs, batch)

    with pytest.raises(TrainingError, match=r"out of memory in the validation after step 1: 4 rows of .* tokens"):
        loop(base, tmp_path, loss=little, val=4).run(Silent())

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError

    other = loop(base, tmp_path)
    other.optimizer.register_step_pre_hook(full)
    with pytest.raises(TrainingError, match="out of memory when the weights were changed at step 1") as caught:
        other.run(Silent())
    assert "smaller base" in caught.value.hint


def train(base: Path, out: Path, config: SFTConfig, *, count: int = 16, val: int = 0) -> None:
    source = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
    train_examples(config, examples(count, val=val), WHERE, base=base, out=out, source=source)


def loss_of(base: Path, adapter: Path, text: str = "Where is my card?") -> float:
    """The loss on a text as transformers computes it."""
    model = merge_adapter(load(base), adapter)
    ids = AutoTokenizer.from_pretrained(base)(text, return_tensors="pt").input_ids
    with torch.no_grad():
        return float(model(ids, labels=ids).loss)


# the first step's rate is 0, the second's more than any weight survives
EXPLODES = CONFIG.model_copy(
    update={"epochs": 2, "batch": 4, "learning_rate": 1e25, "warmup": 0.5, "schedule": "constant"}
)


def test_a_loss_that_is_not_a_number_leaves_the_weights_of_the_step_before(base: Path, tmp_path: Path) -> None:
    """Those before the update that ruined them, whose loss is a number; a later run that ends well removes them."""
    with pytest.raises(TrainingError, match=r"row row\d+: its loss is not a number at step 3") as caught:
        train(base, tmp_path, EXPLODES)
    kept = tmp_path / "last-good" / "adapter"
    assert caught.value.hint.endswith(f"the weights after step 1 are in {kept.parent}")
    assert math.isfinite(loss_of(base, kept))
    train(base, tmp_path, CONFIG.model_copy(update={"epochs": 1}))
    assert not kept.parent.exists()


def test_weights_that_learnt_before_a_row_failed_are_left(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    model, tokenizer = load(base), AutoTokenizer.from_pretrained(base)
    ids = [set(tokenizer(row.messages[-1].content, add_special_tokens=False).input_ids) for row in examples(8)]
    token = min(ids[5].difference(*ids[:5], *ids[6:]))  # one row alone reads it
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    model.get_input_embeddings().weight.data[token] = float("nan")
    model.config.tie_word_embeddings = False
    model.save_pretrained(base)
    poisoned = loop(base, tmp_path / "out", batch=1, epochs=1)
    poisoned.keeps_good = True
    with pytest.raises(TrainingError, match=r"row row5: its loss is not a number at step (?!1:|2:)\d"):
        poisoned.run(Silent())
    assert poisoned.good is not None
    step, weights = poisoned.good
    assert step == poisoned.course.step - 1 > 0
    assert any(bool(w.any()) for name, w in weights.items() if "lora_B" in name)


def test_a_validation_loss_that_is_not_a_number_stops_the_run_and_leaves_the_best(base: Path, tmp_path: Path) -> None:
    said = r"row row\d+: its loss is not a number in the validation after step 2"
    with pytest.raises(TrainingError, match=said) as caught:
        train(base, tmp_path, EXPLODES, count=8, val=4)
    assert "the weights that were best in validation are in" in caught.value.hint
    assert math.isfinite(loss_of(base, tmp_path / "last-good" / "adapter"))
    assert not (tmp_path / "checkpoint.json").exists()


def test_nothing_is_promised_where_nothing_is_kept(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not a number") as caught:
        train(base, tmp_path, EXPLODES.model_copy(update={"method": "full"}))
    assert caught.value.hint == "lower train.sft.learning_rate"
    assert not (tmp_path / "last-good").exists()


def test_a_gradient_that_is_not_a_number_names_its_step_and_blames_no_row(base: Path, tmp_path: Path) -> None:
    def loss(logprobs: Tensor, batch: Batch) -> Tensor:
        return sft_loss(logprobs, batch) + (logprobs.sum() * 0).sqrt()  # 0, with a slope of 0 x infinity

    said = r"rows\.parquet: the gradient is not a number at step 1 \(rows row\d … row\d\)"
    with pytest.raises(TrainingError, match=said):
        loop(base, tmp_path, loss=loss).run(Silent())


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoTokenizer
from prentice.records import ModelSource
from prentice.training.config import SFTConfig
from prentice.training.run import Links
from prentice.training.sft import train_examples
from training_models import examples

def little():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, -1))

base, out, where, system = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base)

def serving(text):  # the rows are checked before the base is loaded
    if where == "load":
        little()
    return tokenizer(text, add_special_tokens=False).input_ids

if where == "compare":
    register_module_forward_pre_hook(lambda module, inputs: little())
rows, links = examples(8, system=system), Links(serving_tokens=serving)
source = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
train_examples(SFTConfig(), rows, Path("rows.parquet"), base=Path(base), out=Path(out), source=source, links=links)
"""


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("load", "when the base was loaded"),
        ("compare", "when the gradient was compared with the padded batch's: "),
    ],
)
def test_memory_that_ends_before_the_first_step_is_one_line(tmp_path: Path, where: str, said: str) -> None:
    pytest.importorskip("resource")
    base = write_family("llama", tmp_path / "base", hidden_size=512, intermediate_size=8192)
    command = [sys.executable, "-c", LITTLE_MEMORY, str(base), str(tmp_path / "out"), where, "Be short. " * 40]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert f"TrainingError: out of memory {said}" in done.stderr.splitlines()[-1]
