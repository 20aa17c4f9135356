"""What a run will need is reckoned before it begins, and held against runs: bytes, operations, files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from prentice.errors import ConfigError, DataError, UnknownNameError
from prentice.records import Example, Message
from prentice.training import attention, engine, estimate, hardware
from prentice.training.advice import ROOM, advice, faster, fits
from prentice.training.config import LaunchConfig, SFTConfig
from prentice.training.estimate import Setup, assumed_work, disk, hours, moments, operations, run_operations
from prentice.training.forest import Forest
from prentice.training.hardware import GB, Machine, accelerators, launched, this_machine
from prentice.training.shapes import SHAPES, shape_of
from prentice.training.start import open_checker, open_model
from prentice.training.workload import part_of, work_of
from tiny_models import write_tiny_llama
from training_models import FAMILIES, begin_with, examples, write_family

CPU = Machine("a computer", memory=16 * GB, rates={"float32": 1e11, "bfloat16": 1e11}, rated="here", gpu=False)
WHERE = Path("rows.parquet")


def setup(base: str, machine: Machine = CPU, rows: int = 1000, tokens: int = 500, **config: Any) -> Setup:
    chosen = SFTConfig.model_validate(config).on(gpu=machine.gpu)
    return Setup(shape_of(base), chosen, assumed_work(chosen, rows, tokens, machine.processes), machine)


def pieces(of: Setup, moment: str = "a step") -> dict[str, float]:
    """Bytes of each part at a moment."""
    (found,) = [m for m in moments(of) if m.name == moment]
    return {piece.name: piece.size for piece in found.pieces}


@pytest.mark.parametrize(
    ("base", "millions"),
    [
        ("smollm2-135m", 134.5),
        ("smollm2-1.7b", 1711.4),
        ("qwen2.5-0.5b", 494.0),
        ("qwen2.5-7b", 7615.6),
        ("qwen3-4b", 4022.5),
        ("llama-3.2-1b", 1235.8),
        ("llama-3.1-8b", 8030.3),
        ("llama-3.1-70b", 70553.7),
        ("mistral-7b", 7248.0),
        ("gemma-2-9b", 9241.7),
    ],
)
def test_a_known_base_has_the_weights_that_its_model_card_counts(base: str, millions: float) -> None:
    assert SHAPES[base].weights == pytest.approx(millions * 1e6, rel=2e-4)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"mixtral"}))
def test_the_weights_of_a_folder_are_counted_as_torch_counts_them(family: str, tmp_path: Path) -> None:
    base = write_family(family, tmp_path, hidden_size=128, intermediate_size=256)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    assert shape_of(str(base)).weights == pytest.approx(sum(p.numel() for p in model.parameters()), rel=0.01)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_trained_weights_are_those_that_training_switches_on(method: Any, tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path)
    model = open_model(SFTConfig(method=method, lora_rank=4), base)
    switched_on = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert setup(str(base), method=method, lora_rank=4).trained == switched_on


def test_a_folder_that_is_no_plain_decoder_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a model of experts"):
        shape_of(str(write_family("mixtral", tmp_path / "mixtral")))
    (tmp_path / "config.json").write_text('{"model_type": "t5", "vocab_size": 5}', encoding="utf-8")
    with pytest.raises(DataError, match=r"config\.json: no 'num_attention_heads' in it"):
        shape_of(str(tmp_path))
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"config\.json: "):
        shape_of(str(tmp_path))


def test_an_unknown_base_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*llama-3.1-8b"):
        shape_of("llama-3-8b")
    with pytest.raises(UnknownNameError, match=r"known: smollm2-135m, .*a folder with config\.json"):
        shape_of("zzz")


def test_what_the_estimate_takes_from_the_engine_is_what_the_engine_has() -> None:
    assert (estimate.CHUNK, estimate.SMALL) == (engine.CHUNK, attention.SMALL)


def product(_: Any, a: Any, b: Any, **__: Any) -> int:
    return int(2 * a[0] * a[1] * b[1])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_operations_are_those_that_torch_counts(method: Any, precision: Any, tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path)
    config = SFTConfig(method=method, precision=precision, lora_rank=4)
    rows = [row.row for row in open_checker(512, WHERE, base).check(examples(16))]
    model = open_model(config, base)
    batch = model.batch(rows)
    assert isinstance(batch, Forest)
    # torch's own table lacks the product that is added in place
    table = {torch.ops.aten.addmm_: product}
    with FlopCounterMode(display=False, custom_mapping=table) as learning:
        model(batch).sum().backward()
    with FlopCounterMode(display=False, custom_mapping=table) as looking, torch.no_grad():
        model(batch)
    reckoned, part = Setup(shape_of(str(base)), config, assumed_work(config.on(gpu=False), 16, 40), CPU), part_of(batch)
    assert operations(reckoned, part) == pytest.approx(learning.get_total_flops(), rel=0.05)
    assert operations(reckoned, part, learning=False) == pytest.approx(looking.get_total_flops(), rel=0.05)


def test_the_work_of_a_dataset_is_that_of_its_parts(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path)
    rows = open_checker(512, WHERE, base).check(examples(40, val=8))
    whole, cut = (work_of(rows, SFTConfig(batch=32, micro_tokens=n)) for n in (8192, 100))
    assert (whole.rows, whole.val_rows, whole.parts) == (32, 8, 1)
    assert whole.epoch == whole.largest
    begin = begin_with([r.row.tokens for r in rows])
    assert cut.largest.nodes <= 100 + begin < whole.largest.nodes
    assert cut.parts > 2
    # a beginning that parts share is computed in each of them
    assert cut.epoch.nodes > whole.epoch.nodes
    assert cut.epoch.supervised == whole.epoch.supervised
    shared = work_of(rows, SFTConfig(batch=32, micro_tokens=8192), processes=2)
    assert shared.largest.nodes < whole.largest.nodes


def test_the_work_of_a_large_dataset_is_told_from_a_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_tiny_llama(tmp_path)
    rows = open_checker(512, WHERE, base).check(examples(800, val=80))
    exact = work_of(rows, SFTConfig().on(gpu=False))
    monkeypatch.setattr("prentice.training.workload.ENOUGH", 4000)
    assert sum(len(row.row.tokens) for row in rows) > 20_000
    told = work_of(rows, SFTConfig().on(gpu=False))
    assert told.epoch != exact.epoch
    assert told.epoch.nodes == pytest.approx(exact.epoch.nodes, rel=0.1)
    assert told.validation.nodes == pytest.approx(exact.validation.nodes, rel=0.2)


def test_assumed_rows_are_counted_by_hand() -> None:
    work = assumed_work(SFTConfig(batch=32, micro_tokens=1000), rows=64, tokens=101)
    # 100 of 101 tokens are computed; nine rows of 101 tokens fit into 1 000
    assert (work.tokens, work.epoch.nodes, work.largest.nodes) == (6464, 6400, 900)
    assert work.largest.scores == 9 * 101 * 101
    assert work.parts == pytest.approx(32 / 9)
    long = assumed_work(SFTConfig(max_tokens=4096).on(gpu=True), rows=64, tokens=4000)
    assert (long.largest.nodes, long.largest.fused, long.largest.scores) == (2 * 3999, 2 * 4000**2, 0)


def test_eight_billion_weights_with_lora_on_one_gpu_by_hand() -> None:
    run = setup("llama-3.1-8b", accelerators("h100"), precision="bfloat16", tokens=512)
    held = pieces(run)
    assert held["frozen weights, bfloat16"] == pytest.approx(16.06e9, rel=1e-3)
    # rank 16 on seven layers: 32 x 16 x (4 x 4096 + 2 x (4096 + 1024) + 3 x (4096 + 14336)) = 41.9 million
    trained = 4 * 41_943_040
    assert held["trained weights (LoRA of rank 16), float32"] == trained
    assert held["optimizer: two moments, float32"] == 2 * trained
    # of a token a layer keeps 2 x 4096 floats, and in bfloat16 2 x 4096 inputs, 4 x 14336 of the gate, 4096 before
    # the last product, 7 x 16 of the adapters, 2 x (4096 + 1024) in attention; with 32 floats, one a head
    token = 4 * 2 * 4096 + 2 * (2 * 4096 + 4 * 14_336 + 4096 + 7 * 16 + 2 * 5120) + 4 * 32
    back = 2 * (3 * 14_336 + 2 * 4096)
    nodes = 16 * 511
    assert held[f"activations of {nodes:,} tokens"] == nodes * (32 * token + back)


def test_fsdp_shares_weights_out_and_activations_not() -> None:
    alone = setup("llama-3.1-70b", accelerators("h100"), precision="bfloat16")
    shared = pieces(replace(alone, machine=alone.machine.together(8)))
    for name, size in pieces(alone).items():
        if "weights" in name or "optimizer" in name:
            assert shared[name] == size / 8
        elif "activations" in name:
            assert shared[name] == size
    # two layers of 856 million weights and two embeddings of 1 051 million, 2 bytes each
    assert shared["put together from all processes"] == pytest.approx(2 * (2 * 0.8556e9 + 2 * 1.0507e9), rel=1e-3)


def test_weights_in_four_bits_are_a_fourth_of_those_in_bfloat16() -> None:
    lora, qlora = (
        setup("llama-3.1-8b", accelerators("h100"), precision="bfloat16", method=method) for method in ("lora", "qlora")
    )
    embeddings = 2 * 2 * 128_256 * 4096
    ratio = (qlora.frozen - embeddings) / (lora.frozen - embeddings)
    assert ratio == pytest.approx(0.258, rel=1e-3)
    assert qlora.trained == lora.trained


def test_hours_follow_from_operations_rate_and_processes() -> None:
    run = setup("smollm2-135m", epochs=2)
    assert run_operations(run) == pytest.approx(2 * operations(run, run.work.epoch))
    assert hours(run) == pytest.approx(run_operations(run) / (1e11 * hardware.REACHED_HERE) / 3600)
    assert hours(replace(run, machine=replace(CPU, processes=4))) == pytest.approx(hours(run) / 4)
    weighed = replace(run, config=run.config.model_copy(update={"weights": "importance"}))
    assert hours(weighed) > 1.1 * hours(run)


def test_files_take_what_they_take() -> None:
    sizes = {p.name: p.size for p in disk(setup("smollm2-135m"), "q8_0")}
    # the base of the support example, as it was exported: 144 810 880 bytes
    assert sizes["its base as GGUF, q8_0"] == pytest.approx(144_810_880, rel=0.02)
    # the same base as `model.safetensors`: 538 090 408 bytes
    assert sizes["merged weights, float32"] == pytest.approx(538_090_408, rel=0.001)
    full = {p.name: p.size for p in disk(setup("smollm2-135m", method="full"), "f16")}
    assert full["checkpoint"] == sizes["merged weights, float32"]
    assert full["state to go on from, while it trains"] == 3 * full["checkpoint"]


def test_accelerators_are_named_alone_or_several_with_fsdp() -> None:
    assert (accelerators("h100").processes, accelerators("h100").sharded) == (1, False)
    many = accelerators("16xRTX4090")
    assert (many.name, many.processes, many.sharded) == ("rtx4090", 16, True)
    assert accelerators("A100").rates["bfloat16"] == 312e12
    for wrong in ("h1000", "0xh100", "8x", "xh100", ""):
        with pytest.raises(UnknownNameError, match="no accelerator named"):
            accelerators(wrong)


def test_a_run_that_fits_not_is_told_changes_with_which_it_does() -> None:
    run = setup("llama-3.1-8b", accelerators("l40s"), tokens=60, method="full")
    assert not fits(run)
    found = advice(run)
    assert found
    for each in found:
        assert each.size <= ROOM * 48 * GB
    assert 'train.sft.method = "lora"' in found[0].words
    assert len({each.words for each in found}) == len(found)


def test_fewer_tokens_at_once_come_first_since_they_change_no_result() -> None:
    run = setup("smollm2-135m", replace(CPU, memory=3 * GB), tokens=50, batch=128, micro_tokens=8192)
    assert not fits(run)
    assert advice(run)[0].words.startswith("train.sft.micro_tokens = ")
    parts = int(advice(run)[0].words.split(" = ")[1])
    changed = setup("smollm2-135m", replace(CPU, memory=3 * GB), tokens=50, batch=128, micro_tokens=parts)
    assert moments(changed)[0].size == pytest.approx(advice(run)[0].size, rel=0.15)


def test_seventy_billion_weights_are_sent_to_several_gpus() -> None:
    run = setup("llama-3.1-70b", accelerators("h100"), precision="bfloat16")
    assert not fits(run)
    assert any("FSDP on" in each.words for each in advice(run))


def test_four_bits_are_asked_of_no_computer_without_a_gpu() -> None:
    run = setup("smollm2-135m", method="qlora", tokens=100)
    assert not run.startable
    assert not fits(run)
    assert advice(run)[0].words == 'train.sft.method = "lora"'


def test_a_gpu_is_told_that_it_is_faster_in_bfloat16() -> None:
    run = setup("llama-3.2-1b", accelerators("h100"), tokens=200)
    (told,) = faster(run)
    assert told.hours < hours(run) / 10
    assert faster(setup("smollm2-135m", tokens=200)) == []


def test_processes_come_from_the_launch_section_or_accelerates_file(tmp_path: Path) -> None:
    assert launched(LaunchConfig(processes=2), tmp_path) == (2, False)
    settings = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "FSDP", "num_processes": 8}
    settings |= {"mixed_precision": "no", "use_cpu": False, "debug": False, "fsdp_config": {"fsdp_version": 2}}
    (tmp_path / "fsdp.json").write_text(json.dumps(settings), encoding="utf-8")
    assert launched(LaunchConfig(accelerate="fsdp.json"), tmp_path) == (8, True)
    with pytest.raises(ConfigError, match=r"train\.launch\.accelerate = 'none\.yaml'"):
        launched(LaunchConfig(accelerate="none.yaml"), tmp_path)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"distributed_type": "FSDP"}, "fsdp_config.fsdp_version is 1"),
        ({"distributed_type": "MULTI_GPU", "mixed_precision": "fp16"}, "mixed_precision is 'fp16'"),
        ({"distributed_type": "DEEPSPEED"}, "distributed_type DEEPSPEED is not done here"),
        ({"distributed_type": "MEGATRON_LM"}, "distributed_type MEGATRON_LM is not done here"),
    ],
)
def test_what_accelerates_file_asks_for_in_vain_is_refused(tmp_path: Path, said: dict[str, str], words: str) -> None:
    settings = {"compute_environment": "LOCAL_MACHINE", "num_processes": 2, "mixed_precision": "no", **said}
    (tmp_path / "a.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"train\.launch\.accelerate = 'a\.json': {words}"):
        launched(LaunchConfig(accelerate="a.json"), tmp_path)


def test_this_machine_is_measured() -> None:
    found = this_machine("float32", 256, 512)
    assert found.rates["float32"] > 1e8
    assert found.memory > 0
    half = this_machine("float32", 256, 512, processes=2)
    assert half.memory == pytest.approx(found.memory / (1 if found.gpu else 2), rel=0.3)


def numbered(rows: int) -> list[Example]:
    """Rows of about a hundred tokens that share little."""
    texts = [Message(role="user", content=f"{i} {i * 7919 % 997} " * 12) for i in range(rows)]
    return [row.model_copy(update={"messages": (text,)}) for row, text in zip(examples(rows), texts, strict=True)]


CHILD = """
import json, re, sys, tempfile
from pathlib import Path
import accelerate, transformers.models.llama.modeling_llama
from prentice.progress import Silent
from prentice.records import ModelSource
from prentice.training.config import SFTConfig
from prentice.training.sft import train_examples
from test_training_estimate import numbered

