"""The train stage: what a run may ask of the project, and in how many processes it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from prentice.errors import DataError
from prentice.models.catalogue import Model
from prentice.pipeline.project import Project
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, Episode
from prentice.records.store import Store
from prentice.rollouts import play_all
from prentice.tasks import Case


def learn(project: Project, *, base: Model, gguf: Path, dataset: Path, out: Path, progress: Progress) -> Checkpoint:
    """Train the project's student on a dataset, as [train] says.

    Args:
        base: with float weights.
        gguf: the untrained base as it is served: its tokens are compared with those that are trained.
    """
    from prentice.models.local import LocalModel
    from prentice.training.launch import train_in_processes
    from prentice.training.run import Links
    from prentice.training.sft import train_sft

    weights = base.safetensors
    assert weights is not None
    train = project.config.train
    server = LocalModel(gguf, threads=1, context=512)
    try:
        if train.launch.processes > 1 or train.launch.accelerate:
            place = project.folder / train.launch.accelerate if train.launch.accelerate else ""
            return train_in_processes(
                train.sft,
                train.launch.model_copy(update={"accelerate": str(place)}),
                dataset=dataset,
                base=weights,
                out=out,
                source=base.source,
                serving_tokens=server.tokens,
                progress=progress,
            )
        links = Links(serving_tokens=server.tokens, score=success_of(project, weights))
        return train_sft(
            train.sft, dataset=dataset, base=weights, out=out, source=base.source, links=links, progress=progress
        )
    finally:
        asyncio.run(server.close())


def success_of(project: Project, base: Path) -> Callable[[Path, Sequence[str]], float]:
    """What tells of weights and cases which share of the cases the student solves, as it would be served."""

    def score(weights: Path, cases: Sequence[str]) -> float:
        from prentice.training.export import write_merged
        from prentice.training.gguf import write_gguf

        known = {case.id: case for split in ("train", "val") for case in project.task.cases(split)}
        with TemporaryDirectory(dir=weights) as scratch:
            gguf = Path(scratch) / "student.gguf"
            merged = write_merged(weights, base, Path(scratch) / "model")
            write_gguf(merged, gguf, project.config.export.quantization, "student")
            return _played(project, gguf, [known[name] for name in cases], Path(scratch) / "plays.db")

    return score


def _played(project: Project, gguf: Path, cases: Sequence[Case], store: Path) -> float:
    """Plays them greedily, one try each, in a store of their own: nobody shall learn from these episodes."""
    from prentice.models.local import LocalModel

    policy = LocalModel(gguf, name="student", threads=project.config.threads)
    with Store.open(store) as episodes:
        run = play_all(
            project.task, policy, cases, episodes, project.held_out_rules, audience="student", progress=Silent()
        )
        return fmean(success(e, project.config.evaluate.metric) for e in episodes.episodes(run=run))


def success(episode: Episode, metric: str) -> float:
    """What the environment said of an episode, from 0 to 1; one that failed is none.

    Raises: DataError if it said nothing that is a share of success.
    """
    if episode.failure is not None:
        return 0.0
    value = episode.metric(metric)
    if value is None or isinstance(value, str) or not 0 <= value <= 1:
        raise DataError(
            f"episode of case {episode.case!r}: metric {metric!r} is {value!r}, not a flag or a share from 0 to 1",
            "name another one: evaluate.metric",
        )
    return float(value)
