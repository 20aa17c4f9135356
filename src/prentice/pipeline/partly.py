"""A part of the train stage: the methods of a project up to one of them."""

from __future__ import annotations

from pathlib import Path

from prentice.errors import ConfigError
from prentice.pipeline.learning import needs_rows, train_until
from prentice.pipeline.project import MethodName
from prentice.pipeline.stages import Context
from prentice.pipeline.training_views import curated
from prentice.pipeline.walk import run_stage


def train_up_to(context: Context, method: MethodName) -> None:
    """Train by the methods of the project's chain up to `method`; where that is all of them, it is the train stage.

    Raises: ConfigError if the chain does not hold the method; PrenticeError naming what has to be done first.
    """
    project = context.project
    chain = project.config.train.chain
    if method not in chain:
        raise ConfigError(
            f"{project.file}: the student is trained by {' → '.join(chain)}; {method} is not among them",
            f"add a section [train.{method}]" if not project.config.train.stages else "add it to [train] stages",
        )
    if method == chain[-1]:
        run_stage(context, "train")
        return
    rows = any(needs_rows(name) for name in chain[: chain.index(method) + 1])
    checkpoint = train_until(project, method, curated(context) if rows else Path(), context.progress)
    context.progress.say(f"{method}: trained {checkpoint.steps:,} steps in {checkpoint.seconds:.0f} s")