def bytes_of(name):
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\\s+(\\d+) kB", status)[1]) * 1024

base, config = Path(sys.argv[1]), SFTConfig.model_validate_json(sys.argv[2])
rows = numbered(32)
before = bytes_of("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
with tempfile.TemporaryDirectory() as out:
    source = ModelSource(name="t", source="path:t", sha256="0" * 64)
    train_examples(config, rows, Path("rows"), base=base, out=Path(out), source=source)
print(before, bytes_of("VmHWM"))
"""


@pytest.fixture(scope="module")
def middling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 16 million weights: large enough that they count, small enough to be quick."""
    base = write_tiny_llama(tmp_path_factory.mktemp("base"))
    tokenizer = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "model.safetensors").unlink()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16_384,
        hidden_size=320,
        intermediate_size=960,
        num_hidden_layers=8,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **{key: tokenizer[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    LlamaForCausalLM(config).save_pretrained(base)
    return base


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux says what a process held at most")
@pytest.mark.parametrize(
    "config",
    [
        {"save_seconds": 1000},
        {"save_seconds": 1000, "precision": "bfloat16"},
        {"save_seconds": 1000, "method": "full"},
        {"save_seconds": 0, "method": "full"},
    ],
    ids=["lora", "lora in bfloat16", "full", "full, saved"],
)
def test_a_run_takes_the_memory_that_was_reckoned(middling: Path, config: dict[str, Any]) -> None:
    chosen = SFTConfig.model_validate({"epochs": 1, "batch": 16, **config}).on(gpu=False)
    command = [sys.executable, "-c", CHILD, str(middling), chosen.model_dump_json()]
    child = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    before, most = map(int, child.stdout.split()[-2:])
    rows = open_checker(512, WHERE, middling).check(numbered(32))
    run = Setup(shape_of(str(middling)), chosen, work_of(rows, chosen), CPU)
    found = [m for m in moments(run) if m.name != "saving the state" or chosen.save_seconds == 0]
    assert found[0].size - before == pytest.approx(most - before, rel=0.3)
