"""`prentice train`: one command a method."""

from __future__ import annotations

import typer

from prentice.app.cli.options import Folder, Overrides, user_errors
from prentice.app.cli.stage import run_one

app = typer.Typer(help="Train the student.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train the student."""


@app.command()
def sft(project: Folder, set_: Overrides = None) -> None:
    """Fine-tune the student on the curated dataset; a run that was stopped goes on."""
    with user_errors():
        run_one("train", project, set_)
