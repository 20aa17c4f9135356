"""`prentice ablate`: what made the student good, how many examples the task needs, what each method adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from prentice.app.cli.options import DryRun, Folder, Overrides, user_errors

if TYPE_CHECKING:
    from pathlib import Path

    from prentice.evaluation.ablation import Ablation
    from prentice.pipeline import Project
    from prentice.progress import Progress

app = typer.Typer(
    help="Train the same student on other rows, on fewer, or by fewer methods, and compare.", no_args_is_help=True
)


@app.command()
def curation(project: Folder, set_: Overrides = None, dry_run: DryRun = False) -> None:
    """The same student on curated rows, all rows, random rows, best tries, agreed ones, human labels; over seeds.

    What is done is not done again: the same command goes on from where it was stopped. Settings: `ablate` in
    prentice.toml. Exit code: 0 done, 2 something to fix.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.ablation.curation import ablate_curation
    from prentice.pipeline.ablation.forecast import forecast_curation

    with user_errors():
        opened = Project(project, set_ or ())
        if dry_run:
            _say(forecast_curation(opened))
            return
        _show(*ablate_curation(opened, terminal_progress()))


@app.command()
def sizes(project: Folder, set_: Overrides = None, dry_run: DryRun = False) -> None:
    """How many examples the task needs: students on 10, 30, 100, … curated rows, over seeds.

    Where the last method of the project is grpo: on 10, 30, 64 training cases to play, from the base and from what the
    methods before have made of it.

    What is done is not done again: the same command goes on from where it was stopped. Settings: `ablate` in
    prentice.toml. Exit code: 0 done, 2 something to fix.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.ablation.forecast import forecast_sizes
    from prentice.pipeline.ablation.sizes import ablate_sizes

    with user_errors():
        opened, progress = Project(project, set_ or ()), terminal_progress()
        if opened.config.train.chain[-1] == "grpo":
            _by_play(opened, progress, dry_run=dry_run)
        elif dry_run:
            _say(forecast_sizes(opened))
        else:
            _show(*ablate_sizes(opened, progress))


def _by_play(project: Project, progress: Progress, *, dry_run: bool) -> None:
    from prentice.pipeline import Context
    from prentice.pipeline.ablation.reinforced import ablate_play, forecast_play
    from prentice.pipeline.training_views import curated

    if dry_run:
        _say(forecast_play(project, progress))
        return
    dataset = curated(Context(project, progress)) if project.config.train.chain[:-1] else project.home
    _show(*ablate_play(project, dataset, progress))


@app.command()
def stages(project: Folder, set_: Overrides = None, dry_run: DryRun = False) -> None:
    """What each method of the chain adds: the student trained without each of them in turn, over seeds.

    What is done is not done again: the same command goes on from where it was stopped. Settings: `ablate` in
    prentice.toml. Exit code: 0 done, 2 something to fix.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.ablation.forecast import forecast_stages
    from prentice.pipeline.ablation.leaving_out import ablate_stages

    with user_errors():
        opened = Project(project, set_ or ())
        if dry_run:
            _say(forecast_stages(opened))
            return
        _show(*ablate_stages(opened, terminal_progress()))


def _say(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


def _show(made: Ablation, folder: Path) -> None:
    from rich.console import Console

    from prentice.evaluation.ablation_views import terminal_view

    console = Console()
    console.print(terminal_view(made))
    console.print(f"\nTable, figures and plot: {folder}", highlight=False, markup=False, soft_wrap=True)
