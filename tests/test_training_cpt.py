"""Continued pretraining: the loss is everybody's, what is held out stays out and is measured, a kill loses nothing."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from killing import kill_underway, needs_sigkill
from prentice.errors import ConfigError, TrainingError
from prentice.models.hf import load
from prentice.progress import Silent
from prentice.records import Checkpoint, ModelSource
from prentice.runs import read_record
from prentice.training.cpt.config import CPTConfig
from prentice.training.cpt.corpus import Parts, files_hash, read_corpus
from prentice.training.cpt.packing import Spelling, Written, pack
from prentice.training.cpt.train import CPT, rows_of, train_documents
from prentice.training.engine import ForestModel
from prentice.training.lora import merge_adapter
from prentice.training.method import supervised_weight
from tiny_models import write_tiny_llama

SOURCE = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
CONFIG = CPTConfig(
    documents=("docs",),
    held_out=0.4,
    max_tokens=48,
    batch=4,
    lora_rank=4,
    lora_alpha=8,
    learning_rate=0.01,
    save_seconds=0,
)
PLAIN = Spelling(None, (), 0, 512, Path("docs"))
WORDS = ["card", "money", "twice", "arrival", "lost", "payment", "exchange", "rate", "pounds", "missing", "week", "day"]


class Heard(Silent):
    """Keeps the lines that were said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def write_corpus(folder: Path, count: int = 24, *, general: int = 0) -> Path:
    """Documents of a language in which every word decides the next one, and general text of another."""
    for kind, number in (("docs", count), ("general", general)):
        following = random.Random(kind).sample(WORDS, len(WORDS))
        next_one = dict(zip(following, [*following[1:], following[0]], strict=True))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for each in range(number):
            words = [WORDS[each % len(WORDS)]]
            while len(words) < 20:
                words.append(next_one[words[-1]])
            (folder / kind / f"{each}.txt").write_text(f"{each}: {' '.join(words)}.", encoding="utf-8")
    return folder


def train(base: Path, folder: Path, out: Path, config: CPTConfig = CONFIG, **more: Any) -> Checkpoint:
    return train_documents(config, read_corpus(config, folder), base=base, out=out, source=SOURCE, **more)


