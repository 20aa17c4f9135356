"""A fine-tuning run starts only if it can teach, goes on after a kill as if there was none, and leaves its files."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Lfm2Config, MambaConfig

from killing import kill_underway, needs_sigkill, wait_for, written
from prentice.errors import ConfigError, TrainingError
from prentice.models.hf import load
from prentice.progress import Silent
from prentice.records import Checkpoint, Example, Ledger, Manifest, Message, ModelSource
from prentice.records.parquet import LedgerRow, read_dataset, rows_hash, write_dataset
from prentice.runs import read_record
from prentice.training.config import LaunchConfig, SelectConfig, SFTConfig
from prentice.training.forest import Padded, Row, plant
from prentice.training.launch import train_in_processes
from prentice.training.loop import Loop, Plan
from prentice.training.lora import merge_adapter
from prentice.training.losses import importance_loss
from prentice.training.run import Links
from prentice.training.sft import SFT, train_examples, train_sft
from prentice.training.start import open_start
from prentice.training.visits import Passes
from tiny_models import write_tiny_llama
from training_models import examples, write_family

SOURCE = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
CONFIG = SFTConfig(epochs=2, batch=4, lora_rank=4, lora_alpha=8, learning_rate=0.01, save_seconds=0)
WHERE = Path("rows.parquet")


class Heard(Silent):
    """Keeps the lines that were said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def train(base: Path, out: Path, rows: list[Example], config: SFTConfig = CONFIG, **more: Any) -> Checkpoint:
    serving = more.pop("serving_tokens", None)
    links = Links(serving_tokens=serving)
    return train_examples(config, rows, WHERE, base=base, out=out, source=SOURCE, links=links, **more)


