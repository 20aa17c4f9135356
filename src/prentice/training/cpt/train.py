"""Continued pretraining: a base and documents in, a checkpoint out that says what became of both kinds of text."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, ModelSource, digest
from prentice.records.documents import Document
from prentice.training.cpt.config import CPTConfig
from prentice.training.cpt.corpus import Corpus
from prentice.training.cpt.packing import Spelling, Written, pack, spelling_of, windows
from prentice.training.cpt.perplexity import outcome, perplexity_gauge, predicted
from prentice.training.items import Item
from prentice.training.losses import sft_loss
from prentice.training.method import Method
from prentice.training.run import ALONE, Links, Origin, Run, finished_checkpoint
from prentice.training.start import Start, open_model, read_base

CPT = Method("cpt", sft_loss)
"""The loss of fine-tuning, over rows of which every token is supervised."""
MOST = 50_000
"""Tokens of a kind that are measured, about: two minutes on two cores for a model of 135M."""
T = TypeVar("T")
_SILENT = Silent()


@dataclass(frozen=True)
class Rows:
    """A corpus as rows for one base.

    Args:
        train: packed.
        val: held-out documents, each by itself.
        measured: by kind of text, each document's windows.
        general: tokens of general text among those of `train`.
    """

    train: list[Item]
    val: list[Item]
    measured: dict[str, list[list[Item]]]
    general: int

    @property
    def told(self) -> str:
        """One line on what is trained on and what is measured."""
        tokens = sum(len(item.row.reply) for item in self.train)
        held = [f"{predicted(chain(*texts)):,} of {name}" for name, texts in self.measured.items()]
        return (
            f"{tokens:,} tokens to learn, {self.general / tokens:.0%} of them general text, in {len(self.train):,} "
            f"rows; held out: {predicted(self.val):,} tokens to choose by; {', '.join(held) or 'nothing'} to measure"
        )


def train_documents(
    config: CPTConfig,
    corpus: Corpus,
    *,
    base: Path,
    out: Path,
    source: ModelSource,
    links: Links = ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """Train `base` to continue the corpus's documents; the same call after a kill goes on where it stood.

    The checkpoint's figures hold the perplexity before and after, on held-out documents (`domain_perplexity_…`) and on
    held-out general text (`general_perplexity_…`).

    Args:
        config: how to train.
        corpus: what `read_corpus` has read.
        base: transformers folder: safetensors, tokenizer.
        out: gets `checkpoint.json`, `adapter/` or `model/`, and `curve.jsonl`.
        source: where the base came from.
        links: what the run may ask of the world around it.
        progress: where to report.
    Raises: TrainingError if the base cannot be trained, a loss is not a number, or memory is short.
    """
    name = digest([source.sha256, corpus.hash, "cpt", config.recipe()])
    if (finished := finished_checkpoint(out, name)) is not None:
        return finished
    rows = rows_of(config, corpus, base, progress)
    for line in (*corpus.told, rows.told):
        progress.say(line)
    start = Start(open_model(config, base, links.place), rows.train, rows.val, corpus.where)
    origin, gauge = Origin(base, source, corpus.hash), perplexity_gauge(rows.measured)
    # the reference keeps every layer's attention: whole rows would need several times the memory of the run
    checkpoint = Run(name, config, CPT, start, origin, out, links, gauge=gauge).carry_out(progress)
    for line in outcome(checkpoint.figures):
        progress.say(line)
    return checkpoint


def rows_of(config: CPTConfig, corpus: Corpus, base: Path, progress: Progress = _SILENT) -> Rows:
    """The corpus as rows for this base.

    Raises: TrainingError if the base cannot be read, or its tokenizer is another model's.
    """
    tokenizer, settings = read_base(base)
    text = settings.get_text_config()
    length = min(config.max_tokens, getattr(text, "max_position_embeddings", config.max_tokens))
    spelling = spelling_of(tokenizer, text.vocab_size, corpus.where)
    domain = _all(corpus.domain.train, spelling, progress)
    share = config.general_share / (1 - config.general_share)
    general = _some(_shuffled(corpus.general.train, config.seed), spelling, share * _length(domain)) if share else []
    train = pack(_shuffled([*domain, *general], config.seed), spelling, length)
    val = windows(_some(corpus.domain.val, spelling, MOST), spelling, length)
    tests = {"domain": corpus.domain.test, "general": corpus.general.test}
    held = {name: _some(documents, spelling, MOST) for name, documents in tests.items() if documents}
    measured = {name: windows(documents, spelling, length) for name, documents in held.items()}
    return Rows(train, list(chain(*val)), measured, _length(general))


def _all(documents: Sequence[Document], spelling: Spelling, progress: Progress) -> list[Written]:
    written = []
    with progress.bar("tokenising", len(documents), "documents") as bar:
        for document in documents:
            written.append(spelling.write(document))
            bar.advance()
    return written


def _some(documents: Sequence[Document], spelling: Spelling, most: float) -> list[Written]:
    """The first documents, up to the one with which they have so many tokens."""
    written: list[Written] = []
    tokens = 0
    for document in documents:
        if tokens >= most:
            break
        written.append(spelling.write(document))
        tokens += len(written[-1].ids) + 1
    return written


def _shuffled(things: Sequence[T], seed: int) -> list[T]:
    order = list(things)
    random.Random(seed).shuffle(order)
    return order


def _length(documents: Iterable[Written]) -> int:
    """Tokens of the documents, their ends included."""
    return sum(len(document.ids) + 1 for document in documents)
