"""`prentice`: every command in one table. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import typer

from prentice.app.cli.ablate import app as ablate
from prentice.app.cli.chat import chat
from prentice.app.cli.check import check
from prentice.app.cli.curate import app as curate
from prentice.app.cli.demo import demo
from prentice.app.cli.doctor import doctor
from prentice.app.cli.encoding import write_what_can_be_shown
from prentice.app.cli.episodes import app as episodes
from prentice.app.cli.estimate import estimate
from prentice.app.cli.evaluate import evaluate
from prentice.app.cli.export import export
from prentice.app.cli.imports import import_
from prentice.app.cli.keys import app as keys
from prentice.app.cli.label import label
from prentice.app.cli.models import app as models
from prentice.app.cli.new import new
from prentice.app.cli.record import record
from prentice.app.cli.report import report
from prentice.app.cli.rollout import rollout
from prentice.app.cli.run import run
from prentice.app.cli.schema import schema
from prentice.app.cli.train import app as train

app = typer.Typer(
    help="From a large model's recorded work to a small model that you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(demo)
app.command()(doctor)
app.command()(record)
app.command()(estimate)
app.command("import")(import_)
app.command()(new)
app.command()(check)
app.command()(run)
app.command()(rollout)
app.add_typer(curate, name="curate")
app.add_typer(train, name="train")
app.command()(export)
app.command()(evaluate)
app.command()(report)
app.add_typer(ablate, name="ablate")
app.command()(schema)
app.add_typer(episodes, name="episodes")
app.command()(label)
app.command()(chat)
app.add_typer(keys, name="keys")
app.add_typer(models, name="models")


def main() -> None:
    """The entry point of the `prentice` command."""
    write_what_can_be_shown()
    app()
