"""`prentice ablate`: what made the student good, and how many examples the task needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from prentice.app.cli.options import Folder, Overrides, user_errors

if TYPE_CHECKING:
    from pathlib import Path

    from prentice.evaluation.ablation import Ablation

app = typer.Typer(help="Train the same student on other rows, and on fewer, and compare.", no_args_is_help=True)


@app.command()
def curation(project: Folder, set_: Overrides = None) -> None:
    """The same student on curated rows, all rows, random rows, best tries, agreed ones, human labels; over seeds.

    What is done is not done again: the same command goes on from where it was stopped. Settings: `ablate` in
    prentice.toml. Exit code: 0 done, 2 something to fix.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.ablation.ablate import ablate_curation

    with user_errors():
        _show(*ablate_curation(Project(project, set_ or ()), terminal_progress()))


def _show(made: Ablation, folder: Path) -> None:
    from rich.console import Console

    from prentice.evaluation.ablation_views import terminal_view

    console = Console()
    console.print(terminal_view(made))
    console.print(f"\n{folder}", highlight=False, soft_wrap=True)
