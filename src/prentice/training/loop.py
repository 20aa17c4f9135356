"""The loop around every method: steps, accumulation, schedule, validation, resume. It is written once.

What is learnt is the method's business (`method.py`), on which rows the visits' (`visits.py`). How many processes
compute together is accelerate's: all of them take the same steps over their shares of the rows.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.tensor import DTensor

from prentice.progress import Bar, Progress
from prentice.runs import write_atomic
from prentice.training import state
from prentice.training.batches import micro_batches, shares
from prentice.training.engine import ForestModel
from prentice.training.faults import at_once, check_gradient, check_loss, many_weights, memory_named
from prentice.training.forest import Batch
from prentice.training.items import Item
from prentice.training.method import Method
from prentice.training.pages import pages_kept
from prentice.training.start import Start
from prentice.training.visits import Visits

Judge = Callable[[], float]
"""How good the weights that are in the model now are; more is better."""
CLIP = 1.0
"""Largest norm of a step's gradient; longer ones are shortened to it."""


@dataclass(frozen=True)
class Plan:
    """How fast to train, and when to look up from it.

    Args:
        micro_tokens: tokens computed at once; a step with more is accumulated.
        learning_rate: at its highest.
        schedule: how it goes on after `warmup`.
        warmup: share of the steps over which it rises.
        patience: validations in a row without a better one after which the run stops; 0: none.
        save_seconds: least time between two saved states.
        section: where these settings stand, for errors.
    """

    micro_tokens: int
    learning_rate: float
    schedule: str
    warmup: float
    patience: int
    save_seconds: float
    section: str


@dataclass
class Course:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    """Of the weights that are kept: the judge's word, or the validation loss with a minus before it."""
    stale: int = 0
    """Validations since then."""


