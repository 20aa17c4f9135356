"""`prentice check`: what is wrong with a project."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.options import USERS_TO_FIX

if TYPE_CHECKING:
    from prentice.pipeline.checking import Finding

MARKS = {"bad": "[red]✗", "doubtful": "[yellow]?", "good": "[green]✓"}


def check(
    project: Annotated[Path, typer.Argument(help="The project: a folder that holds a prentice.toml.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what is wrong with a project, all at once: settings, cases, grader, models, budget. No model is called.

    Exit code: 0 where it can be run, 2 something to fix.
    """
    from prentice.pipeline.checking import check as look

    findings = look(project)
    if json:
        typer.echo(json_text.dumps([finding.model_dump() for finding in findings], ensure_ascii=False, indent=2))
    else:
        _show(findings)
    raise typer.Exit(USERS_TO_FIX if any(finding.state == "bad" for finding in findings) else 0)


def _show(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    table = Table.grid(padding=(0, 1))
    for finding in findings:
        text = Text(finding.text, overflow="fold")
        if finding.step:
            text.append(f"\n→ {finding.step}", style="dim")
        table.add_row(MARKS[finding.state], Text(finding.topic, style="dim"), text)
    console.print(table)
    counts = [sum(finding.state == state for finding in findings) for state in MARKS]
    console.print(f"{counts[0]} to fix, {counts[1]} worth a look, {counts[2]} as it should be")
