"""A method that trains on a dataset of its own, by as many processes as the project says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prentice.pipeline.learning.lesson import Lesson
from prentice.pipeline.learning.success import success_of
from prentice.records import Checkpoint
from prentice.training.config import SFTConfig
from prentice.training.preference.config import PreferenceConfig


def trained(
    lesson: Lesson, config: SFTConfig | PreferenceConfig, dataset: Path, alone: Callable[..., Checkpoint]
) -> Checkpoint:
    """Train in one process, or as [train.launch] says.

    Args:
        config: of the method.
        dataset: folder that it learns from.
        alone: what trains in one process.
    """
    from prentice.training.launch import train_in_processes
    from prentice.training.run import Links

    project, launch = lesson.project, lesson.project.config.train.launch
    where: dict[str, Any] = {
        "dataset": dataset,
        "base": lesson.weights,
        "out": lesson.out,
        "source": lesson.base.source,
        "progress": lesson.progress,
    }
    with lesson.serving_tokens() as tokens:
        if launch.processes > 1 or launch.accelerate:
            place = str(project.folder / launch.accelerate) if launch.accelerate else ""
            several = launch.model_copy(update={"accelerate": place})
            return train_in_processes(config, several, **where, serving_tokens=tokens)
        links = Links(serving_tokens=tokens, score=success_of(project, lesson.weights))
        return alone(config, **where, links=links)
