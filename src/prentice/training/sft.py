"""Supervised fine-tuning: a base model and a dataset in, a checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer

from prentice import __version__
from prentice.errors import TrainingError
from prentice.models.chat import ChatFormat
from prentice.models.floats import quiet, weights_on_full_disk
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, Example, ModelSource, digest
from prentice.records.parquet import ROWS, read_dataset, rows_hash
from prentice.runs import folder_atomic, read_record, write_atomic
from prentice.training import state
from prentice.training.check import CheckedRow, Checker, stop_ids
from prentice.training.config import SFTConfig
from prentice.training.engine import ForestModel
from prentice.training.forest import Forest
from prentice.training.loop import Course, Loop, Plan
from prentice.training.lora import add_adapter
from prentice.training.proof import prove

RECORD, ADAPTER, FULL = "checkpoint.json", "adapter", "model"
BESIDE_WEIGHTS = ("tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "chat_template*")
_SILENT = Silent()
PROOF_ROWS = 6
"""Rows whose gradient is compared with the padded batch's before the first step."""


def sft_loss(logprobs: Tensor, forest: Forest) -> Tensor:
    """Negative log-likelihood of the supervised tokens, weighted by row, summed."""
    return -(logprobs * forest.weights).sum()


def train_sft(
    config: SFTConfig,
    *,
    dataset: Path,
    base: Path,
    out: Path,
    source: ModelSource,
    serving_tokens: Callable[[str], list[int]] | None = None,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """Fine-tune `base` on the dataset in folder `dataset`; the same call after a kill goes on where it stood.

    Args:
        config: how to train.
        dataset: folder of a dataset.
        base: transformers folder: safetensors, tokenizer, chat template.
        out: gets `checkpoint.json`, `adapter/` or `model/`, and `curve.jsonl`.
        source: where the base came from.
        serving_tokens: text → ids as the inference server tokenises it; compared with what is trained on.
        progress: where to report.
    Raises: TrainingError if a row or the architecture cannot be trained, or a loss is not a number.
    """
    _, examples = read_dataset(dataset)
    where = dataset / ROWS
    return train_examples(
        config, examples, where, base=base, out=out, source=source, serving_tokens=serving_tokens, progress=progress
    )


def train_examples(
    config: SFTConfig,
    examples: Sequence[Example],
    where: Path,
    *,
    base: Path,
    out: Path,
    source: ModelSource,
    serving_tokens: Callable[[str], list[int]] | None = None,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """As `train_sft`, with the examples at hand; `where` names them in errors."""
    data = rows_hash(examples)
    # how often the state is saved changes nothing that is learnt
    recipe = config.model_dump(mode="json", exclude={"save_seconds"})
    name = digest([source.sha256, data, "sft", recipe])
    record = out / RECORD
    if record.exists() and (finished := read_record(Checkpoint, record)).id == name:
        return finished
    out.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    run = _open(config, examples, where, base, serving_tokens)
    progress.say(run.announcement(config))
    loop = Loop(run.model, sft_loss, run.train, run.val, _plan(config), out, name, where)
    course = loop.run(progress)
    _write_weights(run, base, out, source)
    checkpoint = Checkpoint(
        id=name,
        kind="adapter" if config.method == "lora" else "full",
        base=source,
        dataset=data,
        method="sft",
        recipe=recipe,
        code=__version__,
        steps=course.step,
        seconds=round(course.seconds, 3),
        figures=_figures(run, course),
    )
    write_atomic(record, checkpoint.model_dump_json(indent=2) + "\n")
    state.drop(out)
    return checkpoint


@dataclass(frozen=True)
class _Run:
    """A run that may start: everything in it has been checked."""

    model: ForestModel
    train: list[CheckedRow]
    val: list[CheckedRow]
    difference: float
    """What the comparison with the padded batch found."""

    def announcement(self, config: SFTConfig) -> str:
        """One line on what is about to be trained."""
        tokens = sum(len(r.row.tokens) for r in self.train)
        learnt = sum(len(r.row.reply) for r in self.train)
        weights = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return (
            f"{len(self.train):,} rows, {tokens:,} tokens of which {learnt / tokens:.0%} are supervised; "
            f"{weights / 1e6:.1f} M weights trained ({config.method}, {config.precision}); "
            f"gradient against the padded batch: {self.difference:.2g}"
        )


def _open(
    config: SFTConfig,
    examples: Sequence[Example],
    where: Path,
    base: Path,
    serving_tokens: Callable[[str], list[int]] | None,
) -> _Run:
    """Load, check every row, compare one micro-batch: after this the first step may be taken."""
    tokenizer, settings = _read(base)
    room = getattr(settings.get_text_config(), "max_position_embeddings", config.max_tokens)
    checker = Checker(
        tokenizer=tokenizer,
        chat=ChatFormat.from_folder(base),
        max_tokens=min(config.max_tokens, room),
        stops=stop_ids(tokenizer, base),
        vocabulary=settings.get_text_config().vocab_size,
        serving_tokens=serving_tokens,
        where=where,
    )
    rows = checker.check(examples)
    train = [r for r in rows if r.example.split == "train"]
    if not train:
        raise TrainingError(f"{where}: none of its {len(rows)} rows is in the split `train`", "curate more episodes")
    narrow = config.precision == "bfloat16"
    with quiet():
        # trained weights stay float32, or small updates would be rounded away; frozen ones need no more than they use
        dtype = torch.bfloat16 if narrow and config.method == "lora" else torch.float32
        lm = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    model = ForestModel(_prepare(config, lm), narrow=narrow).to("cuda" if torch.cuda.is_available() else "cpu")
    difference = prove(model, [r.row for r in train[:PROOF_ROWS]])
    return _Run(model, train, [r for r in rows if r.example.split == "val"], difference)


def _read(base: Path) -> tuple[Any, Any]:
    """Tokenizer and settings of a transformers folder."""
    try:
        settings = AutoConfig.from_pretrained(base)
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{base}: {str(error).splitlines()[0]}", "get the base again") from error
    if type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise TrainingError(
            f"{settings.model_type}: it is no decoder that continues text, so it cannot be trained here"
        )
    return tokenizer, settings


def _prepare(config: SFTConfig, lm: Any) -> Any:
    """The model with what is to be trained switched on."""
    torch.manual_seed(config.seed)
    if config.method == "full":
        return lm
    recipe = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return add_adapter(lm, recipe)


def _plan(config: SFTConfig) -> Plan:
    return Plan(
        epochs=config.epochs,
        batch=config.batch,
        micro_tokens=config.micro_tokens,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        seed=config.seed,
        save_seconds=config.save_seconds,
    )


def _write_weights(run: _Run, base: Path, out: Path, source: ModelSource) -> None:
    trained = run.model.model
    if not hasattr(trained, "peft_config"):
        with folder_atomic(out / FULL) as scratch, quiet(), weights_on_full_disk(out):
            trained.set_attn_implementation("sdpa")
            trained.save_pretrained(scratch)
            for pattern in BESIDE_WEIGHTS:
                for path in base.glob(pattern):
                    shutil.copyfile(path, scratch / path.name)
        return
    # a path of this machine would mean nothing elsewhere
    trained.peft_config["default"].base_model_name_or_path = source.name
    with folder_atomic(out / ADAPTER) as scratch, weights_on_full_disk(out):
        trained.save_pretrained(scratch, save_embedding_layers=False)


def _figures(run: _Run, course: Course) -> dict[str, float]:
    supervised = sum(len(r.row.reply) for r in run.train)
    visits = sum(line["rows"] for line in course.curve)
    figures = {
        "rows": float(len(run.train)),
        "visits": visits,
        "rows_per_second": visits / max(course.seconds, 1e-9),
        "supervised_tokens": float(supervised),
        "tokens_per_second": sum(line["tokens"] for line in course.curve) / max(course.seconds, 1e-9),
        "loss_first": course.curve[0]["loss"],
        "loss_last": course.curve[-1]["loss"],
        "gradient_difference": run.difference,
    }
    if course.best is not None:
        figures["val_loss"] = course.best_loss
    return figures
