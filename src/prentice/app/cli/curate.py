"""`prentice curate`: keep the work that proved good; `prentice curate pairs`: which of two replies is better."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from prentice.app.cli.groups import group_with
from prentice.app.cli.options import DryRun, Folder, Overrides, user_errors
from prentice.app.cli.stage import run_one

app = typer.Typer(cls=group_with("rows"), no_args_is_help=True)
From = Annotated[
    Literal["episodes", "edits", "critic", "thumbs"] | None,
    typer.Option(
        "--from",
        help="Only from episodes of one case, from what people wrote instead, from a critic model, or thumbs; default: "
        "as prentice.toml says.",
    ),
]


@app.callback()
def _group() -> None:
    """Choose what is learnt from. `prentice curate FOLDER` makes the rows to imitate, `prentice curate pairs` pairs."""


@app.command()
def rows(project: Folder, set_: Overrides = None) -> None:
    """Make a dataset of the teacher's episodes: keep, rank, dedupe, balance, split. The ledger accounts for each."""
    with user_errors():
        run_one("curate", project, set_)


@app.command()
def pairs(project: Folder, from_: From = None, set_: Overrides = None, dry_run: DryRun = False) -> None:
    """Make pairs of replies, of which one is better, or thumbs, for `train.preference`. The ledger accounts for each.

    With `pairs.student_tries` the student plays first, as it is before preference learning; what is missing of it is
    trained.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.curating import curate_project_pairs

    with user_errors():
        opened = Project(project, [*(set_ or ()), *_laid_over(from_)])
        for line in curate_project_pairs(opened, terminal_progress(), dry_run=dry_run):
            typer.echo(line)


def _laid_over(source: str | None) -> list[str]:
    """The settings that say so."""
    if source is None:
        return []
    if source == "thumbs":
        return ['train.preference.loss="kto"']
    return ['train.preference.loss="dpo"', f'pairs.sources=["{source}"]']
