"""`prentice demo`: the main job, end to end, in a folder of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prentice.app.cli.options import DryRun, Overrides, user_errors


def demo(
    folder: Annotated[Path, typer.Option(help="Where to work; made if it is not there.")] = Path("prentice-demo"),
    set_: Overrides = None,
    dry_run: DryRun = False,
) -> None:
    """A 135M model learns what a 1.5B model does: about a quarter of an hour on two cores, 100 MB to download.

    The same command goes on where it was stopped. Exit code: 0 whatever the verdict is, 2 something to fix.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.app.cli.verdict import show
    from prentice.pipeline import example, run
    from prentice.pipeline.forecast import forecast

    with user_errors():
        if dry_run:
            project = folder if example.is_put(folder) else example.shipped()
            typer.echo("\n".join(forecast(project, set_ or [])))
            return
        outcome = run(example.put(folder), overrides=set_ or [], progress=terminal_progress())
        show(outcome.report, outcome.page, outcome.student)
