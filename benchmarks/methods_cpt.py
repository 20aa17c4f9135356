"""Continued pretraining on the government corpus: what becomes of held-out domain text, and of general text.

Real data comes from the folder that PRENTICE_DATA names. The figures are of documents that no run was ever given, and
nothing was chosen by them: one run, its settings fixed before it.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from prentice.app.cli.terminal import terminal_progress
from prentice.curation.duplicates import near_pairs
from prentice.models.catalogue import get
from prentice.models.hf import load
from prentice.records import Checkpoint, digest
from prentice.records.documents import Document
from prentice.runs import write_atomic
from prentice.training.batches import micro_batches
from prentice.training.config import AT_ONCE
from prentice.training.cpt.config import CPTConfig
from prentice.training.cpt.corpus import read_corpus
from prentice.training.cpt.packing import spelling_of, windows
from prentice.training.cpt.perplexity import Measured, predicted
from prentice.training.cpt.train import train_documents
from prentice.training.engine import ForestModel
from prentice.training.items import Item
from prentice.training.lora import merge_adapter

Row = dict[str, Any]
WORK = Path(__file__).parents[1] / ".prentice" / "benchmark-cpt"
"""Kept, so that a benchmark that was stopped goes on."""
TEST = 0.1
"""Share of each kind of text that no run is given."""
LEARN = 330_000
"""Characters of the domain's documents that are learnt from, about."""
MEASURE = 55_000
"""Characters of each kind that are measured, about."""
NEAR = 0.5
"""Share of common 5-character pieces from which on a test document is too much like one that is trained on."""
SHOWN = ("method", "learning_rate", "epochs", "max_tokens", "batch", "lora_rank", "general_share", "precision")
WHAT = {
    "domain": "sections and solicitations of GSA and 18F that no run was given",
    "general": "Wikipedia's passages that no run was given, of titles from which none was mixed in",
    "news": "Reuters' sentences of CoNLL++, 25 in a document, of a kind that was not mixed in",
}
LIMITS = {"domain": 0.8, "general": 1.1, "news": 1.1}
CONFIG = CPTConfig(
    documents=("domain.jsonl",),
    general=("general.jsonl",),
    held_out=0.0,
    learning_rate=2e-3,
    batch=2,
    precision="bfloat16",
)
"""Small steps, since there are few tokens."""
ARMS: dict[str, dict[str, Any]] = {
    "full": {"method": "full", "learning_rate": 2e-4},
    "no_general": {"general_share": 0.0},
}
"""What one would do otherwise, laid over it."""


@dataclass(frozen=True)
class Texts:
    """Documents to learn from, and others to measure on."""

    learn: list[Document]
    test: list[Document]
    near: int = 0
    """Test documents that were left out, since one to learn from is too much like them."""


def cpt_rows() -> list[Row]:
    """Perplexity after over perplexity before, of both kinds of text."""
    texts = {"domain": domain(), "general": general(), "news": news()}
    found, done = measured(texts, CONFIG, WORK / "run")
    return [_row(kind, found[kind], texts[kind].near, done) for kind in texts]


def cpt_arm_rows() -> list[Row]:
    """The same of what one would do otherwise, each on the same texts."""
    texts = {"domain": domain(), "general": general()}
    rows: list[Row] = []
    for name, update in ARMS.items():
        found, done = measured(texts, CONFIG.model_copy(update=update), WORK / name)
        made = [_row(kind, found[kind], texts[kind].near, done) for kind in texts]
        rows += [{**row, "name": f"{row['name']}_{name}"} for row in made]
    return rows


def domain() -> Texts:
    """The corpus without the acquisition regulation `far-…`; the parts of one solicitation stay together."""
    rows = [row for row in _rows("gov_corpus.jsonl") if not row["id"].startswith("far-")]
    return _texts([(row["ref"] if row["id"].startswith("18f-") else row["id"], row) for row in rows])


def general() -> Texts:
    """Wikipedia's passages, of HotpotQA and MuSiQue; those of one title stay together."""
    return _texts([(row["title"], row) for row in _rows("multihop_corpus.jsonl")])


def news() -> Texts:
    """Reuters' sentences, 25 in a document: general text of a kind that is not mixed in."""
    with _file("conllpp.csv").open(encoding="utf-8", newline="") as file:
        sentences = [row["input"] for row in csv.DictReader(file) if row["raw_split"] == "test"]
    whole = ["\n".join(sentences[begin : begin + 25]) for begin in range(0, len(sentences), 25)]
    ends = list(accumulate(map(len, whole)))
    return Texts([], [Document(id=f"news-{n}", text=t) for n, t in enumerate(whole) if ends[n] < MEASURE])


