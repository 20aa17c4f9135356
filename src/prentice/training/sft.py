"""Supervised fine-tuning: a base model and a dataset in, a checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator, DistributedType

from prentice import __version__
from prentice.errors import TrainingError
from prentice.models.floats import copy_beside, quiet, weights_on_full_disk
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, Example, ModelSource, digest
from prentice.records.parquet import ROWS, read_dataset, rows_hash
from prentice.runs import folder_atomic, read_record, write_atomic
from prentice.training import state
from prentice.training.batches import micro_batches
from prentice.training.check import CheckedRow
from prentice.training.compared import compared
from prentice.training.config import SFTConfig
from prentice.training.faults import MANY_WEIGHTS, NotANumberError, at_once, memory_named
from prentice.training.loop import Course, Judge, Loop, Plan
from prentice.training.losses import REFERENCE, importance_loss, sft_loss
from prentice.training.proof import prove
from prentice.training.start import SomeTokens, Start, open_start

RECORD, ADAPTER, FULL, LAST_GOOD = "checkpoint.json", "adapter", "model", "last-good"
_SILENT = Silent()


@dataclass(frozen=True)
class Links:
    """What a run may ask of the world around it.

    Args:
        serving_tokens: text → ids as the inference server tokenises it; compared with what is trained on.
        score: folder of a checkpoint's weights, ids of validation cases → share of them that the student solves.
        accelerator: the processes that train together; None: this one alone.
    """

    serving_tokens: SomeTokens | None = None
    score: Callable[[Path, Sequence[str]], float] | None = None
    accelerator: Accelerator | None = None


_ALONE = Links()


def train_sft(
    config: SFTConfig,
    *,
    dataset: Path,
    base: Path,
    out: Path,
    source: ModelSource,
    links: Links = _ALONE,
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


def train_examples(
    config: SFTConfig,
    examples: Sequence[Example],
    where: Path,
    *,
    base: Path,
    out: Path,
    source: ModelSource,
    links: Links = _ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """As `train_sft`, with the examples at hand; `where` names them in errors."""
    data = rows_hash(examples)
    recipe = config.recipe()
    name = digest([source.sha256, data, "sft", recipe])
    if (finished := finished_checkpoint(out, name)) is not None:
        return finished
    out.mkdir(parents=True, exist_ok=True)
    (out / RECORD).unlink(missing_ok=True)
    start = open_start(config, examples, where, base, links.serving_tokens, _place(links.accelerator))
    # a model that FSDP will share out lies in the processor's memory until then
    device = links.accelerator.device if links.accelerator else start.model.device
    run = _Run(config.on(gpu=device.type == "cuda"), start, base, out, source)
    loop = run.loop(name, links)
    progress.say(run.announcement())
    with run.last_good_kept(loop):
        course = loop.run(progress)
    run.write_weights(loop, out)
    checkpoint = Checkpoint(
        id=name,
        kind="full" if config.method == "full" else "adapter",
        base=source,
        dataset=data,
        method="sft",
        recipe=recipe,
        code=__version__,
        steps=course.step,
        seconds=round(course.seconds, 3),
        figures=run.figures(course, loop.share_of_weights),
    )
    if loop.accelerator.is_main_process:
        shutil.rmtree(out / LAST_GOOD, ignore_errors=True)  # of a run that failed here before
        write_atomic(out / RECORD, checkpoint.model_dump_json(indent=2) + "\n")
        state.drop(out)
    loop.accelerator.wait_for_everyone()
    return checkpoint


def _place(accelerator: Accelerator | None) -> torch.device | None:
    """Where this process loads the model to: what FSDP shares out goes to a GPU part by part, it may not fit whole."""
    if accelerator is None:
        return None
    return torch.device("cpu") if accelerator.distributed_type == DistributedType.FSDP else accelerator.device


def finished_checkpoint(out: Path, name: str) -> Checkpoint | None:
    """The checkpoint of that id, if it lies in `out`."""
    record = out / RECORD
    finished = read_record(Checkpoint, record) if record.exists() else None
    return finished if finished is not None and finished.id == name else None


class _Run:
    """A run that may start: everything in it has been checked.

    Args:
        start: model and rows.
        base: the base's folder.
        out: the checkpoint's folder.
        source: where the base came from.
    """

    def __init__(self, config: SFTConfig, start: Start, base: Path, out: Path, source: ModelSource) -> None:
        self.config, self.start, self.base, self.out, self.source = config, start, base, out, source
        self.difference: float | None = None
        """What the comparison with the padded batch found; None: not compared."""

    def loop(self, name: str, links: Links) -> Loop:
        """The loop over these rows; one micro-batch has been compared with the padded one."""
        start, importance = self.start, self.config.weights == "importance"
        loop = Loop(
            start,
            importance_loss if importance else sft_loss,
            _plan(self.config),
            out=self.out,
            fingerprint=name,
            accelerator=links.accelerator,
        )
        if not (start.model.narrow and loop.sharded):  # its weights cannot be taken to float32 and back
            some = start.train[: compared([len(r.row.tokens) for r in start.train])]
            # micro_tokens does not say how many are compared
            with memory_named(*at_once(some, "when the gradient was compared with the padded batch's", cut=0)):
                self.difference = prove(loop.model, [r.row for r in some], through=loop.wrapped)
        if importance:
            loop.rows = _referenced(start.train, loop, self.config)
            loop.measure = sft_loss  # weighted by importance, a row that the student unlearns would seem learnt
        loop.judge = self._judge(loop, links)
        loop.keeps_good = self.config.method != "full" and loop.accelerator.num_processes == 1
        return loop

    def _judge(self, loop: Loop, links: Links) -> Judge | None:
        if self.config.select.by == "loss":
            if self.config.select.patience and not self.start.val:
                raise TrainingError(
                    f"train.sft.select.patience = {self.config.select.patience} waits for a better validation, and no "
                    "validation rows are set aside",
                    "set it to 0, or curate.val_share above 0",
                )
            return None
        cases = list(dict.fromkeys(row.example.case for row in self.start.val))[: self.config.select.cases]
        score = links.score
        if score is None or not cases or loop.accelerator.num_processes > 1:
            reason = "no validation rows are set aside" if not cases else "only one process, in a project, can play"
            raise TrainingError(
                f'train.sft.select.by = "success" needs the student to play validation cases: {reason}',
                'set it to "loss", or curate.val_share above 0',
            )

        def judge() -> float:
            with TemporaryDirectory(dir=self.out) as folder:
                self.write_weights(loop, Path(folder))
                return score(Path(folder), cases)

        return judge

    def announcement(self) -> str:
        """One line on what is about to be trained."""
        start = self.start
        tokens = sum(len(r.row.tokens) for r in start.train)
        learnt = sum(len(r.row.reply) for r in start.train)
        weights = sum(p.numel() for p in start.model.parameters() if p.requires_grad)
        compared = "not compared" if self.difference is None else f"{self.difference:.2g}"
        line = (
            f"{len(start.train):,} rows, {tokens:,} tokens of which {learnt / tokens:.0%} are supervised; "
            f"{weights / 1e6:.1f} M weights trained ({self.config.method}, {self.config.precision}); "
            f"gradient against the padded batch: {compared}"
        )
        why = start.model.obstacle
        return f"{line}\n{why}, so prefixes cannot be shared exactly: rows are padded, which is slower" if why else line

    @contextmanager
    def last_good_kept(self, loop: Loop) -> Iterator[None]:
        """Where a loss is no number, the last weights known to be good are written as a checkpoint's are."""
        try:
            yield
        except NotANumberError as error:
            step, weights = loop.good or (0, loop.best)
            if weights is None or loop.accelerator.num_processes > 1:
                raise
            folder = self.out / LAST_GOOD
            state.restore(loop.model, weights)
            self.write_weights(loop, folder)
            which = f"the weights after step {step}" if step else "the weights that were best in validation"
            raise TrainingError(error.problem, f"{error.hint}; {which} are in {folder}") from error

    def write_weights(self, loop: Loop, out: Path) -> None:
        """Write `adapter/` or `model/` into `out`; every process must ask, the first one writes."""
        with memory_named("when the weights were written", MANY_WEIGHTS):
            self._write_weights(loop, out)

    def _write_weights(self, loop: Loop, out: Path) -> None:
        trained = loop.model.model
        sharded = dict(trained.named_parameters()) if self.config.method == "full" else state.trained(trained)
        weights = state.whole(sharded) if loop.sharded else None
        if not loop.accelerator.is_main_process:
            return
        out.mkdir(parents=True, exist_ok=True)
        if self.config.method == "full":
            with folder_atomic(out / FULL) as scratch, quiet(), weights_on_full_disk(out):
                with loop.model.as_it_came():
                    trained.save_pretrained(scratch, state_dict=weights)
                copy_beside(self.base, scratch)
            return
        # a path of this machine would mean nothing elsewhere
        trained.peft_config["default"].base_model_name_or_path = self.source.name
        with folder_atomic(out / ADAPTER) as scratch, weights_on_full_disk(out):
            trained.save_pretrained(scratch, save_embedding_layers=False, state_dict=weights)

    def figures(self, course: Course, held: float) -> dict[str, float]:
        """What the checkpoint's record says of the run; `held`: share of the weights in each process."""
        seconds = max(course.seconds, 1e-9)
        visits = sum(line["rows"] for line in course.curve)
        figures = {
            "rows": float(len(self.start.train)),
            "visits": visits,
            "rows_per_second": visits / seconds,
            "supervised_tokens": float(sum(len(r.row.reply) for r in self.start.train)),
            "supervised_seen": sum(line["supervised"] for line in course.curve),
            "tokens_per_second": sum(line["tokens"] for line in course.curve) / seconds,
            "weights_held": held,
            "loss_first": course.curve[0]["loss"],
            "loss_last": course.curve[-1]["loss"],
        }
        if self.difference is not None:
            figures["gradient_difference"] = self.difference
        kept = max((line for line in course.curve if "val_loss" in line or "score" in line), key=_goodness, default={})
        return figures | {name: kept[name] for name in ("val_loss", "score") if name in kept}