class Loop:
    """One training run.

    Args:
        start: model, and rows to validate on; with neither these nor a judge the last weights stay.
        visits: the rows of each step.
        method: what is learnt from them.
        plan: how fast.
        out: folder for the curve and the state.
        fingerprint: a state with another one is not resumed.
        accelerator: the processes that train together; default: this one alone.

    Set later: `judge`, which chooses the weights that are kept instead of the validation loss; `keeps_good`, whether
    there is room for a copy of the weights before each step.
    """

    def __init__(
        self,
        start: Start,
        visits: Visits,
        method: Method,
        plan: Plan,
        *,
        out: Path,
        fingerprint: str,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.visits, self.method, self.val_rows, self.where = visits, method, start.val, start.where
        self.plan, self.out, self.fingerprint = plan, out, fingerprint
        self.judge: Judge | None = None
        # left to itself it takes a Mac's GPU, where the model is not and numbers of 64 bits cannot be
        self.accelerator = accelerator or Accelerator(cpu=not torch.cuda.is_available())
        self.wrapped, self.optimizer = _prepared(self.accelerator, start.model, plan)
        self.model: ForestModel = self.accelerator.unwrap_model(self.wrapped)
        self.schedule = _schedule(plan, self.optimizer, visits.steps)
        self.course = Course()
        self.best: dict[str, Tensor] | None = None
        self.keeps_good = False
        self.good: tuple[int, dict[str, Tensor]] | None = None
        """After which step, and the weights: the last whose loss and gradient were numbers, while none are the best."""

    def run(self, progress: Progress) -> Course:
        """Train to the end, from the saved state if there is one, and leave the best weights in the model.

        Raises: TrainingError naming the row if its loss is not a number, or the batch that memory does not hold.
        """
        self._resume()
        self._write_curve()
        done = sum(self.visits.count(step) for step in range(self.course.step))
        saved = time.monotonic()
        with pages_kept(), progress.bar("training", self.visits.rows, "rows", done=done) as bar:
            while self.course.step < self.visits.steps and not self._learnt_enough() and self._step(bar):
                if self._all_say(time.monotonic() - saved >= self.plan.save_seconds):
                    self.save()
                    saved = time.monotonic()
        if self.best is not None:
            state.restore(self.model, self.best)
        return self.course

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of every weight."""
        return any(isinstance(p, DTensor) for p in self.model.parameters())

    @property
    def share_of_weights(self) -> float:
        """Of all weights, what this process holds."""
        here = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in self.model.parameters())
        return round(here / sum(p.numel() for p in self.model.parameters()), 2)

    def scored(self, rows: Sequence[Item]) -> list[tuple[float, ...]]:
        """What the student as it is now makes of each supervised token of each row; every process must ask for all."""
        found: dict[int, tuple[float, ...]] = {}
        places = {id(item): place for place, item in enumerate(rows)}
        with torch.no_grad():
            for part in micro_batches(rows, self.plan.micro_tokens, padded=bool(self.model.obstacle)):
                with memory_named(*self._at_once(part, "when the student was asked")):
                    batch = self.model.batch([item.row for item in part])
                    told = torch.split(self.wrapped(batch), [len(item.row.reply) for item in part])
                found |= {places[id(item)]: tuple(x.tolist()) for item, x in zip(part, told, strict=True)}
        return [found[place] for place in range(len(rows))]

    def save(self) -> None:
        """Write the state; every process must ask."""
        with memory_named(f"when the state of step {self.course.step} was saved", self._many_weights):
            self._save()

    def _save(self) -> None:
        tensors = {state.WEIGHT + name: t for name, t in state.whole(state.trained(self.model)).items()}
        tensors |= {state.BEST + name: t for name, t in state.whole(self.best or {}).items()}
        known = state.whole(state.moments(self.model, self.optimizer))
        tensors |= {state.MOMENT + name: t for name, t in known.items()}
        if self.accelerator.is_main_process:
            facts = {"course": asdict(self.course), "schedule": self.schedule.state_dict()}
            state.save(self.out, self.fingerprint, tensors, facts)

    def _step(self, bar: Bar) -> bool:
        """Take the next step; False: there is nothing more to learn."""
        begin = time.perf_counter()
        rows = self.visits.of(self.course.step)
        if not rows:
            return False
        value, tokens = self._descend(rows)
        rate = self.schedule.get_last_lr()[0]
        learnt = float(sum(len(item.row.reply) for item in rows))
        facts = {"loss": value, "lr": rate, "rows": float(len(rows)), "tokens": float(tokens), "supervised": learnt}
        self.schedule.step()
        self.course.step += 1
        self.course.seconds += time.perf_counter() - begin
        if self.visits.is_last_of_pass(self.course.step - 1):
            facts |= self._validate()
        cost = time.perf_counter() - begin
        line = {"step": self.course.step, **facts, "seconds": round(self.course.seconds, 3)}
        self.course.curve.append(line)
        self._write_line(line)
        bar.advance(self.visits.count(self.course.step - 1), loss=f"{value:.3f}", rate=f"{len(rows) / cost:.1f} rows/s")
        return True

    def _descend(self, rows: Sequence[Item]) -> tuple[float, int]:
        """One optimizer step: returns the mean loss per supervised token, and the tokens computed by all processes."""
        rows = self._prepared(rows)
        parts = self._mine(rows)
        total = self.method.size(rows)
        value = torch.zeros(2, dtype=torch.float64, device=self.model.device)
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            # gradients are exchanged once a step, not once a part
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                value += self._part(part, total)
        norm = torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], CLIP)
        check_gradient(norm, rows, (self.where, f"at step {self.course.step + 1}", self.plan.section))
        if self.keeps_good and self.best is None and self.course.step > 0:
            self.good = self.course.step, self._copy()
        with memory_named(f"when the weights were changed at step {self.course.step + 1}", self._many_weights):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss, tokens = self.accelerator.reduce(value, "sum").tolist()
        return loss, round(tokens)

    def _part(self, part: Sequence[Item], total: float) -> Tensor:
        """Gradient of one part; returns its share of the step's loss, and the tokens computed."""
        when = f"at step {self.course.step + 1}"
        batch = self._batch(part, when)
        with memory_named(*self._at_once(part, when, batch)):
            logprobs = self.wrapped(batch)
            loss = self.method.loss(logprobs, batch) / total
            check_loss(loss, logprobs, batch, part, (self.where, when, self.plan.section))
            # the wrappers average over processes, and this is a sum
            self.accelerator.backward(loss * self.accelerator.num_processes)
        idle = batch.weights.sum() == 0
        return torch.tensor([loss.item(), 0 if idle else batch.ids.numel()], dtype=torch.float64, device=loss.device)

    def _batch(self, rows: Sequence[Item], when: str) -> Batch:
        with memory_named(*self._at_once(rows, when)):
            return self.model.batch([item.row for item in rows])

    def _at_once(self, rows: Sequence[Item], when: str, batch: Batch | None = None) -> tuple[str, str]:
        computed = None if batch is None else batch.ids.numel()
        return at_once(rows, when, self.plan.micro_tokens, computed, self.plan.section)

    @property
    def _many_weights(self) -> str:
        return many_weights(self.plan.section)

    def _prepared(self, rows: Sequence[Item]) -> Sequence[Item]:
        return rows if self.method.prepare is None else self.method.prepare(self.scored, rows)

    def _validate(self) -> dict[str, float]:
        """What is known of the weights as they are; remembers them if they are the best so far."""
        found: dict[str, float] = {}
        if self.val_rows:
            found |= self._measured()
        if self.judge is not None:
            found["score"] = self.judge()
        if not found:
            return found
        score = found.get("score", -found.get("val_loss", math.inf))
        self.course.stale += 1
        if score > self.course.best_score:
            self.course.best_score, self.course.stale = score, 0
            self.best, self.good = self._copy(), None
        return found

    def _measured(self) -> dict[str, float]:
        """The validation loss, and what else the method finds."""
        when = f"in the validation after step {self.course.step}"
        measures = {"loss": self.method.measure or self.method.loss, **self.method.also}
        value = torch.zeros(len(measures), dtype=torch.float64, device=self.model.device)
        with torch.no_grad():
            rows = self._prepared(self.val_rows)
            total = self.method.size(rows)
            for part in self._mine(rows):
                batch = self._batch(part, when)
                with memory_named(*self._at_once(part, when, batch)):
                    logprobs = self.wrapped(batch)
                    found = torch.stack([measure(logprobs, batch) for measure in measures.values()])
                    check_loss(found[0], logprobs, batch, part, (self.where, when, self.plan.section))
                    value += found.double() / total
        told = self.accelerator.reduce(value, "sum").tolist()
        return {f"val_{name}": each for name, each in zip(measures, told, strict=True)}

    def _copy(self) -> dict[str, Tensor]:
        return {name: w.clone() for name, w in state.trained(self.model).items()}

    def _learnt_enough(self) -> bool:
        return 0 < self.plan.patience <= self.course.stale

    def _mine(self, rows: Sequence[Item]) -> list[list[Item]]:
        accelerator = self.accelerator
        padded = bool(self.model.obstacle)
        dealt = shares(rows, self.plan.micro_tokens, accelerator.num_processes, padded=padded)
        return dealt[accelerator.process_index]

    def _resume(self) -> None:
        found = state.load(self.out, self.fingerprint)
        self.accelerator.wait_for_everyone()  # before anyone writes a new one
        if found is None:
            return
        tensors, facts = found
        state.restore(self.model, state.named(tensors, state.WEIGHT))
        state.restore_moments(self.model, self.optimizer, state.named(tensors, state.MOMENT))
        best = state.named(tensors, state.BEST)
        if best:
            # through the model and back, which shares them out among the processes as it is itself
            state.restore(self.model, best)
            self.best = self._copy()
            state.restore(self.model, state.named(tensors, state.WEIGHT))
        self.course = Course(**facts["course"])
        self.schedule.load_state_dict(facts["schedule"])
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate

    def _all_say(self, yes: bool) -> bool:
        """The main process's word: what all do together must not depend on each one's clock."""
        if self.accelerator.num_processes == 1:
            return yes
        said = torch.tensor([float(yes and self.accelerator.is_main_process)], device=self.model.device)
        return bool(self.accelerator.reduce(said, "sum") > 0)

    def _write_curve(self) -> None:
        # lines after the saved state belong to steps that are computed again
        if self.accelerator.is_main_process:
            write_atomic(self.out / "curve.jsonl", "".join(json.dumps(line) + "\n" for line in self.course.curve))

    def _write_line(self, line: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            with (self.out / "curve.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _prepared(accelerator: Accelerator, model: ForestModel, plan: Plan) -> tuple[Any, torch.optim.Optimizer]:
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    with memory_named("when the weights were put where they are trained", many_weights(plan.section)):
        wrapped, held = accelerator.prepare(model, optimizer)
    # accelerate's wrapper skips steps for mixed precision's sake, and has no state of its own
    inner: torch.optim.Optimizer = held.optimizer
    return wrapped, inner


def _schedule(plan: Plan, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    from transformers import get_scheduler

    names = {"constant": "constant_with_warmup"}
    return get_scheduler(names.get(plan.schedule, plan.schedule), optimizer, round(plan.warmup * steps), steps)