def curve(out: Path) -> list[dict[str, float]]:
    """The curve without its times."""
    lines = [json.loads(line) for line in (out / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def write_rows(folder: Path, rows: list[Example]) -> Path:
    splits = {split: sum(r.split == split for r in rows) for split in ("train", "val")}
    manifest = Manifest(
        hash=rows_hash(rows), ledger=Ledger(rows_in=len(rows), kept=len(rows)), splits=splits, config={}
    )
    ledger = [LedgerRow(episode=r.episode, turn=0, case=r.case, fate="kept") for r in rows]
    write_dataset(folder, rows, ledger, manifest)
    return folder


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_learns_its_rows_and_leaves_a_readable_checkpoint(base: Path, tmp_path: Path, method: str) -> None:
    rows = examples(16, val=4)
    dataset = write_rows(tmp_path / "dataset", rows)
    out, heard = tmp_path / "out", Heard()
    rate = 0.02 if method == "lora" else 0.004
    config = CONFIG.model_copy(update={"method": method, "epochs": 12, "learning_rate": rate})
    done = train_sft(config, dataset=dataset, base=base, out=out, source=SOURCE, progress=heard)
    assert read_record(Checkpoint, out / "checkpoint.json") == done
    assert (done.kind, done.steps) == ("adapter" if method == "lora" else "full", 36)
    assert done.dataset == read_dataset(dataset)[0].hash
    assert done.figures["loss_last"] < 0.5 * done.figures["loss_first"]
    assert done.figures["gradient_difference"] <= 1e-5
    assert "12 rows" in heard.lines[0]
    assert len(curve(out)) == 36
    best = min(line["val_loss"] for line in curve(out) if "val_loss" in line)
    assert done.figures["val_loss"] == best
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["checkpoint.json", "curve.jsonl", "adapter" if method == "lora" else "model"]
    )
    model = merge_adapter(load(base), out / "adapter") if method == "lora" else load(out / "model")
    assert val_loss(model, base, [r for r in rows if r.split == "val"]) == pytest.approx(best, rel=1e-4)


def val_loss(model: Any, base: Path, rows: list[Example]) -> float:
    """The loss per supervised token as transformers itself computes it, row by row."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    total = weight = 0.0
    for row in rows:
        chat = [{"role": m.role, "content": m.content} for m in row.messages]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        reply = tokenizer(f"{row.reply.content}<|im_end|>", add_special_tokens=False).input_ids
        labels = torch.tensor([[-100] * len(ids) + reply])
        with torch.no_grad():
            loss = model(torch.tensor([ids + reply]), labels=labels).loss.item()
        total += loss * len(reply) * row.weight
        weight += len(reply) * row.weight
    return total / weight


def test_the_same_call_again_returns_the_finished_checkpoint(base: Path, tmp_path: Path) -> None:
    first = train(base, tmp_path, examples(8))
    before = (tmp_path / "curve.jsonl").stat().st_mtime_ns
    assert train(base, tmp_path, examples(8)) == first
    assert (tmp_path / "curve.jsonl").stat().st_mtime_ns == before


def test_small_micro_batches_give_the_curve_of_one_large_batch(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "whole", examples(16))
    train(base, tmp_path / "cut", examples(16), CONFIG.model_copy(update={"micro_tokens": 40}))
    whole, cut = ([line["loss"] for line in curve(tmp_path / name)] for name in ("whole", "cut"))
    assert cut == pytest.approx(whole, rel=1e-4)
    assert sum(line["tokens"] for line in curve(tmp_path / "cut")) > sum(
        line["tokens"] for line in curve(tmp_path / "whole")
    )


def test_bfloat16_learns_the_same_curve_within_its_rounding(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "wide", examples(16))
    train(base, tmp_path / "narrow", examples(16), CONFIG.model_copy(update={"precision": "bfloat16"}))
    wide, narrow = ([line["loss"] for line in curve(tmp_path / name)] for name in ("wide", "narrow"))
    assert narrow == pytest.approx(wide, rel=0.05)
    assert narrow != wide


SCRIPT = """
import sys
from pathlib import Path
from prentice.records import ModelSource
from prentice.training.config import SFTConfig
from prentice.training.sft import train_sft
dataset, base, out, config = sys.argv[1:]
source = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
train_sft(SFTConfig.model_validate_json(config), dataset=Path(dataset), base=Path(base), out=Path(out), source=source)
"""


@needs_sigkill
def test_killed_twice_with_kill_9_the_curve_is_that_of_a_run_never_killed(
    base: Path, tmp_path: Path, one_thread: None
) -> None:
    dataset = write_rows(tmp_path / "dataset", examples(24, val=4))
    config = CONFIG.model_copy(update={"epochs": 20})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_sft(config, dataset=dataset, base=base, out=whole, source=SOURCE)
    for steps in (12, 45):
        kill_underway(SCRIPT, [str(dataset), str(base), str(killed), config.model_dump_json()], killed, steps)
    begun = written(killed)
    train_sft(config, dataset=dataset, base=base, out=killed, source=SOURCE)
    assert begun < 100
    assert curve(killed) == curve(whole)
    mine, theirs = (read_record(Checkpoint, out / "checkpoint.json") for out in (killed, whole))
    assert mine.id == theirs.id
    adapters = [(out / "adapter" / "adapter_model.safetensors").read_bytes() for out in (killed, whole)]
    assert adapters[0] == adapters[1]


def test_a_state_of_another_run_is_not_resumed(base: Path, tmp_path: Path) -> None:
    """A half-finished run with other settings lies in the same folder."""
    dataset, other = write_rows(tmp_path / "d", examples(8)), CONFIG.model_copy(update={"epochs": 5000})
    command = [sys.executable, "-c", SCRIPT, str(dataset), str(base), str(tmp_path / "out"), other.model_dump_json()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait_for((tmp_path / "out" / "resume.safetensors").exists, process)
    process.kill()
    process.communicate()
    train(base, tmp_path / "out", examples(8))
    train(base, tmp_path / "fresh", examples(8))
    assert curve(tmp_path / "out") == curve(tmp_path / "fresh")


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_row(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    model = load(base)
    # a token that one row alone reads; untied, so that no other row's vocabulary projection meets it
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = [set(tokenizer(row.messages[-1].content, add_special_tokens=False).input_ids) for row in examples(8)]
    token = min(ids[5].difference(*ids[:5], *ids[6:]))
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    model.get_input_embeddings().weight.data[token] = float("nan")
    model.config.tie_word_embeddings = False
    model.save_pretrained(base)
    rows = examples(8)
    rows.append(rows.pop(5))  # after those that are compared with the padded batch
    with pytest.raises(TrainingError, match=r"rows\.parquet: row row5: its loss is not a number at step \d"):
        train(base, tmp_path / "out", rows)


def change(row: Example, **update: Any) -> Example:
    return row.model_copy(update=update)


def test_a_row_with_an_empty_reply_stops_the_run_before_it_starts(base: Path, tmp_path: Path) -> None:
    rows = examples(4)
    rows[2] = change(rows[2], reply=Message(role="assistant", content="  "))
    with pytest.raises(TrainingError, match=r"rows\.parquet: row row2: its reply is empty"):
        train(base, tmp_path / "out", rows)
    assert not (tmp_path / "out" / "curve.jsonl").exists()


def test_a_reply_that_is_not_the_assistants_stops_the_run(base: Path, tmp_path: Path) -> None:
    rows = examples(4)
    rows[1] = change(rows[1], reply=Message(role="user", content="card arrival"))
    with pytest.raises(TrainingError, match=r"row row1: its reply has the role 'user'"):
        train(base, tmp_path, rows)


def test_a_row_longer_than_max_tokens_stops_the_run_and_is_not_cut(base: Path, tmp_path: Path) -> None:
    rows = examples(4)
    rows[3] = change(rows[3], messages=(Message(role="user", content="long " * 90),))
    with pytest.raises(TrainingError, match=r"row row3: it has \d+ tokens and max_tokens is 100, so it would be cut"):
        train(base, tmp_path, rows, CONFIG.model_copy(update={"max_tokens": 100}))


def test_a_row_longer_than_the_models_context_stops_the_run(base: Path, tmp_path: Path) -> None:
    rows = examples(4)
    rows[3] = change(rows[3], messages=(Message(role="user", content="x1" * 400),))
    with pytest.raises(TrainingError, match=r"row row3: it has \d+ tokens and max_tokens is 512"):
        train(base, tmp_path, rows)


def test_a_tokenizer_with_more_tokens_than_the_model_stops_the_run(base: Path, tmp_path: Path) -> None:
    for path in base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 60}), encoding="utf-8")
    with pytest.raises(
        TrainingError, match=r"rows\.parquet: row row0: token \d+ is outside the model's vocabulary of 60"
    ):
        train(tmp_path, tmp_path / "out", examples(4))


def test_patience_without_validation_rows_stops_the_run_before_it_starts(base: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"select": SelectConfig(patience=2)})
    with pytest.raises(TrainingError, match=r"patience = 2 waits for a better validation, and no validation rows"):
        train(base, tmp_path, examples(4), config)


def test_a_template_that_never_stops_stops_the_run(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    template = base / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", " ."), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"row row0: its reply ends with the token .*never learn to stop"):
        train(base, tmp_path / "out", examples(4))


def test_tokens_other_than_the_servers_stop_the_run(base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)

    def serving(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return [*ids[:5], 7, *ids[5:]] if "twice" in text else ids

    with pytest.raises(TrainingError, match=r"row row3: trained tokens differ .* from token 5 on: .* against \[7,"):
        train(base, tmp_path, examples(8), serving_tokens=serving)


def test_the_begin_token_that_a_server_puts_before_a_reply_is_no_difference(tmp_path: Path) -> None:
    base = write_family("llama", tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)

    def serving(text: str) -> list[int]:
        bare = text.removeprefix(tokenizer.bos_token)
        return [tokenizer.bos_token_id, *tokenizer(bare, add_special_tokens=False).input_ids]

    assert train(base, tmp_path / "out", examples(8), serving_tokens=serving).steps == 4


def test_no_row_in_the_training_split_stops_the_run(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of its 4 rows is in the split `train`"):
        train(base, tmp_path, examples(4, val=4))


def test_gemmas_instruction_is_merged_into_the_first_user_message(tmp_path: Path) -> None:
    """Its template knows no system role; the text that is trained carries the instruction all the same."""
    base = write_family("gemma2", tmp_path / "base")
    texts: list[str] = []
    tokenizer = AutoTokenizer.from_pretrained(base)

    def serving(text: str) -> list[int]:
        texts.append(text)
        ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return ids

    done = train(base, tmp_path / "out", examples(8), serving_tokens=serving)
    assert texts[0] == (
        "<|endoftext|><start_of_turn>user\nWhich intent has this message?\n\nWhere is my card?<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    assert texts[1] == "card arrival<end_of_turn>"
    assert done.figures["gradient_difference"] <= 1e-5


def test_a_chat_that_gemmas_template_refuses_is_refused_naming_the_row(tmp_path: Path) -> None:
    base = write_family("gemma3", tmp_path / "base")
    rows = examples(4)
    late = Message(role="system", content="Be short.")
    rows[1] = change(rows[1], messages=(*rows[1].messages, late))
    with pytest.raises(TrainingError, match=r"rows\.parquet: row row1: the chat template refuses these messages"):
        train(base, tmp_path / "out", rows)


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        train(tmp_path, tmp_path / "out", examples(4))
    assert "\n" not in str(caught.value)


def test_a_broken_config_of_a_model_that_continues_no_text_is_refused(base: Path, tmp_path: Path) -> None:
    for path in base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    with pytest.raises(TrainingError, match="t5: it is no decoder that continues text"):
        train(tmp_path, tmp_path / "out", examples(4))


def test_the_full_model_reads_back_in_transformers_with_its_own_attention(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path, examples(8), CONFIG.model_copy(update={"method": "full", "learning_rate": 1e-3}))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config._attn_implementation == "sdpa"
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template


@pytest.mark.parametrize("kind", ["mamba", "conv"])
def test_all_weights_of_a_base_whose_rows_are_padded_are_trained_and_read_back(kind: str, tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    (base / "model.safetensors").unlink()
    ids = json.loads((base / "config.json").read_text(encoding="utf-8"))
    same = {key: ids[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    small = {"hidden_size": 32, "num_hidden_layers": 2, **same}
    heads = {"intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = (
        MambaConfig(**small)
        if kind == "mamba"
        else Lfm2Config(**small, **heads, layer_types=["conv", "full_attention"])
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    done = train(base, tmp_path / "out", examples(8), CONFIG.model_copy(update={"method": "full", "epochs": 6}))
    assert done.figures["loss_last"] < 0.9 * done.figures["loss_first"]
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert "prentice" not in (tmp_path / "out" / "model" / "config.json").read_text(encoding="utf-8")
    before = AutoModelForCausalLM.from_pretrained(base).state_dict()
    assert any(not torch.equal(before[name], weight) for name, weight in written.state_dict().items())


def padded_curve(base: Path, dataset: Path, config: SFTConfig, out: Path) -> list[float]:
    """The losses of the same run whose rows lie side by side, as everybody trains them."""
    start = open_start(config, read_dataset(dataset)[1], WHERE, base, None)
    model = start.model
    model.obstacle, model.attention = "asked for", model.own_attention
    model.causal.set_attn_implementation(model.own_attention)
    assert isinstance(model.batch([start.train[0].row]), Padded)
    plan = Plan(
        micro_tokens=1024,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        warmup=config.warmup,
        patience=0,
        save_seconds=1e9,
        section="train.sft",
    )
    out.mkdir()
    visits = Passes(start.train, config.epochs, config.batch, config.seed)
    loop = Loop(start, visits, SFT, plan, out=out, fingerprint="padded")
    return [line["loss"] for line in loop.run(Silent()).curve]


def test_fifty_steps_cut_shared_out_and_resumed_elsewhere_give_one_curve(
    base: Path, tmp_path: Path, one_thread: None
) -> None:
    """Packed, padded, accumulated, two processes, FSDP over two, killed in one to go on in two: within 1e-4."""
    dataset = write_rows(tmp_path / "dataset", examples(24, val=4))
    config = CONFIG.model_copy(update={"epochs": 13, "learning_rate": 0.003})
    train_sft(config, dataset=dataset, base=base, out=tmp_path / "packed", source=SOURCE)
    small = config.model_copy(update={"micro_tokens": 60})
    train_sft(small, dataset=dataset, base=base, out=tmp_path / "accumulated", source=SOURCE)
    (tmp_path / "fsdp.yaml").write_text(FSDP, encoding="utf-8")
    launches = {
        "two": LaunchConfig(processes=2),
        "fsdp": LaunchConfig(accelerate=str(tmp_path / "fsdp.yaml")),
        "resumed": LaunchConfig(processes=2),
    }
    stop_after(24, config, dataset, base, tmp_path / "resumed")
    done = {
        name: train_in_processes(config, launch, dataset=dataset, base=base, out=tmp_path / name, source=SOURCE)
        for name, launch in launches.items()
    }
    held = {name: done[name].figures["weights_held"] for name in done}
    assert held["two"] == held["resumed"] == 1.0
    assert 0.45 < held["fsdp"] < 0.7  # not everything is cut in two
    packed = [line["loss"] for line in curve(tmp_path / "packed")]
    assert len(packed) >= 50
    assert packed[-1] < 0.7 * packed[0]
    curves = {name: [line["loss"] for line in curve(tmp_path / name)] for name in ("accumulated", *launches)}
    curves["padded"] = padded_curve(base, dataset, config, tmp_path / "padded")
    for name, other in curves.items():
        assert max(abs(a - b) for a, b in zip(packed, other, strict=True)) <= 1e-4, name
    adapters = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("packed", "fsdp")]
    assert adapters[0].keys() == adapters[1].keys()
    merge_adapter(load(base), tmp_path / "fsdp" / "adapter")


FSDP = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
use_cpu: true
num_processes: 2
num_machines: 1
machine_rank: 0
main_process_port: 0
mixed_precision: 'no'
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_cpu_ram_efficient_loading: false
"""


def stop_after(lines: int, config: SFTConfig, dataset: Path, base: Path, out: Path) -> None:
    """Train in a process of its own, and kill it."""
    command = [sys.executable, "-c", SCRIPT, str(dataset), str(base), str(out), config.model_dump_json()]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=env)
    wait_for(lambda: written(out) >= lines, process)
    process.kill()
    process.communicate()


