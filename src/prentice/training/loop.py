"""The loop around every method: batches, accumulation, schedule, validation, resume. It is written once.

A method is a pure loss over the log-probabilities of a forest's supervised tokens; this module knows no method.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prentice.errors import TrainingError
from prentice.progress import Bar, Progress
from prentice.runs import write_atomic
from prentice.training import state
from prentice.training.check import CheckedRow
from prentice.training.engine import ForestModel
from prentice.training.forest import Forest, Row, plant

Loss = Callable[[Tensor, Forest], Tensor]
"""Log-probabilities (supervised,) and their forest → the sum of the loss over the forest, not yet divided."""
CLIP = 1.0
"""Largest norm of a step's gradient; longer ones are shortened to it."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Args:
        epochs: passes over the rows.
        batch: rows per optimizer step.
        micro_tokens: tokens computed at once; a step with more is accumulated.
        learning_rate: at its highest.
        warmup: share of the steps over which it rises; after that it falls to 0 along a cosine.
        seed: order of the rows.
        save_seconds: least time between two saved states.
    """

    epochs: float
    batch: int
    micro_tokens: int
    learning_rate: float
    warmup: float
    seed: int
    save_seconds: float


@dataclass
class Course:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_loss: float = math.inf


class Loop:
    """One training run.

    Args:
        model: what is trained; weights that need no gradient stay as they are.
        loss: the method.
        rows, val_rows: what to train and to validate on; with no validation rows the last weights are kept.
        plan: how long and how fast.
        out: folder for the curve and the state.
        fingerprint: a state with another one is not resumed.
        where: the dataset's file, for errors.
    """

    def __init__(
        self,
        model: ForestModel,
        loss: Loss,
        rows: Sequence[CheckedRow],
        val_rows: Sequence[CheckedRow],
        plan: Plan,
        out: Path,
        fingerprint: str,
        where: Path,
    ) -> None:
        from transformers import get_cosine_schedule_with_warmup

        self.model, self.loss, self.rows, self.val_rows = model, loss, rows, val_rows
        self.plan, self.out, self.fingerprint, self.where = plan, out, fingerprint, where
        self.per_epoch = math.ceil(len(rows) / plan.batch)
        self.steps = max(1, round(self.per_epoch * plan.epochs))
        weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        self.schedule = get_cosine_schedule_with_warmup(self.optimizer, round(plan.warmup * self.steps), self.steps)
        self.course = Course()

    def run(self, progress: Progress) -> Course:
        """Train to the end, from the saved state if there is one, and leave the best weights in the model.

        Raises: TrainingError naming the row if its loss is not a number.
        """
        self._resume()
        self._write_curve()
        visits = [len(self._places(step)) for step in range(self.steps)]
        saved = time.monotonic()
        done = sum(visits[: self.course.step])
        with progress.bar("training", sum(visits), "rows", done=done) as bar:
            while self.course.step < self.steps:
                cost = self._step(bar)
                self.course.seconds += cost
                if time.monotonic() - saved >= self.plan.save_seconds:
                    self._save()
                    saved = time.monotonic()
        if self.course.best is not None:
            state.restore(self.model, self.course.best)
        return self.course

    def _step(self, bar: Bar) -> float:
        begin = time.perf_counter()
        rows = self._rows_of(self.course.step)
        value, tokens = self._descend(rows)
        facts = {"loss": value, "lr": self.schedule.get_last_lr()[0], "rows": float(len(rows)), "tokens": float(tokens)}
        self.schedule.step()
        self.course.step += 1
        if self.val_rows and (self.course.step % self.per_epoch == 0 or self.course.step == self.steps):
            facts["val_loss"] = self._validate()
        cost = time.perf_counter() - begin
        line = {"step": self.course.step, **facts, "seconds": round(self.course.seconds + cost, 3)}
        self.course.curve.append(line)
        self._write_line(line)
        bar.advance(len(rows), loss=f"{value:.3f}", rate=f"{len(rows) / cost:.1f} rows/s")
        return cost

    def _descend(self, rows: Sequence[CheckedRow]) -> tuple[float, int]:
        """One optimizer step: returns the mean loss per supervised token, and the tokens computed."""
        total = sum(r.row.weight * len(r.row.reply) for r in rows)
        value, tokens = 0.0, 0
        self.model.train()
        for part in micro_batches(rows, self.plan.micro_tokens):
            forest = plant([r.row for r in part]).to(self.model.device)
            logprobs = self.model(forest)
            loss = self.loss(logprobs, forest) / total
            if not torch.isfinite(loss):
                raise self._not_a_number(part, logprobs, forest)
            loss.backward()  # type: ignore[no-untyped-call]
            value += loss.item()
            tokens += len(forest.ids)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        if not torch.isfinite(norm):
            raise self._not_a_number(rows, None, None)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return value, tokens

    def _validate(self) -> float:
        """Mean loss per supervised token on the validation rows; remembers the weights if they are the best so far."""
        self.model.eval()
        total = sum(r.row.weight * len(r.row.reply) for r in self.val_rows)
        value = 0.0
        with torch.no_grad():
            for part in micro_batches(self.val_rows, self.plan.micro_tokens):
                forest = plant([r.row for r in part]).to(self.model.device)
                value += self.loss(self.model(forest), forest).item() / total
        if value < self.course.best_loss:
            self.course.best_loss = value
            self.course.best = {name: w.clone() for name, w in state.trained(self.model).items()}
        return value

    def _rows_of(self, step: int) -> list[CheckedRow]:
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + step // self.per_epoch)
        order = torch.randperm(len(self.rows), generator=generator).tolist()
        return [self.rows[order[place]] for place in self._places(step)]

    def _places(self, step: int) -> range:
        """Where a step's rows lie in the shuffled order of its epoch."""
        begin = step % self.per_epoch * self.plan.batch
        return range(begin, min(begin + self.plan.batch, len(self.rows)))

    def _resume(self) -> None:
        found = state.load(self.out, self.fingerprint)
        if found is None:
            return
        state.restore(self.model, found["weights"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.schedule.load_state_dict(found["schedule"])
        self.course = Course(**found["course"])

    def _save(self) -> None:
        values: dict[str, Any] = {
            "weights": state.trained(self.model),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "course": vars(self.course),
        }
        state.save(self.out, self.fingerprint, values)

    def _write_curve(self) -> None:
        # lines after the saved state belong to steps that are computed again
        write_atomic(self.out / "curve.jsonl", "".join(json.dumps(line) + "\n" for line in self.course.curve))

    def _write_line(self, line: dict[str, float]) -> None:
        with (self.out / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _not_a_number(
        self, rows: Sequence[CheckedRow], logprobs: Tensor | None, forest: Forest | None
    ) -> TrainingError:
        guilty = rows[0]
        if logprobs is not None and forest is not None:
            broken = forest.rows[~torch.isfinite(logprobs)]
            guilty = rows[int(broken[0])] if len(broken) else guilty
        return TrainingError(
            f"{self.where}: row {guilty.example.id}: its loss is not a number at step {self.course.step + 1}",
            "lower the learning rate; the last good state is kept",
        )


def micro_batches(rows: Sequence[CheckedRow], tokens: int) -> list[list[CheckedRow]]:
    """Cut rows, sorted by length, into parts that compute at most `tokens` tokens at once (but at least one row).

    The prefix that all rows share is counted once a part.
    """
    ordered = sorted(rows, key=lambda r: (len(r.row.tokens), r.row.tokens))
    shared = _shared([r.row for r in rows])
    parts: list[list[CheckedRow]] = []
    room = 0
    for row in ordered:
        own = len(row.row.tokens) - shared
        if not parts or own > room:
            parts.append([])
            room = tokens - shared
        parts[-1].append(row)
        room -= own
    return parts


def _shared(rows: Sequence[Row]) -> int:
    low, high = min(r.tokens for r in rows), max(r.tokens for r in rows)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
