"""Reinforcement in a project: the student plays the task's training cases with the weights that it has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import JsonValue

from prentice.errors import TrainingError
from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.learning.reinforce import PLAYING, Ground
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Checkpoint, digest
from prentice.training.grpo.rolled import Rolled


def learn(lesson: Lesson) -> Checkpoint:
    """Let the project's student learn from its own play, as [train.grpo] says."""
    from prentice.training.grpo.train import train_grpo

    project, config = lesson.project, lesson.project.config.train.grpo
    launch = project.config.train.launch
    if launch.processes > 1 or launch.accelerate:
        raise TrainingError(
            "grpo trains in one process, which plays and learns in turns, and [train.launch] asks for several",
            "--set train.launch.processes=1",
        )
    ground = Ground(project, config)
    return train_grpo(
        config,
        lambda number, weights: play_round(ground, lesson.weights, number, weights, lesson.out, lesson.progress),
        cases=len(ground.cases),
        data=digest([project.task.fingerprint(), [case.id for case in ground.cases], _inputs(project)]),
        base=lesson.weights,
        out=lesson.out,
        source=lesson.base.source,
        progress=lesson.progress,
    )


def play_round(ground: Ground, base: Path, number: int, weights: Path, out: Path, progress: Progress) -> list[Rolled]:
    """One round with the weights of a folder; a kill loses what was in flight.

    Args:
        base: transformers folder that an adapter in `weights` belongs to.
        out: where finished tries of the round are kept until the next.
    """
    from prentice.training.export import write_player

    keep = out / f"round-{number}-{PLAYING}"
    for old in set(out.glob(f"round-*-{PLAYING}")) - {keep}:
        old.unlink()
    with TemporaryDirectory(dir=weights) as scratch:
        gguf = write_player(weights, base, Path(scratch) / "student.gguf", ground.project.config.export.quantization)
        server = ground.serve(gguf)
        try:
            return ground.play(server, ground.round(number), f"round {number}", keep, progress)
        finally:
            asyncio.run(server.close())


def _inputs(project: Project) -> JsonValue:
    config, rules = project.config.train.grpo, project.config.rollout
    metric = config.reward or project.config.evaluate.metric
    played: list[JsonValue] = [rules.max_tokens, rules.max_turns, project.config.export.quantization, metric]
    return [config.recipe(), project.task.fingerprint(), *played]


LINK = Link(_inputs, learn)
