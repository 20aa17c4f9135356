"""What commands share: their arguments, and the one place that turns a user's error into one line and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from prentice.errors import PrenticeError

Folder = Annotated[Path, typer.Argument(help="The project: a folder that holds a prentice.toml.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Lay section.key=value over prentice.toml; may be repeated.")
]
Teacher = Annotated[
    Literal["recorded", "live"],
    typer.Option(help="Where the teacher is a recording: scale its times (recorded), or measure it now (live)."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it would cost; do nothing.")]

USERS_TO_FIX = 2
EXIT_CODES = {"promote": 0, "hold": 10, "more data": 11}
"""By the verdict's answer."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Print a PrenticeError as one line with its hint and leave with exit code 2; let bugs through."""
    try:
        yield
    except PrenticeError as error:
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print("error:", style="bold red", end=" ")
        console.print(error.problem, markup=False)
        if error.hint:
            console.print(f"  try: {error.hint}", style="dim", markup=False)
        raise typer.Exit(USERS_TO_FIX) from error
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