def learn(config: CPTConfig, texts: dict[str, Texts], out: Path) -> Checkpoint:
    """A run of the product on what there is to learn from."""
    for kind, each in texts.items():
        lines = "".join(json.dumps(document.model_dump()) + "\n" for document in each.learn)
        if not lines:
            continue
        write_atomic(out / f"{kind}.jsonl", lines)
    base = get("smollm2-135m", offline=True)
    assert base.safetensors is not None
    progress = terminal_progress()
    corpus = read_corpus(config, out, progress)
    return train_documents(config, corpus, base=base.safetensors, out=out, source=base.source, progress=progress)


def measured(texts: dict[str, Texts], config: CPTConfig, run: Path) -> tuple[dict[str, dict[str, float]], Checkpoint]:
    """Train, and see how base and trained model foresee the documents that were not given, in the run's precision."""
    base = get("smollm2-135m", offline=True).safetensors
    assert base is not None
    done = learn(config, texts, run)
    held = {kind: _windows(each.test, base) for kind, each in texts.items()}
    trained = load(run / "model") if done.kind == "full" else merge_adapter(load(base), run / "adapter")
    narrow = config.precision == "bfloat16"
    scores = [
        {kind: _scores(ForestModel(model, narrow=narrow), some) for kind, some in held.items()}
        for model in (load(base), trained)
    ]
    tokens = {kind: [predicted(document) for document in some] for kind, some in held.items()}
    return {kind: Measured(tokens[kind], *(each[kind] for each in scores)).figures() for kind in held}, done


def _windows(documents: Sequence[Document], base: Path) -> list[list[Item]]:
    tokenizer = AutoTokenizer.from_pretrained(base)
    spelling = spelling_of(tokenizer, len(tokenizer), WORK)
    return windows([spelling.write(document) for document in documents], spelling, CONFIG.max_tokens)


def _scores(model: ForestModel, texts: Sequence[Sequence[Item]]) -> list[float]:
    """Log-probability of each document."""
    found = [0.0] * len(texts)
    place = {id(item): number for number, text in enumerate(texts) for item in text}
    for part in micro_batches([item for text in texts for item in text], AT_ONCE):
        with torch.no_grad():
            told = model(model.batch([item.row for item in part]))
        for item, each in zip(part, torch.split(told, [len(item.row.reply) for item in part]), strict=True):
            found[place[id(item)]] += float(each.double().sum())
    return found


def _row(kind: str, known: dict[str, float], near: int, done: Checkpoint) -> Row:
    learnt = round(done.figures["supervised_seen"])
    return {
        "name": f"cpt_{kind}_perplexity_ratio",
        "ours": known["perplexity_ratio"],
        "rival": None,
        "ratio": None,
        "unit": "of the base's perplexity",
        "n": round(known["documents"]),
        "interval": [known["perplexity_ratio_low"], known["perplexity_ratio_high"]],
        "limit": LIMITS[kind],
        "before": known["perplexity_before"],
        "after": known["perplexity_after"],
        "tokens": round(known["tokens"]),
        "tokens_learnt": learnt,
        "seconds": done.seconds,
        "recipe": {name: done.recipe[name] for name in SHOWN},
        "note": f"{WHAT[kind]}: {known['documents']:.0f} documents, {known['tokens']:,.0f} tokens, windows of "
        f"{CONFIG.max_tokens}; {near} more were too much like one that is trained on and left out; SmolLM2-135M, "
        f"{learnt:,} tokens learnt; interval: bootstrap over documents, one seed",
    }


def _texts(named: Sequence[tuple[str, Row]]) -> Texts:
    """Documents to learn from and to measure on, of different groups; of the latter none that nearly repeats one of the
    former.

    Args:
        named: group and document.
    """
    ordered = sorted(named, key=lambda each: (_number(each[1]["id"]), each[1]["id"]))
    test = _first([row for group, row in ordered if _number(group) < TEST], MEASURE)
    learn = _first([row for group, row in ordered if _number(group) >= TEST], LEARN)
    pairs = near_pairs([document.content for document in (*learn, *test)], NEAR, 0)
    near = {later for later, earlier in pairs if later >= len(learn) > earlier}
    return Texts(learn, [d for place, d in enumerate(test, len(learn)) if place not in near], len(near))


def _first(rows: Sequence[Row], most: int) -> list[Document]:
    """The first documents, up to the one with which they have so many characters."""
    documents = [Document(id=row["id"], title=row["title"], text=row["text"]) for row in rows]
    ends = list(accumulate(len(document.content) for document in documents))
    return documents[: sum(end < most for end in ends) + 1]


def _rows(name: str) -> list[Row]:
    with _file(name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _file(name: str) -> Path:
    if "PRENTICE_DATA" not in os.environ:
        sys.exit("PRENTICE_DATA is not set: it names the folder with the real data")
    return Path(os.environ["PRENTICE_DATA"]) / name


def _number(name: str) -> float:
    """A number from 0 to 1 that a name always has."""
    return int(digest(name)[:12], 16) / 16**12