def _goodness(line: dict[str, float]) -> float:
    return line.get("score", -line.get("val_loss", 0.0))


def _referenced(rows: Sequence[CheckedRow], loop: Loop, config: SFTConfig) -> list[CheckedRow]:
    """The rows with what the untrained student thinks of their supervised tokens; every process must ask for all."""
    known: dict[str, tuple[float, ...]] = {}
    with torch.no_grad():
        for part in micro_batches(rows, config.micro_tokens, padded=bool(loop.model.obstacle)):
            with memory_named(*at_once(part, "when the untrained student was asked", config.micro_tokens)):
                batch = loop.model.batch([r.row for r in part])
                found = torch.split(loop.wrapped(batch), [len(r.row.reply) for r in part])
            known |= {r.example.id: tuple(x.tolist()) for r, x in zip(part, found, strict=True)}
    return [replace(r, row=replace(r.row, given={REFERENCE: known[r.example.id]})) for r in rows]


def _plan(config: SFTConfig) -> Plan:
    return Plan(
        epochs=config.epochs,
        batch=config.batch,
        micro_tokens=config.micro_tokens,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        warmup=config.warmup,
        seed=config.seed,
        by_weight=config.weights == "quality",
        patience=config.select.patience,
        save_seconds=config.save_seconds,
    )