def test_an_error_in_one_of_several_processes_comes_back_in_one_line(base: Path, tmp_path: Path) -> None:
    dataset = write_rows(tmp_path / "dataset", examples(8))
    config = CONFIG.model_copy(update={"select": SelectConfig(by="success")})
    with pytest.raises(TrainingError, match=r'select.by = "success" needs the student to play') as caught:
        train_in_processes(
            config, LaunchConfig(processes=2), dataset=dataset, base=base, out=tmp_path / "out", source=SOURCE
        )
    assert "\n" not in str(caught.value)


def test_a_configuration_of_accelerate_that_is_not_there_is_named(base: Path, tmp_path: Path) -> None:
    launch = LaunchConfig(accelerate="cluster.yaml")
    with pytest.raises(ConfigError, match=r"train\.launch\.accelerate = 'cluster\.yaml': no such file"):
        train_in_processes(CONFIG, launch, dataset=tmp_path, base=base, out=tmp_path / "out", source=SOURCE)


def test_importance_multiplies_each_rows_loss_by_how_much_likelier_it_has_become() -> None:
    # row 0: log-ratios 0.2 and 0.4, mean 0.3; row 1: one token, ratio log 20, cut at 16; row 2 at its reference, 2 x
    logprobs = torch.tensor([-0.8, -0.6, -0.1, -0.5], requires_grad=True)
    reference = (-1.0, -1.0), (-0.1 - math.log(20),), (-0.5,)
    rows = [Row((1,), (2, 3), 1.0), Row((1,), (4,), 1.0), Row((1,), (5,), 2.0)]
    rows = [replace(row, given={"reference": given}) for row, given in zip(rows, reference, strict=True)]
    loss = importance_loss(logprobs, plant(rows))
    expected = math.exp(0.3) * (0.8 + 0.6) + 16 * 0.1 + 2 * 0.5
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-math.exp(0.3), -math.exp(0.3), -16.0, -2.0], rel=1e-5)


