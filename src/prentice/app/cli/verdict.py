"""The table and the verdict, printed."""

from __future__ import annotations

from pathlib import Path

from prentice.records import Report


def show(report: Report, page: Path | None = None, student: Path | None = None) -> None:
    """Print the report's table; name the page that shows it in full, and the folder of the exported student."""
    from rich.console import Console

    from prentice.evaluation import terminal_table

    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    console.print(terminal_table(report))
    for name, path in (("page", page), ("student", student)):
        if path is not None:
            console.print(f"{name}: {path}", highlight=False, soft_wrap=True, markup=False)
