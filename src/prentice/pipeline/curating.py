"""`prentice curate pairs` in a project: what is learnt from by preference, made before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from prentice.errors import ConfigError
from prentice.models.catalogue import Model
from prentice.pipeline.learning import needs_rows, student_before
from prentice.pipeline.pairs import make_pairs, pairs_ahead
from prentice.pipeline.project import Project
from prentice.pipeline.stages import Context
from prentice.pipeline.training_views import curated
from prentice.progress import Progress


def curate_project_pairs(project: Project, progress: Progress, *, dry_run: bool = False) -> list[str]:
    """Make the project's pairs or thumbs; returns what came of it, in lines.

    Args:
        dry_run: only say what would be done and what it would cost.
    Raises: DataError if there is nothing to learn from; ConfigError if the settings ask for what cannot be had.
    """
    if dry_run:
        return pairs_ahead(project, progress)
    made = make_pairs(project, _student(project, progress), progress)
    thumbs = project.config.train.preference.loss == "kto"
    return [*made.lines(thumbs=thumbs), f"written to {made.folder}"]


def _student(project: Project, progress: Progress) -> Model | None:
    """The student as preference learning will find it; None where it makes no attempts."""
    if not project.config.pairs.student_tries:
        return None
    chain = project.config.train.chain
    if "preference" not in chain:
        tries = project.config.pairs.student_tries
        raise ConfigError(
            f"pairs.student_tries = {tries}, and the student is not said to learn by preference",
            "add a section [train.preference]",
        )
    rows = any(needs_rows(name) for name in chain[: chain.index("preference")])
    dataset = curated(Context(project, progress)) if rows else Path()
    return student_before(project, dataset, progress, "preference")
