"""Supervised fine-tuning: a base model and a dataset in, a checkpoint out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, Example, ModelSource, digest
from prentice.records.parquet import ROWS, read_dataset, rows_hash
from prentice.training.config import SFTConfig
from prentice.training.losses import importance_loss, sft_loss
from prentice.training.method import Method
from prentice.training.run import ALONE, Links, Origin, Run, finished_checkpoint
from prentice.training.start import SomeTokens, open_checker, open_start

SFT = Method("sft", sft_loss)
# weighted by importance, a row that the student unlearns would seem learnt: validation looks at the plain loss
IMPORTANCE = Method("sft", importance_loss, measure=sft_loss, reference=True)
_SILENT = Silent()


def train_sft(
    config: SFTConfig,
    *,
    dataset: Path,
    base: Path,
    out: Path,
    source: ModelSource,
    links: Links = ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """Fine-tune `base` on the dataset in folder `dataset`; the same call after a kill goes on where it stood.

    Args:
        config: how to train.
        dataset: folder of a dataset.
        base: transformers folder: safetensors, tokenizer, chat template.
        out: gets `checkpoint.json`, `adapter/` or `model/`, and `curve.jsonl`.
        source: where the base came from.
        links: what the run may ask of the world around it.
        progress: where to report.
    Raises: TrainingError if a row or the architecture cannot be trained, a loss is not a number, or memory is short.
    """
    _, examples = read_dataset(dataset)
    where = dataset / ROWS
    return train_examples(config, examples, where, base=base, out=out, source=source, links=links, progress=progress)


def check_examples(config: SFTConfig, dataset: Path, base: Path, serving_tokens: SomeTokens | None) -> int:
    """See that every row of the dataset can be trained; returns how many there are to train on.

    Raises: TrainingError naming the first that cannot.
    """
    _, examples = read_dataset(dataset)
    open_checker(config.max_tokens, dataset / ROWS, base, serving_tokens).check(examples)
    return sum(example.split == "train" for example in examples)


def train_examples(
    config: SFTConfig,
    examples: Sequence[Example],
    where: Path,
    *,
    base: Path,
    out: Path,
    source: ModelSource,
    links: Links = ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """As `train_sft`, with the examples at hand; `where` names them in errors."""
    data = rows_hash(examples)
    name = digest([source.sha256, data, "sft", config.recipe()])
    if (finished := finished_checkpoint(out, name)) is not None:
        return finished
    run = Run(
        name,
        config,
        IMPORTANCE if config.weights == "importance" else SFT,
        open_start(config, examples, where, base, links.serving_tokens, links.place),
        Origin(base, source, data),
        out,
        links,
        by_weight=config.weights == "quality",
    )
    return run.carry_out(progress)
