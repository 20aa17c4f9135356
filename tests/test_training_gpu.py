"""On a GPU: the fused kernel's way back, bfloat16, weights in 4 bits. `make test-gpu`; not run elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM, AutoTokenizer

from prentice.models.chat import ChatFormat
from prentice.models.hf import load
from prentice.records import ModelSource
from prentice.training.attention import NAME
from prentice.training.check import Checker, stop_ids
from prentice.training.config import SFTConfig
from prentice.training.engine import ForestModel
from prentice.training.forest import Row, on_device, pad
from prentice.training.lora import read_adapter
from prentice.training.proof import gradient_difference, prove
from prentice.training.run import Links
from prentice.training.sft import train_examples
from prentice.training.start import open_model
from training_models import FAMILIES, examples, write_family

pytestmark = pytest.mark.gpu
CONFIG = SFTConfig(epochs=12, batch=8, learning_rate=0.01, lora_rank=4, lora_alpha=8)
SOURCE = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family("llama", tmp_path_factory.mktemp("llama"))


def rows_of(folder: Path, long: int = 1) -> list[Row]:
    """Rows as the checker makes them; their texts `long` times as long."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    stops = stop_ids(tokenizer, folder)
    checker = Checker(tokenizer, ChatFormat.from_folder(folder), 512, stops, len(tokenizer), None, Path("rows.parquet"))
    chats = [
        row.model_copy(
            update={"messages": tuple(m.model_copy(update={"content": m.content * long}) for m in row.messages)}
        )
        for row in examples(8)
    ]
    return [checked.row for checked in checker.check(chats)]


@pytest.mark.parametrize("long", [1, 6])
def test_the_fused_kernels_gradient_is_that_of_the_padded_batch(family: Path, long: int) -> None:
    model = ForestModel(AutoModelForCausalLM.from_pretrained(family)).to("cuda")
    assert model.causal.config._attn_implementation == NAME
    assert gradient_difference(model, rows_of(family, long)) <= 1e-5


def test_the_fused_kernels_log_probabilities_are_those_of_the_padded_batch(family: Path) -> None:
    model, rows = ForestModel(AutoModelForCausalLM.from_pretrained(family)).to("cuda"), rows_of(family)
    with torch.no_grad():
        plain = model(on_device(pad(rows, plain=True), model.device))
        torch.testing.assert_close(model(model.batch(rows)), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_in_bfloat16_it_is_no_further_from_float32_than_padding(llama: Path, method: str) -> None:
    config = CONFIG.model_copy(update={"precision": "bfloat16", "method": method})
    model = open_model(config, llama)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # zero at first, so that half of the gradient would be zero
                weight.normal_(std=0.05)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    prove(model, rows_of(llama))
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())


def test_weights_in_4_bits_give_the_gradient_of_the_padded_batch(llama: Path) -> None:
    assert gradient_difference(open_model(CONFIG.model_copy(update={"method": "qlora"}), llama), rows_of(llama)) <= 1e-5


def test_a_gpus_curve_is_the_processors(llama: Path, tmp_path: Path) -> None:
    losses = {}
    for place in ("cuda", "cpu"):
        train(llama, tmp_path / place, CONFIG, Accelerator(cpu=place == "cpu"))
        losses[place] = curve(tmp_path / place)
        AcceleratorState._reset_state(reset_partial_state=True)
    assert losses["cuda"][-1] < 0.7 * losses["cuda"][0]
    assert max(abs(a - b) for a, b in zip(*losses.values(), strict=True)) <= 1e-3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_adapters_over_4_bits_learn_and_are_read_by_the_plain_base(llama: Path, tmp_path: Path, precision: str) -> None:
    train(llama, tmp_path, CONFIG.model_copy(update={"method": "qlora", "precision": precision}))
    losses = curve(tmp_path)
    assert losses[-1] < 0.8 * losses[0]
    read_adapter(load(llama), tmp_path / "adapter")


def train(base: Path, out: Path, config: SFTConfig, accelerator: Accelerator | None = None) -> None:
    links = Links(accelerator=accelerator)
    train_examples(config, examples(8), Path("rows"), base=base, out=out, source=SOURCE, links=links)


def curve(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