def curve(out: Path) -> list[dict[str, float]]:
    """The curve without its times."""
    text = (out / "curve.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def plain_loss(model: Any, row: Sequence[int]) -> torch.Tensor:
    """The causal loss as transformers computes it."""
    ids = torch.tensor([row])
    loss: torch.Tensor = model(ids, labels=ids).loss
    return loss


@pytest.mark.parametrize(("length", "count"), [(400, 1), (300, 2), (24, 5)])
def test_loss_and_gradient_are_those_of_transformers(base: Path, length: int, count: int) -> None:
    chance = random.Random(0)
    documents = [Written(f"d{n}", tuple(chance.choices(range(3, 250), k=97))) for n in range(12)]
    rows = pack(documents, PLAIN, length)[:count]
    theirs = load(base).train()
    expected = torch.stack([plain_loss(theirs, item.row.tokens) for item in rows]).mean()
    expected.backward()  # type: ignore[no-untyped-call]
    ours = ForestModel(load(base))
    batch = ours.batch([item.row for item in rows])
    loss = CPT.loss(ours(batch), batch) / CPT.size(rows)
    loss.backward()  # type: ignore[no-untyped-call]
    assert CPT.size is supervised_weight
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    pairs = list(zip(ours.causal.parameters(), theirs.parameters(), strict=True))
    off = sum(((a.grad - b.grad) ** 2).sum() for a, b in pairs if a.grad is not None)
    whole = sum((b.grad**2).sum() for _, b in pairs if b.grad is not None)
    assert math.sqrt(off / whole) < 1e-5


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_learns_its_documents_and_says_what_became_of_held_out_ones(
    base: Path, tmp_path: Path, method: str
) -> None:
    write_corpus(tmp_path, 40, general=30)
    rate = 0.02 if method == "lora" else 0.003
    update = {"epochs": 6, "method": method, "general": ("general",), "learning_rate": rate}
    config, heard = CONFIG.model_copy(update=update), Heard()
    done = train(base, tmp_path, tmp_path / "out", config, progress=heard)
    assert read_record(Checkpoint, tmp_path / "out" / "checkpoint.json") == done
    assert (done.method, done.kind) == ("cpt", "adapter" if method == "lora" else "full")
    assert done.figures["loss_last"] < 0.5 * done.figures["loss_first"]
    assert done.figures["domain_perplexity_ratio"] < 0.5
    assert done.figures["domain_perplexity_ratio_low"] <= done.figures["domain_perplexity_ratio_high"]
    best = min(line["val_loss"] for line in curve(tmp_path / "out") if "val_loss" in line)
    assert done.figures["val_loss"] == best
    assert not (tmp_path / "out" / "before.json").exists()
    assert heard.lines[0].startswith("documents: 40 read, ")
    assert heard.lines[-2].startswith(f"held-out documents ({done.figures['domain_documents']:.0f}, ")
    assert f"{done.figures['domain_perplexity_ratio']:.3f} of before (95 %: " in heard.lines[-2]
    assert heard.lines[-1].startswith("held-out general text (")
    model = merge_adapter(load(base), tmp_path / "out" / "adapter") if method == "lora" else None
    model = model or load(tmp_path / "out" / "model")
    corpus = read_corpus(config, tmp_path)
    for kind, part in (("domain", corpus.domain), ("general", corpus.general)):
        for when, weights in (("before", load(base)), ("after", model)):
            figure = done.figures[f"{kind}_perplexity_{when}"]
            assert figure == pytest.approx(perplexity_of(weights, base, part), rel=1e-4), (kind, when)


def perplexity_of(model: Any, base: Path, part: Parts) -> float:
    """As transformers itself computes it, document by document; none of them is longer than the model's context."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    total = count = 0.0
    for document in part.test:
        ids = [0, *tokenizer(document.content, add_special_tokens=False).input_ids]
        pieces = [ids[at : at + CONFIG.max_tokens] for at in range(0, len(ids) - 1, CONFIG.max_tokens - 1)]
        with torch.no_grad():
            total += sum(plain_loss(model, piece).item() * (len(piece) - 1) for piece in pieces)
        count += len(ids) - 1
    return math.exp(total / count)


def test_general_text_is_mixed_in_by_its_share_of_tokens_and_never_what_is_measured(base: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path, 40, general=40)
    config = CONFIG.model_copy(update={"general": ("general",), "general_share": 0.3})
    corpus = read_corpus(config, tmp_path)
    rows = rows_of(config, corpus, base)
    learnt = sum(len(item.row.reply) for item in rows.train)
    longest = 100
    assert abs(rows.general - 0.3 * learnt) <= longest
    seen = AutoTokenizer.from_pretrained(base).decode(list(chain(*(item.row.reply for item in rows.train))))
    for part in (corpus.domain, corpus.general):
        assert part.val
        assert part.test
        assert not [d.id for d in (*part.val, *part.test) if d.content in seen]
    assert all(d.content in seen for d in corpus.domain.train)
    measured = {name: sorted({i.id.split(" ")[0] for i in chain(*texts)}) for name, texts in rows.measured.items()}
    assert measured == {
        "domain": sorted(d.id for d in corpus.domain.test),
        "general": sorted(d.id for d in corpus.general.test),
    }
    none = rows_of(config.model_copy(update={"general_share": 0.0}), corpus, base)
    assert none.general == 0
    assert set(none.measured) == {"domain", "general"}


def test_general_text_that_is_also_a_document_counts_as_a_document_only(tmp_path: Path) -> None:
    write_corpus(tmp_path, 10, general=10)
    (tmp_path / "general" / "copy.txt").write_bytes((tmp_path / "docs" / "3.txt").read_bytes())
    corpus = read_corpus(CONFIG.model_copy(update={"general": ("general",)}), tmp_path)
    general = {d.id for d in (*corpus.general.train, *corpus.general.val, *corpus.general.test)}
    assert len(general) == 10
    assert corpus.told[1].endswith("left out: 1 × equal to another")


def test_two_documents_are_trained_on_and_it_is_said_that_nothing_is_measured(base: Path, tmp_path: Path) -> None:
    heard = Heard()
    done = train(base, write_corpus(tmp_path, 2), tmp_path / "out", progress=heard)
    assert "domain_perplexity_before" not in done.figures
    assert heard.lines[-2:] == [
        "held-out documents: none, so its perplexity is not known",
        "held-out general text: none, so its perplexity is not known",
    ]


def test_the_same_call_again_returns_the_finished_checkpoint(base: Path, tmp_path: Path) -> None:
    first = train(base, write_corpus(tmp_path), tmp_path / "out")
    before = (tmp_path / "out" / "curve.jsonl").stat().st_mtime_ns
    assert train(base, tmp_path, tmp_path / "out") == first
    assert (tmp_path / "out" / "curve.jsonl").stat().st_mtime_ns == before


def test_other_documents_are_another_checkpoint(base: Path, tmp_path: Path) -> None:
    first = train(base, write_corpus(tmp_path), tmp_path / "out")
    (tmp_path / "docs" / "new.txt").write_text("money charged twice", encoding="utf-8")
    second = train(base, tmp_path, tmp_path / "out")
    assert first.id != second.id
    assert first.dataset != second.dataset


SCRIPT = """
import sys
from pathlib import Path
from prentice.records import ModelSource
from prentice.training.cpt.config import CPTConfig
from prentice.training.cpt.corpus import read_corpus
from prentice.training.cpt.train import train_documents
folder, base, out, config = sys.argv[1:]
config = CPTConfig.model_validate_json(config)
source = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
train_documents(config, read_corpus(config, Path(folder)), base=Path(base), out=Path(out), source=source)
"""


@needs_sigkill
def test_killed_with_kill_9_it_goes_on_and_knows_what_was_before(base: Path, tmp_path: Path, one_thread: None) -> None:
    write_corpus(tmp_path, general=12)
    config = CONFIG.model_copy(update={"epochs": 8, "general": ("general",)})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unbroken = train(base, tmp_path, whole, config)
    arguments = [str(tmp_path), str(base), str(killed), config.model_dump_json()]
    kill_underway(SCRIPT, arguments, killed, 6)
    assert (killed / "before.json").exists()
    assert len(curve(killed)) < len(curve(whole))
    done = train(base, tmp_path, killed, config)
    assert curve(killed) == curve(whole)
    timeless = [{k: v for k, v in c.figures.items() if "per_second" not in k} for c in (done, unbroken)]
    assert timeless[0] == timeless[1]
    adapters = [(out / "adapter" / "adapter_model.safetensors").read_bytes() for out in (killed, whole)]
    assert adapters[0] == adapters[1]
    assert not (killed / "before.json").exists()


def test_a_loss_that_is_not_a_number_names_the_document(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    (token,) = tokenizer("#", add_special_tokens=False).input_ids
    model = AutoModelForCausalLM.from_pretrained(base)
    # untied, so that no other row's vocabulary projection meets it
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    model.get_input_embeddings().weight.data[token] = float("nan")
    model.config.tie_word_embeddings = False
    model.save_pretrained(base)
    write_corpus(tmp_path, 12)
    (tmp_path / "docs" / "odd.txt").write_text("money # money", encoding="utf-8")
    config = CONFIG.model_copy(update={"held_out": 0.0, "max_tokens": 16})
    with pytest.raises(TrainingError, match=r"row .*\.txt \(from token \d+\): its loss is not a number at step \d"):
        train(base, tmp_path, tmp_path / "out", config)


def test_a_run_without_documents_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.cpt\.documents names nothing to read"):
        read_corpus(CPTConfig(), tmp_path)


def test_success_on_cases_cannot_choose_where_there_are_no_cases() -> None:
    with pytest.raises(ValueError, match="documents have no cases to play"):
        CPTConfig.model_validate({"select": {"by": "success"}})


def test_what_is_skipped_is_said(tmp_path: Path) -> None:
    write_corpus(tmp_path, 5)
    (tmp_path / "docs" / "empty.txt").write_text("", encoding="utf-8")
    (line,) = read_corpus(CONFIG.model_copy(update={"faulty": "skip"}), tmp_path).told
    assert line.endswith("left out: 1 × an empty document (the first: docs/empty.txt)")


def test_files_are_new_when_what_they_say_is(tmp_path: Path) -> None:
    write_corpus(tmp_path, 3, general=3)
    config = CONFIG.model_copy(update={"general": ("general",)})
    before = files_hash(config, tmp_path)
    (tmp_path / "docs" / "0.txt").rename(tmp_path / "docs" / "zero.txt")
    assert files_hash(config, tmp_path) == before
    (tmp_path / "general" / "0.txt").write_text("else", encoding="utf-8")
    assert files_hash(config, tmp_path)[0] == before[0]
    assert files_hash(config, tmp_path)[1] != before[1]
