"""How well weights do: the share of cases that the student solves, played as it would be served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from prentice.errors import DataError
from prentice.pipeline.project import Project
from prentice.progress import Silent
from prentice.records import Episode
from prentice.records.store import Store
from prentice.rollouts import play_all
from prentice.tasks import Case


def success_of(project: Project, base: Path) -> Callable[[Path, Sequence[str]], float]:
    """What tells of weights and cases which share of the cases the student solves, as it would be served."""

    def score(weights: Path, cases: Sequence[str]) -> float:
        from prentice.training.export import write_player

        known = {case.id: case for split in ("train", "val") for case in project.task.cases(split)}
        with TemporaryDirectory(dir=weights) as scratch:
            gguf = write_player(weights, base, Path(scratch) / "student.gguf", project.config.export.quantization)
            return _played(project, gguf, [known[name] for name in cases], Path(scratch) / "plays.db")

    return score


def _played(project: Project, gguf: Path, cases: Sequence[Case], store: Path) -> float:
    """Plays them greedily, one try each, in a store of their own: nobody shall learn from these episodes."""
    policy = project.open_student(gguf, "student")
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