def test_importance_begins_as_plain_training_and_departs_from_it(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "plain", examples(16))
    train(base, tmp_path / "weighted", examples(16), CONFIG.model_copy(update={"weights": "importance"}))
    plain, weighted = ([line["loss"] for line in curve(tmp_path / name)] for name in ("plain", "weighted"))
    assert weighted[0] == pytest.approx(plain[0], rel=1e-5)
    assert weighted[-1] != pytest.approx(plain[-1], rel=1e-3)


def test_weights_that_solve_most_cases_are_kept_and_a_run_that_gets_no_better_ends(base: Path, tmp_path: Path) -> None:
    scores, asked = [0.2, 0.6, 0.4, 0.5, 0.9], list[tuple[int, int]]()

    def score(folder: Path, cases: Sequence[str]) -> float:
        merge_adapter(load(base), folder / "adapter")
        asked.append((len(asked), len(cases)))
        return scores[len(asked) - 1]

    select = SelectConfig(by="success", cases=3, patience=2)
    config = CONFIG.model_copy(update={"select": select, "epochs": 5})
    dataset = write_rows(tmp_path / "dataset", examples(12, val=4))
    done = train_sft(config, dataset=dataset, base=base, out=tmp_path / "out", source=SOURCE, links=Links(score=score))
    assert asked == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert (done.figures["score"], done.steps) == (0.6, 8)


