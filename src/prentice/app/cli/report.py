"""`prentice report`: the last evaluation as a page."""

from __future__ import annotations

import typer

from prentice.app.cli.options import Folder, Overrides, user_errors
from prentice.app.cli.stage import run_one


def report(project: Folder, set_: Overrides = None) -> None:
    """Write the last evaluation as one HTML page that opens without a network."""
    with user_errors():
        context = run_one("report", project, set_)
        typer.echo(f"page: {context.project.home / 'report.html'}")
