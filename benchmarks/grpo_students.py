"""The students that reinforcement is measured on: fine-tuned on a few rows, and what they play, stored.

Everything lies under `.prentice/bench-grpo` of an example's folder and is made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from main import TOP
from prentice.app.cli.terminal import terminal_progress
from prentice.pipeline import Context, Project, run_stage, states
from prentice.pipeline.learning import student_before
from prentice.pipeline.learning.reinforce import Ground
from prentice.pipeline.probing import roll_out
from prentice.runs import write_atomic
from prentice.training.grpo.rolled import Rolled

HOME = Path(".prentice") / "bench-grpo"
SUPPORT = (
    "curate.max_rows=300",
    "train.sft.epochs=3",
    'train.stages=["sft", "grpo"]',
    "train.grpo.batch=8",
    "train.grpo.group=8",
    "train.grpo.probe_cases=8",
)
PLAYING = (*SUPPORT, "curate.max_rows=1000", "train.sft.precision=bfloat16")
"""Whole steps need a student whose tries differ: after 300 rows one group of eight does."""
BABYAI = (
    "task.seeds.train=[0, 200]",
    "curate.max_rows=400",
    'train.stages=["sft", "grpo"]',
    "train.grpo.cases=64",
    "train.grpo.batch=4",
    "train.grpo.epochs=1",
    "train.grpo.kl=0",
    "train.grpo.learning_rate=5e-4",
    "train.grpo.precision=bfloat16",
    "train.grpo.probe_cases=8",
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Pupil:
    """A student that has been fine-tuned, and the project whose cases it plays.

    Args:
        weights: transformers folder.
        dataset: what it was fine-tuned on.
    """

    project: Project
    weights: Path
    dataset: Path

    @property
    def ground(self) -> Ground:
        """Where it plays."""
        return Ground(self.project, self.project.config.train.grpo)


def pupil(example: str, overrides: Sequence[str]) -> Pupil:
    """The student of an example before [train.grpo]; what is missing is made."""
    folder = TOP / "examples" / example
    project = Project(folder, overrides, home=folder / HOME)
    context = Context(project, terminal_progress())
    done = dict(states(context))
    for stage in ("rollout", "curate"):
        if not done[stage]:
            run_stage(context, stage)
    dataset = context.folder("curate")
    weights = student_before(project, dataset, context.progress, "grpo").safetensors
    assert weights is not None
    return Pupil(project, weights, dataset)


def stored(who: Pupil) -> list[Rolled]:
    """Its tries at the first 8 cases, 8 each, as llama.cpp drew them."""
    place = who.weights.parent / "stored.jsonl"
    if not place.exists():
        tries, _, _ = roll_out(who.ground, who.weights, terminal_progress())
        write_atomic(place, "".join(each.model_dump_json() + "\n" for each in tries))
    lines = place.read_text(encoding="utf-8").splitlines()
    return [Rolled.model_validate_json(line) for line in lines]
