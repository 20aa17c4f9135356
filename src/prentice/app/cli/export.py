"""`prentice export`: the student as GGUF."""

from __future__ import annotations

from prentice.app.cli.options import Folder, Overrides, user_errors
from prentice.app.cli.stage import run_one


def export(project: Folder, set_: Overrides = None) -> None:
    """Merge the trained adapter and write GGUF, an Ollama Modelfile and a model card; check that answers stay equal."""
    with user_errors():
        record = run_one("export", project, set_)
        print_folder(project, record.outputs["folder"])


def print_folder(project: Folder, folder: str) -> None:
    """Say where the files are."""
    import typer

    typer.echo(f"files: {project / '.prentice' / folder}")
