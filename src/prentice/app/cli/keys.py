"""`prentice keys`: who may use a project's endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from prentice.app.cli.options import user_errors

app = typer.Typer(help="Keys of a project's endpoint: add, list, remove.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="What the key is called, such as the application's name.")]
Project = Annotated[Path, typer.Option("--project", help="The project, or the folder that records.")]


@app.command()
def add(
    name: Name,
    project: Project = Path(),
    scope: Annotated[Literal["all", "chat", "feedback"], typer.Option(help="What it allows.")] = "all",
) -> None:
    """Make a key and show it, this once: only its hash is kept."""
    from prentice.pipeline.recording import Recording
    from prentice.serving.keys import SCOPES, add_key

    with user_errors():
        typer.echo(add_key(Recording.of(project).home, name, SCOPES if scope == "all" else (scope,)))


@app.command("list")
def list_keys(project: Project = Path()) -> None:
    """Show the names of all keys, and what they allow."""
    from prentice.pipeline.recording import Recording
    from prentice.serving.keys import read_keys

    with user_errors():
        keys = read_keys(Recording.of(project).home).keys
        for key in keys:
            typer.echo(f"{key.name}  {', '.join(key.scopes)}  made {key.made_at.astimezone():%Y-%m-%d}")
        if not keys:
            typer.echo("no keys: the endpoint can only be bound to this machine, and takes the provider's own keys")


@app.command()
def remove(name: Name, project: Project = Path()) -> None:
    """Remove a key; a running endpoint refuses it within a second."""
    from prentice.pipeline.recording import Recording
    from prentice.serving.keys import remove_key

    with user_errors():
        remove_key(Recording.of(project).home, name)
        typer.echo(f"removed {name}")
