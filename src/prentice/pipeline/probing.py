"""`prentice train grpo FOLDER --probe`: the student plays a few cases before hours are spent; nothing is trained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from prentice.errors import PrenticeError
from prentice.pipeline.learning import student_before
from prentice.pipeline.learning.reinforce import Ground
from prentice.pipeline.project import Project
from prentice.pipeline.stages import Context
from prentice.pipeline.training_views import curated
from prentice.progress import Progress

if TYPE_CHECKING:
    from prentice.training.grpo.probe import Pace, Probe
    from prentice.training.grpo.rolled import Rolled


def probe(project: Project, progress: Progress) -> Probe:
    """Roll out the student that [train.grpo] would start from, and measure what a step would take.

    Raises: PrenticeError if every try fails, or what the student starts from cannot be had.
    """
    from prentice.training.grpo.probe import Probe

    config, chain = project.config.train.grpo, project.config.train.chain
    dataset = curated(Context(project, progress)) if chain[: chain.index("grpo")] else Path()
    weights = student_before(project, dataset, progress, "grpo").safetensors
    assert weights is not None
    ground = Ground(project, config)
    tries, serve, play = roll_out(ground, weights, progress)
    failures = [each.failure for each in tries if each.failure]
    if len(failures) == len(tries):
        raise PrenticeError(f"all {len(tries)} tries failed; the first: {failures[0]}")
    return Probe(tries, _pace(ground, weights, tries, serve, play), config, len(ground.cases))


def roll_out(ground: Ground, weights: Path, progress: Progress) -> tuple[list[Rolled], float, float]:
    """The tries, seconds to start the server, and seconds a try."""
    from prentice.training.gguf import write_gguf

    begun = time.perf_counter()
    with TemporaryDirectory() as scratch:
        gguf = Path(scratch) / "student.gguf"
        write_gguf(weights, gguf, ground.project.config.export.quantization, "student")
        server = ground.serve(gguf)
        serve = time.perf_counter() - begun
        try:
            cases = ground.cases[: ground.config.probe_cases]
            tries = ground.play(server, cases, "probe", None, progress)
        finally:
            asyncio.run(server.close())
    return tries, serve, (time.perf_counter() - begun - serve) / len(tries)


def _pace(ground: Ground, weights: Path, tries: Sequence[Rolled], serve: float, play: float) -> Pace:
    from prentice.training.grpo.pace import seconds_per_row
    from prentice.training.grpo.probe import Pace
    from prentice.training.grpo.round import rows_of

    rows = [row for each in tries if each.reward is not None for row in rows_of(each)]
    return Pace(serve, play, *seconds_per_row(ground.config, weights, rows))
