"""`prentice train`: one command a method; without a method, all that the project names, one after the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.groups import group_with
from prentice.app.cli.options import USERS_TO_FIX, Folder, Overrides, user_errors
from prentice.app.cli.stage import run_one

if TYPE_CHECKING:
    from prentice.pipeline.project import MethodName
    from prentice.pipeline.training_views import What

app = typer.Typer(cls=group_with("chain"), no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train the student. `prentice train FOLDER` goes through all methods that the project names."""


Check = Annotated[
    bool, typer.Option("--check", help="Show what would be taught, token by token, and every row at fault; do nothing.")
]
Estimate = Annotated[
    bool, typer.Option("--estimate", help="Say which memory, hours and disk the run would need; do nothing.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings that would be used; do nothing.")]
On = Annotated[str, typer.Option(metavar="GPU", help="With --estimate: on such GPUs, as h100 or 8xh100 (with FSDP).")]
Base = Annotated[str, typer.Option(help="With --estimate: another student, as llama-3.1-8b, or a model's folder.")]
Rows = Annotated[int | None, typer.Option(min=1, help="With --estimate: so many rows, instead of the dataset.")]
Tokens = Annotated[int | None, typer.Option(min=1, help="With --estimate: tokens of each of the --rows.")]


@app.command(hidden=True)
def chain(  # noqa: PLR0913, PLR0917 - a flag for each thing to ask about
    project: Folder,
    set_: Overrides = None,
    check: Check = False,
    estimate: Estimate = False,
    dry_run: DryRun = False,
    on: On = "",
    base: Base = "",
    rows: Rows = None,
    tokens: Tokens = None,
) -> None:
    """Train the student by the methods that the project names, one after the other; what was stopped goes on.

    Exit code: 0 done, 2 something to fix; so with --check, if the run would not start.
    """
    from prentice.pipeline.training_views import What

    what = What(base=base, on=on, rows=rows or 0, tokens=tokens or 0)
    with user_errors():
        _refuse_alone(what, estimate=estimate)
        if dry_run:
            _print_settings(project, set_ or ())
        if check:
            _check(project, set_ or ())
        if estimate:
            _estimate(project, set_ or (), what)
        if not (dry_run or check or estimate):
            run_one("train", project, set_)


@app.command()
def cpt(project: Folder, set_: Overrides = None, dry_run: DryRun = False) -> None:
    """Go on pretraining the student on documents; it needs no curated dataset.

    Exit code: 0 done, 2 something to fix.
    """
    if dry_run:
        _look_at_documents(project, set_ or ())
    else:
        _train("cpt", project, set_)


@app.command()
def sft(  # noqa: PLR0913, PLR0917 - a flag for each thing to ask about
    project: Folder,
    set_: Overrides = None,
    check: Check = False,
    estimate: Estimate = False,
    dry_run: DryRun = False,
    on: On = "",
    base: Base = "",
    rows: Rows = None,
    tokens: Tokens = None,
) -> None:
    """Fine-tune the student on the curated dataset; a run that was stopped goes on.

    Exit code: 0 done, 2 something to fix; so with --check, if the run would not start.
    """
    if dry_run or check or estimate or on or base or rows or tokens:
        chain(project, set_, check, estimate, dry_run, on, base, rows, tokens)
    else:
        _train("sft", project, set_)


@app.command()
def preference(project: Folder, set_: Overrides = None, dry_run: DryRun = False) -> None:
    """Let the student learn from pairs of replies, or from thumbs up and down.

    Exit code: 0 done, 2 something to fix.
    """
    _train("preference", project, set_, dry_run=dry_run)


Probe = Annotated[
    bool, typer.Option("--probe", help="Let the student play a few cases and say whether to start; train nothing.")
]


@app.command()
def grpo(project: Folder, set_: Overrides = None, probe: Probe = False, dry_run: DryRun = False) -> None:
    """Let the student learn from its own play on the training cases; a run that was stopped goes on.

    Exit code: 0 done, 2 something to fix.
    """
    if not probe:
        _train("grpo", project, set_, dry_run=dry_run)
        return
    with user_errors():
        _probe(project, _with("grpo", project, set_ or ()))


@app.command()
def distill(project: Folder, set_: Overrides = None, dry_run: DryRun = False) -> None:
    """Let the student learn what a larger model of the same vocabulary thinks.

    Exit code: 0 done, 2 something to fix.
    """
    _train("distill", project, set_, dry_run=dry_run)


def _train(method: MethodName, project: Path, overrides: Sequence[str] | None, *, dry_run: bool = False) -> None:
    """Train by the methods of the project up to this one."""
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Context, Project
    from prentice.pipeline.partly import train_up_to

    with user_errors():
        if dry_run:
            _print_settings(project, overrides or ())
            return
        train_up_to(Context(Project(project, overrides or ()), terminal_progress()), method)


def _look_at_documents(project: Path, overrides: Sequence[str]) -> None:
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.learning.cpt import look_at_documents

    with user_errors():
        _print_settings(project, overrides)
        look_at_documents(Project(project, overrides), terminal_progress())


def _with(method: MethodName, project: Path, overrides: Sequence[str]) -> list[str]:
    """The overrides, with the method in the chain where the project does not name it."""
    from prentice.pipeline.project import METHODS, Project

    chain = Project(project, overrides).config.train.chain
    if method in chain:
        return list(overrides)
    names = [name for name in METHODS if name == method or name in chain]
    return [*overrides, f"train.stages={json.dumps(names)}"]


def _probe(project: Path, overrides: Sequence[str]) -> None:
    from rich.console import Console

    from prentice.app.cli.probe_view import print_probe
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.probing import probe

    found = probe(Project(project, overrides), terminal_progress())
    print_probe(found, Console(highlight=False), f"prentice train grpo {project}")


def _refuse_alone(what: What, *, estimate: bool) -> None:
    from prentice.errors import ConfigError
    from prentice.pipeline.training_views import What

    if what != What() and not estimate:
        raise ConfigError("--on, --base, --rows and --tokens only say what to estimate", "add --estimate")


def _print_settings(project: Path, overrides: Sequence[str]) -> None:
    from prentice.pipeline import Project

    typer.echo(Project(project, overrides).config.train.model_dump_json(indent=2))


def _check(project: Path, overrides: Sequence[str]) -> None:
    from rich.console import Console

    from prentice.app.cli.terminal import terminal_progress
    from prentice.app.cli.train_views import print_truth
    from prentice.pipeline.training_views import look_at_rows

    truth = look_at_rows(project, overrides, terminal_progress())
    print_truth(truth, Console(highlight=False), f"prentice train {project}")
    if truth.faults:
        raise typer.Exit(USERS_TO_FIX)


def _estimate(project: Path, overrides: Sequence[str], what: What) -> None:
    from rich.console import Console

    from prentice.app.cli.terminal import terminal_progress
    from prentice.app.cli.train_views import print_outlook
    from prentice.pipeline.training_views import estimate_run

    print_outlook(estimate_run(project, overrides, what, terminal_progress()), Console(highlight=False))
