"""What the commands that run one stage of a project have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prentice.pipeline import Context


def run_one(name: str, project: Path, overrides: Sequence[str] | None, *, live_teacher: bool = False) -> Context:
    """Open the project, run the stage, return the walk with its records and folders."""
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Context, Project, run_stage

    context = Context(Project(project, overrides or ()), terminal_progress(), live_teacher)
    run_stage(context, name)
    return context
