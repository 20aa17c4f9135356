"""prentice's process: learns from stored rollouts, or plays and learns, as `prentice train grpo` does.

A line on stdin is the path of a job's file, a line on stdout its figures; the first step of a job is warm-up.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine_ours import Clock
from grpo_students import PLAYING, pupil
from prentice.pipeline.learning.grpo import play_round
from prentice.progress import Silent
from prentice.records import ModelSource
from prentice.training.forest import Row
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.losses import ADVANTAGE, OLD, SAMPLED
from prentice.training.grpo.train import method_of, train_grpo
from prentice.training.items import Item
from prentice.training.loop import Loop
from prentice.training.run import plan_of
from prentice.training.start import Start, open_model
from prentice.training.visits import Passes

Job = dict[str, Any]
SOURCE = ModelSource(name="student", source="path:student", sha256="0" * 64)


def update(job: Job) -> Job:
    """Steps over the same rows: what the log-probabilities were is given, as it is to the rival."""
    config = GRPOConfig(kl=0.0, save_seconds=1e9).on(gpu=False)
    items = [_item(number, row) for number, row in enumerate(job["rows"])]
    visits = Passes(items, job["steps"], len(items), seed=0)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        start = Start(open_model(config, Path(job["base"])), (), (), Path("rows"))
        loop = Loop(start, visits, method_of(config), plan_of(config), out=Path(folder), fingerprint="bench")
        course = loop.run(clock)
    return _figures(clock, job, {"positions": course.curve[-1]["tokens"], "loss": course.curve[0]["loss"]})


def step(job: Job) -> Job:
    """Whole steps: weights to llama.cpp, tries, log-probabilities, update."""
    who = pupil("support", [*PLAYING, *job["settings"]])
    clock, config = Clock(), who.project.config.train.grpo.model_copy(update={"save_seconds": 1e9})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        found = train_grpo(
            config,
            lambda number, weights: play_round(who.ground, who.weights, number, weights, out, Silent()),
            cases=len(who.ground.cases),
            data="bench",
            base=who.weights,
            out=out,
            source=SOURCE,
            progress=clock,
        )
    return _figures(clock, job, {"tries": found.figures["tries"], "play_seconds": found.figures["play_seconds"]})


def _item(number: int, row: Job) -> Item:
    length = len(row["reply"])
    given = {ADVANTAGE: (row["advantage"],) * length, OLD: tuple(row["old"]), SAMPLED: tuple(row["old"])}
    return Item(f"row {number}", Row(tuple(row["prompt"]), tuple(row["reply"]), given=given))


def _figures(clock: Clock, job: Job, more: Job) -> Job:
    """Of the steps after the first."""
    (begin, busy), (end, busy_end) = clock.marks[1], clock.marks[-1]
    steps = job["steps"] - 1
    return {"seconds": (end - begin) / steps, "cpu_seconds": (busy_end - busy) / steps, **more}


def main() -> None:
    """Answer jobs until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        job = json.loads(Path(line.strip()).read_text(encoding="utf-8"))
        print(json.dumps((update if job["kind"] == "update" else step)(job)), file=answers, flush=True)


if __name__ == "__main__":
    main()
