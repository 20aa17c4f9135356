"""A training run from checked rows to a checkpoint on disk, whatever the method."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator, DistributedType

from prentice import __version__
from prentice.errors import TrainingError
from prentice.models.floats import copy_beside, quiet, weights_on_full_disk
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, ModelSource
from prentice.runs import folder_atomic, read_record, write_atomic
from prentice.training import state
from prentice.training.compared import LONGEST, compared
from prentice.training.config import EngineConfig
from prentice.training.faults import NotANumberError, at_once, many_weights, memory_named
from prentice.training.gauge import Gauge, forget
from prentice.training.items import Item
from prentice.training.loop import Course, Judge, Loop, Plan
from prentice.training.method import REFERENCE, Method
from prentice.training.proof import prove
from prentice.training.start import SomeTokens, Start
from prentice.training.visits import Fresh, Passes, Student, Visits

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

    @property
    def place(self) -> torch.device | None:
        """Where this process loads the model to: what FSDP shares out goes to a GPU part by part, it may not fit whole;
        None: wherever there is a GPU."""
        if self.accelerator is None:
            return None
        fsdp = self.accelerator.distributed_type == DistributedType.FSDP
        return torch.device("cpu") if fsdp else self.accelerator.device


ALONE = Links()


@dataclass(frozen=True)
class Origin:
    """What a checkpoint comes from.

    Args:
        base: transformers folder that it starts from.
        source: where that came from.
        data: hash of what it learns from.
    """

    base: Path
    source: ModelSource
    data: str


def finished_checkpoint(out: Path, name: str) -> Checkpoint | None:
    """The checkpoint of that id, if it lies in `out`."""
    record = out / RECORD
    finished = read_record(Checkpoint, record) if record.exists() else None
    return finished if finished is not None and finished.id == name else None


@dataclass
class Run:
    """A run that may start: everything in it has been checked.

    Args:
        id: the checkpoint's: whatever decides what is learnt, hashed.
        config: how to train.
        method: what to learn.
        start: model and rows.
        origin: what it all comes from.
        out: the checkpoint's folder: gets `checkpoint.json`, `adapter/` or `model/`, and `curve.jsonl`.
        links: what it may ask of the world around it.
        unit: rows that belong together.
        gauge: what is to be known of the weights before and after.
        visits: what its steps learn from; None: passes over `start.train`. Where it is `Fresh`, `start.train` is filled
            with the rows of the first step.
    """

    id: str
    config: EngineConfig
    method: Method
    start: Start
    origin: Origin
    out: Path
    links: Links = ALONE
    unit: int = 1
    by_weight: bool = False
    gauge: Gauge | None = None
    visits: Visits | None = None
    difference: float | None = field(default=None, init=False)
    """What the comparison with the padded batch found; None: not compared."""

    def __post_init__(self) -> None:
        """Fill in what the settings leave to the machine."""
        # a model that FSDP will share out lies in the processor's memory until then
        device = self.links.accelerator.device if self.links.accelerator else self.start.model.device
        self.config = self.config.on(gpu=device.type == "cuda")

    def carry_out(self, progress: Progress = _SILENT) -> Checkpoint:
        """Train, and write the checkpoint; after a kill the same call goes on where it stood.

        Raises: TrainingError if a loss is not a number, or memory is short.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / RECORD).unlink(missing_ok=True)
        loop = self.loop()
        progress.say(self.announcement())
        before = self.gauge.before(loop, progress) if self.gauge else []
        with self.last_good_kept(loop):
            course = loop.run(progress)
        self.write_weights(loop, self.out)
        figures = self._figures(course, loop.share_of_weights)
        if self.gauge:
            figures |= self.gauge.figures(before, self.gauge.scores(loop, "measuring after", progress))
        checkpoint = self._record(course, figures)
        if loop.accelerator.is_main_process:
            shutil.rmtree(self.out / LAST_GOOD, ignore_errors=True)  # of a run that failed here before
            write_atomic(self.out / RECORD, checkpoint.model_dump_json(indent=2) + "\n")
            state.drop(self.out)
            forget(self.out)
        loop.accelerator.wait_for_everyone()
        return checkpoint

    def loop(self) -> Loop:
        """The loop over these rows; one micro-batch has been compared with the padded one."""
        start, config = self.start, self.config
        passes = Passes(start.train, config.epochs, config.batch, config.seed, self.by_weight, self.unit)
        loop = Loop(
            start,
            self.visits or passes,
            self.method,
            plan_of(config),
            out=self.out,
            fingerprint=self.id,
            accelerator=self.links.accelerator,
        )
        if isinstance(self.visits, Fresh):
            self.visits.meet(self._student(loop))
            self.start = start = replace(start, train=self.visits.of(0))
        if not (start.model.narrow and loop.sharded):  # its weights cannot be taken to float32 and back
            count, _ = compared([len(item.row.tokens) for item in start.train])
            some = start.train[:count]
            rows = [item.row.beginning(LONGEST) for item in some]
            # micro_tokens does not say how many are compared
            when = "when the gradient was compared with the padded batch's"
            with memory_named(*at_once(some, when, cut=0, section=config.section)):
                self.difference = prove(loop.model, rows, through=loop.wrapped)
        if self.method.reference:
            loop.visits = replace(passes, items=_referenced(start.train, loop))
            if self.method.measure is None and start.val:
                loop.val_rows = _referenced(start.val, loop)
        loop.judge = self._judge(loop)
        loop.keeps_good = config.method != "full" and loop.accelerator.num_processes == 1
        return loop

    def _student(self, loop: Loop) -> Student:
        def reference(rows: Sequence[Item]) -> list[tuple[float, ...]]:
            with loop.model.model.disable_adapter():
                return loop.scored(rows)

        return Student(loop.scored, reference, lambda folder: self.write_weights(loop, folder))

    def _judge(self, loop: Loop) -> Judge | None:
        select, section = self.config.select, self.config.section
        if select.by == "loss":
            if select.patience and not self.start.val:
                raise TrainingError(
                    f"{section}.select.patience = {select.patience} waits for a better validation, and no "
                    "validation rows are set aside",
                    "set it to 0, or curate.val_share above 0",
                )
            return None
        cases = list(dict.fromkeys(item.case for item in self.start.val))[: select.cases]
        score = self.links.score
        if score is None or not cases or loop.accelerator.num_processes > 1:
            reason = "no validation rows are set aside" if not cases else "only one process, in a project, can play"
            raise TrainingError(
                f'{section}.select.by = "success" needs the student to play validation cases: {reason}',
                'set it to "loss", or curate.val_share above 0',
            )

        def judge() -> float:
            with TemporaryDirectory(dir=self.out) as folder:
                self.write_weights(loop, Path(folder))
                return score(Path(folder), cases)

        return judge

    def announcement(self) -> str:
        """One line on what is about to be trained."""
        start, config = self.start, self.config
        tokens = sum(len(item.row.tokens) for item in start.train)
        learnt = sum(len(item.row.reply) for item in start.train)
        weights = sum(p.numel() for p in start.model.parameters() if p.requires_grad)
        line = (
            f"{len(start.train):,} rows, {tokens:,} tokens of which {learnt / tokens:.0%} are supervised; "
            f"{weights / 1e6:.1f} M weights trained ({config.method}, {config.precision}); "
            f"gradient against the padded batch: {self._compared()}"
        )
        why = start.model.obstacle
        return f"{line}\n{why}, so prefixes cannot be shared exactly: rows are padded, which is slower" if why else line

    def _compared(self) -> str:
        """What the comparison with the padded batch found, in words."""
        if self.difference is None:
            return "not compared"
        return f"{self.difference:.2g}" + (" of its rounding" if self.start.model.narrow else "")

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
        with memory_named("when the weights were written", many_weights(self.config.section)):
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
                copy_beside(self.origin.base, scratch)
            return
        # a path of this machine would mean nothing elsewhere
        trained.peft_config["default"].base_model_name_or_path = self.origin.source.name
        with folder_atomic(out / ADAPTER) as scratch, weights_on_full_disk(out):
            trained.save_pretrained(scratch, save_embedding_layers=False, state_dict=weights)

    def _record(self, course: Course, figures: dict[str, float]) -> Checkpoint:
        return Checkpoint(
            id=self.id,
            kind="full" if self.config.method == "full" else "adapter",
            base=self.origin.source,
            dataset=self.origin.data,
            method=self.method.name,
            recipe=self.config.recipe(),
            code=__version__,
            steps=course.step,
            seconds=round(course.seconds, 3),
            figures=figures,
        )

    def _figures(self, course: Course, held: float) -> dict[str, float]:
        """What the checkpoint's record says of the run; `held`: share of the weights in each process."""
        seconds = max(course.seconds, 1e-9)
        visits = sum(line["rows"] for line in course.curve)
        figures = {
            "rows": float(len(self.start.train)),
            "visits": visits,
            "rows_per_second": visits / seconds,
            "supervised_tokens": float(sum(len(item.row.reply) for item in self.start.train)),
            "supervised_seen": sum(line["supervised"] for line in course.curve),
            "tokens_per_second": sum(line["tokens"] for line in course.curve) / seconds,
            "weights_held": held,
            "loss_first": course.curve[0]["loss"],
            "loss_last": course.curve[-1]["loss"],
        }
        if self.difference is not None:
            figures["gradient_difference"] = self.difference
        kept = max((line for line in course.curve if "val_loss" in line or "score" in line), key=_goodness, default={})
        figures |= {name: value for name, value in kept.items() if name == "score" or name.startswith("val_")}
        return figures | ({"rows": visits, **self.visits.figures()} if isinstance(self.visits, Fresh) else {})


def _goodness(line: dict[str, float]) -> float:
    return line.get("score", -line.get("val_loss", 0.0))


def _referenced(items: Sequence[Item], loop: Loop) -> list[Item]:
    """The rows with what the untrained student thinks of their supervised tokens; every process must ask for all."""
    return [item.knowing({REFERENCE: told}) for item, told in zip(items, loop.scored(items), strict=True)]


def plan_of(config: EngineConfig) -> Plan:
    return Plan(
        micro_tokens=config.micro_tokens,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        warmup=config.warmup,
        patience=config.select.patience,
        save_seconds=config.save_seconds,
        section=config.section,
    )
