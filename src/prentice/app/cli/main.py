"""`prentice`: every command in one table. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import typer

from prentice.app.cli import curate, evaluate, export, models, report, rollout, run, train

app = typer.Typer(
    help="From a large model's recorded work to a small model that you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(run.run)
app.command()(rollout.rollout)
app.command()(curate.curate)
app.add_typer(train.app, name="train")
app.command()(export.export)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.add_typer(models.app, name="models")


def main() -> None:
    """The entry point of the `prentice` command."""
    app()
