"""Continued pretraining: packing loses nothing, the loss is everybody's, what is held out stays out and is measured."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from prentice.errors import ConfigError, TrainingError
from prentice.models.hf import load
from prentice.progress import Silent
from prentice.records import Checkpoint, ModelSource
from prentice.records.documents import Document
from prentice.runs import read_record
from prentice.training.cpt.config import CPTConfig
from prentice.training.cpt.corpus import Parts, files_hash, parts, read_corpus
from prentice.training.cpt.packing import Spelling, Written, pack, spelling_of, windows
from prentice.training.cpt.perplexity import Measured
from prentice.training.cpt.train import CPT, rows_of, train_documents
from prentice.training.engine import ForestModel
from prentice.training.items import Item
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
BEGUN = Spelling(None, (1,), 0, 512, Path("docs"))
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


def tokens(rows: Sequence[Item]) -> list[tuple[int, ...]]:
    return [item.row.tokens for item in rows]


def test_documents_follow_each_other_in_rows_of_one_length() -> None:
    rows = pack([Written("a", (11, 12, 13)), Written("b", (21, 22))], PLAIN, 4)
    # the stream: 0 | 11 12 13 0 | 21 22 0; a row begins with the last token of the one before
    assert [(item.row.prompt, item.row.reply) for item in rows] == [
        ((0,), (11, 12, 13)),
        ((13,), (0, 21, 22)),
        ((22,), (0,)),
    ]
    assert [item.id for item in rows] == ["a (from token 0)", "a (from token 2)", "b (from token 1)"]


def test_a_base_with_a_begin_token_sees_it_before_every_document() -> None:
    rows = pack([Written("a", (11, 12)), Written("b", (21,))], BEGUN, 8)
    assert tokens(rows) == [(1, 11, 12, 0, 1, 21, 0)]
    (first,), (second,) = windows([Written("a", (11, 12)), Written("b", (21,))], BEGUN, 8)
    assert [first.row.tokens, second.row.tokens] == [(1, 11, 12), (1, 21)]


def test_a_measured_document_is_predicted_token_by_token_and_its_end_is_not() -> None:
    (rows,) = windows([Written("a", (11, 12, 13, 14))], PLAIN, 3)
    assert [(item.row.prompt, item.row.reply) for item in rows] == [((0,), (11, 12)), ((12,), (13, 14))]


DOCUMENTS = st.lists(st.lists(st.integers(2, 99), min_size=1, max_size=9).map(tuple), min_size=1, max_size=9)


@given(DOCUMENTS, st.integers(2, 12), st.sampled_from([PLAIN, BEGUN]))
def test_every_token_is_predicted_once_and_only_the_last_row_is_shorter(
    documents: list[tuple[int, ...]], length: int, spelling: Spelling
) -> None:
    rows = pack([Written(f"d{n}", ids) for n, ids in enumerate(documents)], spelling, length)
    stream = list(chain(*([*spelling.begin, *ids, spelling.end] for ids in documents)))
    predicted = list(chain(*(item.row.reply for item in rows)))
    assert predicted == (stream[1:] if spelling.begin else stream)
    assert [len(item.row.tokens) for item in rows[:-1]] == [length] * (len(rows) - 1)
    assert 2 <= len(rows[-1].row.tokens) <= length
    for one, other in pairwise(rows):
        assert one.row.tokens[-1:] == other.row.prompt


@given(DOCUMENTS, st.integers(2, 12))
def test_a_row_is_named_by_the_document_and_token_that_it_begins_with(
    documents: list[tuple[int, ...]], length: int
) -> None:
    written = [Written(f"d{n}", tuple(100 * n + place for place in range(len(ids)))) for n, ids in enumerate(documents)]
    for item in pack(written, Spelling(None, (), -1, 0, Path()), length)[1:]:
        document, place = item.id.removesuffix(")").split(" (from token ")
        first = item.row.prompt[0]
        assert first in {-1, 100 * int(document[1:]) + int(place)}


def test_what_looks_like_a_special_token_in_a_document_is_text(base: Path) -> None:
    spelling = spelling_of(AutoTokenizer.from_pretrained(base), 512, Path("docs"))
    ids = spelling.write(Document(id="a", text="one<|endoftext|>two<|im_end|>")).ids
    special = {spelling.tokenizer.convert_tokens_to_ids(name) for name in ("<|endoftext|>", "<|im_end|>")}
    assert spelling.end in special
    assert not special & set(ids)
    assert spelling.tokenizer.decode(ids) == "one<|endoftext|>two<|im_end|>"


def test_a_text_ends_as_in_pretraining_and_begins_as_its_tokenizer_begins_it(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert (tokenizer.eos_token, spelling_of(tokenizer, 512, Path()).end) == ("<|im_end|>", 0)
    assert tokenizer.convert_ids_to_tokens(0) == "<|endoftext|>"
    assert spelling_of(tokenizer, 512, Path()).opening == (0,)
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", pair="<|im_start|> $A $B", special_tokens=[("<|im_start|>", begin)]
    )
    assert spelling_of(tokenizer, 512, Path()).opening == (begin,)


def test_a_tokenizer_of_another_model_is_named(base: Path) -> None:
    spelling = spelling_of(AutoTokenizer.from_pretrained(base), 40, Path("docs"))
    with pytest.raises(TrainingError, match=r"docs: document a: token \d+ is outside the model's vocabulary of 40"):
        spelling.write(Document(id="a", text="Überweisung"))


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40, unique=True)


def made(texts: Sequence[str]) -> list[Document]:
    return [Document(id=text, text=text) for text in texts]


@given(NAMES, st.floats(0, 0.5))
def test_no_document_is_in_two_parts_and_none_is_lost(texts: list[str], share: float) -> None:
    split = parts(made(texts), share)
    found = [d.id for d in (*split.train, *split.val, *split.test)]
    assert sorted(found) == sorted(texts)
    assert split.train
    assert bool(split.val) == bool(split.test) == (share > 0 and len(texts) > 2)


def test_the_share_is_held_out_in_two_halves() -> None:
    split = parts(made([f"text {n}" for n in range(2000)]), 0.2)
    # 200 ± 4.5 standard deviations of a binomial
    assert 140 < len(split.val) < 260
    assert 140 < len(split.test) < 260


def test_more_documents_move_none_into_or_out_of_training() -> None:
    few, many = (parts(made([f"text {n}" for n in range(count)]), 0.2) for count in (100, 400))
    for name in ("train", "val", "test"):
        before, after = ({d.id for d in getattr(each, name)} for each in (few, many))
        assert before < after, name


def test_perplexity_by_hand() -> None:
    # 3 tokens at 1/4 each, then at 1/2; one token at 1/2, then at 1/4
    measured = Measured([3, 1], [3 * math.log(1 / 4), math.log(1 / 2)], [3 * math.log(1 / 2), math.log(1 / 4)])
    figures = measured.figures()
    # nats per token: (3 ln 4 + ln 2) / 4 = 7/4 ln 2, then (3 ln 2 + ln 4) / 4 = 5/4 ln 2
    assert figures["perplexity_before"] == pytest.approx(2 ** (7 / 4))
    assert figures["perplexity_after"] == pytest.approx(2 ** (5 / 4))
    assert figures["perplexity_ratio"] == pytest.approx(2 ** (-1 / 2))
    # a sample has the first document only (ratio 1/2), the second only (2), or both
    assert figures["perplexity_ratio_low"] == pytest.approx(1 / 2)
    assert figures["perplexity_ratio_high"] == pytest.approx(2)
    assert (figures["documents"], figures["tokens"]) == (2, 4)


def test_the_interval_of_the_ratio_holds_the_truth_about_as_often_as_it_says() -> None:
    chance, held = random.Random(1), 0
    for _ in range(60):
        gains = [chance.gauss(0.3, 0.2) for _ in range(40)]
        sizes = [chance.randrange(50, 150) for _ in gains]
        after = [gain * size for gain, size in zip(gains, sizes, strict=True)]
        found = Measured(sizes, [0.0] * 40, after).figures()
        held += found["perplexity_ratio_low"] <= math.exp(-0.3) <= found["perplexity_ratio_high"]
    assert held >= 51  # of 57 that are expected; fewer than 51 come in 1 of 100 such trials


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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are split among threads: equal bits need an equal number of them in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this platform")
def test_killed_with_kill_9_it_goes_on_and_knows_what_was_before(base: Path, tmp_path: Path, one_thread: None) -> None:
    del one_thread
    write_corpus(tmp_path, general=12)
    config = CONFIG.model_copy(update={"epochs": 8, "general": ("general",)})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unbroken = train(base, tmp_path, whole, config)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(base), str(killed), config.model_dump_json()]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (killed / "resume.safetensors").exists() or len(curve(killed)) < 6:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (killed / "before.json").exists()
    assert not (killed / "checkpoint.json").exists()
    assert 6 <= len(curve(killed)) < len(curve(whole))
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
