"""Continued pretraining on the government corpus: what becomes of held-out domain text, and of general text.

Real data comes from the folder that PRENTICE_DATA names. What the product holds out by itself chose method and
learning rate (`trial`: `python benchmarks/methods_cpt.py`); the figures are of documents that no run was ever given.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
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
"""Share of the domain's documents that no run is given."""
GENERAL_TEST = 300
"""Passages of general text that no run is given."""
GENERAL = 3000
"""Passages that may be mixed in."""
NEAR = 0.5
"""Share of common 5-character pieces from which on a test document is too much like one that is trained on."""
SHOWN = ("method", "learning_rate", "epochs", "max_tokens", "batch", "lora_rank", "general_share", "precision")
LIMITS = {"domain": 0.8, "general": 1.1}
CONFIG = CPTConfig(documents=("domain.jsonl",), general=("general.jsonl",), general_share=0.1)


@dataclass(frozen=True)
class Texts:
    """Documents to learn from, and others to measure on."""

    learn: list[Document]
    test: list[Document]
    near: int = 0
    """Test documents that were left out, since one to learn from is too much like them."""


def cpt_rows() -> list[Row]:
    """Perplexity after over perplexity before, of both kinds of text."""
    texts = {"domain": domain(), "general": general()}
    base = get("smollm2-135m", offline=True)
    checkpoint = learn(CONFIG, texts, WORK / "run")
    assert base.safetensors is not None
    figures = {kind: measured(each.test, base.safetensors, WORK / "run", CONFIG) for kind, each in texts.items()}
    return [_row(kind, figures[kind].figures(kind), texts[kind], checkpoint) for kind in texts]


def trial() -> None:
    """Methods and learning rates on a twelfth of the documents, judged by what the product holds out of them."""
    texts = {"domain": domain(), "general": general()}
    few = {"domain": Texts(texts["domain"].learn[::12], []), "general": texts["general"]}
    for method, rates in (("lora", (5e-4, 1e-3, 2e-3, 4e-3)), ("full", (5e-5, 1e-4, 2e-4, 4e-4))):
        for rate in rates:
            config = CONFIG.model_copy(update={"method": method, "learning_rate": rate, "held_out": 0.2})
            done = learn(config, few, WORK / f"trial-{method}-{rate}")
            wanted = ("val_loss", "loss_last", "domain_perplexity_ratio", "general_perplexity_ratio")
            known = {name: round(done.figures[name], 4) for name in wanted}
            print(json.dumps({"method": method, "rate": rate, "seconds": done.seconds, **known}), flush=True)


def domain() -> Texts:
    """The corpus without the acquisition regulation `far-…`; the parts of one solicitation stay together."""
    rows = [row for row in _rows("gov_corpus.jsonl") if not row["id"].startswith("far-")]
    documents = [(row["ref"] if row["id"].startswith("18f-") else row["id"], _document(row)) for row in rows]
    test = [document for group, document in documents if _number(group) < TEST]
    learn = [document for group, document in documents if _number(group) >= TEST]
    return _apart(learn, test)


def general() -> Texts:
    """Wikipedia's passages, of HotpotQA and MuSiQue; those of one title stay together."""
    rows = sorted(_rows("multihop_corpus.jsonl"), key=lambda row: (_number(row["title"]), row["id"]))
    border = rows[GENERAL_TEST]["title"]
    test = [row for row in rows[:GENERAL_TEST] if row["title"] != border]
    learn = [row for row in rows[GENERAL_TEST : GENERAL_TEST + GENERAL] if row["title"] != border]
    return _apart([_document(row) for row in learn], [_document(row) for row in test])


def learn(config: CPTConfig, texts: dict[str, Texts], out: Path) -> Checkpoint:
    """A run of the product on what there is to learn from."""
    for kind, each in texts.items():
        lines = "".join(json.dumps(document.model_dump()) + "\n" for document in each.learn)
        write_atomic(out / f"{kind}.jsonl", lines)
    base = get("smollm2-135m", offline=True)
    assert base.safetensors is not None
    progress = terminal_progress()
    corpus = read_corpus(config, out, progress)
    return train_documents(config, corpus, base=base.safetensors, out=out, source=base.source, progress=progress)


def measured(documents: Sequence[Document], base: Path, run: Path, config: CPTConfig) -> Measured:
    """The documents as the base foresees them, and as the trained model does."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    spelling = spelling_of(tokenizer, len(tokenizer), run)
    texts = windows([spelling.write(document) for document in documents], spelling, config.max_tokens)
    full = (run / "model").exists()
    models = (load(base), load(run / "model") if full else merge_adapter(load(base), run / "adapter"))
    scored = [[_score(ForestModel(model), text) for text in texts] for model in models]
    return Measured([predicted(text) for text in texts], *scored)


def _score(model: ForestModel, text: Sequence[Item]) -> float:
    with torch.no_grad():
        return sum(float(model(model.batch([item.row])).double().sum()) for item in text)


def _row(kind: str, figures: dict[str, float], texts: Texts, done: Checkpoint) -> Row:
    known = {name.removeprefix(f"{kind}_"): value for name, value in figures.items()}
    ends = known["perplexity_ratio_low"], known["perplexity_ratio_high"]
    learnt = round(done.figures["supervised_seen"])
    what = {
        "domain": "sections and solicitations of GSA and 18F that no run was given",
        "general": "Wikipedia's passages that no run was given, of titles from which none was mixed in",
    }
    return {
        "name": f"cpt_{kind}_perplexity_ratio",
        "ours": known["perplexity_ratio"],
        "rival": None,
        "ratio": None,
        "unit": "of the base's perplexity",
        "n": round(known["documents"]),
        "interval": list(ends),
        "limit": LIMITS[kind],
        "before": known["perplexity_before"],
        "after": known["perplexity_after"],
        "tokens": round(known["tokens"]),
        "tokens_learnt": learnt,
        "seconds": done.seconds,
        "recipe": {name: done.recipe[name] for name in SHOWN},
        "product": {name: value for name, value in done.figures.items() if name.startswith(kind)},
        "note": f"{what[kind]}: {known['documents']:.0f} documents, {known['tokens']:,.0f} tokens, windows of "
        f"{CONFIG.max_tokens}; {texts.near} more were too much like one that is trained on and left out; SmolLM2-135M, "
        f"{learnt:,} tokens learnt; interval: bootstrap over documents, one seed",
    }


def _apart(learn: list[Document], test: list[Document]) -> Texts:
    """The test documents without those that nearly repeat one to learn from."""
    texts = [document.content for document in (*learn, *test)]
    pairs = near_pairs(texts, NEAR, 0)
    near = {later for later, earlier in pairs if later >= len(learn) > earlier}
    return Texts(learn, [d for place, d in enumerate(test, len(learn)) if place not in near], len(near))


def _rows(name: str) -> list[Row]:
    if "PRENTICE_DATA" not in os.environ:
        sys.exit("PRENTICE_DATA is not set: it names the folder with the real data")
    with (Path(os.environ["PRENTICE_DATA"]) / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _document(row: Row) -> Document:
    return Document(id=row["id"], title=row["title"], text=row["text"])


def _number(name: str) -> float:
    """A number from 0 to 1 that a name always has."""
    return int(digest(name)[:12], 16) / 16**12


if __name__ == "__main__":
    trial()