def test_memory_that_does_not_hold_a_batch_names_it_and_what_to_set(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    dataset = write_rows(tmp_path / "dataset", [longer(row) for row in examples(64)])
    config = CONFIG.model_copy(update={"batch": 64, "micro_tokens": 1_000_000})
    command = [sys.executable, "-c", LITTLE_MEMORY + SCRIPT, str(dataset), str(base), str(tmp_path / "out")]
    done = subprocess.run([*command, config.model_dump_json()], capture_output=True, text=True, check=False)
    assert "TrainingError: out of memory at step 1: 64 rows of" in done.stderr
    assert "set train.sft.micro_tokens = " in done.stderr


LITTLE_MEMORY = """
import resource, torch
from prentice.training import engine
# all that has been loaded, and very little for the batch
before = engine.ForestModel.batch
def batch(model, rows):
    if len(rows) > 6:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, used + 2**24))
    return before(model, rows)
engine.ForestModel.batch = batch
"""


def longer(row: Example) -> Example:
    """A row of some hundred tokens that shares nothing."""
    text = " ".join(f"{row.id} {n}" for n in range(35))
    return change(row, messages=(Message(role="user", content=text),))


def test_an_adapter_for_another_base_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "out", examples(8))
    other = write_family("llama", tmp_path / "wider", num_hidden_layers=1)
    with pytest.raises(TrainingError, match="an adapter for another base") as caught:
        merge_adapter(load(other), tmp_path / "out" / "adapter")
    assert "'tiny'" in caught.value.hint
