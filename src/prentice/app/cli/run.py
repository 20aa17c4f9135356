"""`prentice run`: the whole way, skipping what has not changed."""

from __future__ import annotations

from typing import Annotated

import typer

from prentice.app.cli.options import EXIT_CODES, DryRun, Folder, Overrides, Teacher, user_errors


def run(
    project: Folder,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and all after it again.")
    ] = None,
    set_: Overrides = None,
    teacher: Teacher = "recorded",
    dry_run: DryRun = False,
) -> None:
    """Teacher → curated dataset → student → export → held-out comparison → verdict.

    Exit code: 0 promote, 10 hold, 11 more data needed, 2 something to fix.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.app.cli.verdict import show
    from prentice.pipeline import run as run_project
    from prentice.pipeline.forecast import forecast

    with user_errors():
        if dry_run:
            for line in forecast(project, set_ or [], live_teacher=teacher == "live"):
                typer.echo(line)
            return
        outcome = run_project(
            project, overrides=set_ or [], start=start, live_teacher=teacher == "live", progress=terminal_progress()
        )
        show(outcome.report, outcome.page, outcome.student)
    verdict = outcome.report.verdict
    raise typer.Exit(EXIT_CODES[verdict.answer] if verdict else 0)
