"""`prentice export`: the student as GGUF."""

from __future__ import annotations

import typer

from prentice.app.cli.options import Folder, Overrides, user_errors
from prentice.app.cli.stage import run_one


def export(project: Folder, set_: Overrides = None) -> None:
    """Merge the trained adapter and write GGUF, an Ollama Modelfile and a model card; check that answers stay equal."""
    with user_errors():
        context = run_one("export", project, set_)
        typer.echo(f"files: {context.folder('export')}")
