"""`prentice evaluate`: all policies on the same held-out cases."""

from __future__ import annotations

import typer

from prentice.app.cli.options import EXIT_CODES, Folder, Overrides, Teacher, user_errors
from prentice.app.cli.stage import run_one


def evaluate(
    project: Folder,
    set_: Overrides = None,
    teacher: Teacher = "recorded",
) -> None:
    """Play the held-out cases with every policy and judge.

    Exit code: 0 promote, 10 hold, 11 more data needed, 2 something to fix.
    """
    from prentice.app.cli.verdict import show
    from prentice.records import Report
    from prentice.runs import read_record

    with user_errors():
        context = run_one("evaluate", project, set_, live_teacher=teacher == "live")
        report = read_record(Report, context.folder("evaluate") / "report.json")
        show(report)
    raise typer.Exit(EXIT_CODES[report.verdict.answer] if report.verdict else 0)
