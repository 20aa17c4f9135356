"""`prentice doctor`: what is there, what is not, and the next step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.options import USERS_TO_FIX

if TYPE_CHECKING:
    from prentice.app.doctor import Diagnosis

MARKS = {"good": "[green]✓", "absent": "[yellow]–", "bad": "[red]✗"}


def doctor(
    folder: Annotated[Path, typer.Argument(help="A project, or where one shall be.")] = Path(),
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask whether the network is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what is installed, loads, is set and has room, and the next step. The value of a key is never shown.

    Exit code: 0 where `prentice demo` could run, 2 something to fix.
    """
    from prentice.app.doctor import examine

    diagnosis = examine(folder, offline=offline)
    if json:
        typer.echo(diagnosis.model_dump_json(indent=2))
    else:
        _show(diagnosis)
    raise typer.Exit(0 if diagnosis.ready else USERS_TO_FIX)


def _show(diagnosis: Diagnosis) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=100)
    table = Table.grid(padding=(0, 1))
    topic = ""
    for finding in diagnosis.findings:
        named = "" if finding.topic == topic else finding.topic
        table.add_row(Text(named, style="dim"), MARKS[finding.state], Text(finding.text, overflow="fold"))
        topic = finding.topic
    console.print(table)
    console.print(Text.assemble("\nnext: ", (diagnosis.next, "bold")), soft_wrap=True)
