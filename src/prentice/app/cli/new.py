"""`prentice new`: five questions, or flags, and a project that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.options import user_errors

if TYPE_CHECKING:
    from prentice.pipeline.scaffold import Answers, Draft, Guess, Table

Ask = Callable[[str, str, str], str]
"""(question, default, reason) → answer."""


def new(  # noqa: PLR0913, PLR0917 - a flag for each question
    folder: Annotated[Path, typer.Argument(help="The project's folder; made if it is not there.")],
    cases: Annotated[
        Path | None, typer.Option(help="Your examples: .csv, .tsv, .xlsx or .jsonl, or where calls were recorded.")
    ] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", metavar="COLUMN", help="What comes in.")] = None,
    output: Annotated[str | None, typer.Option(metavar="COLUMN", help="What should come out.")] = None,
    grade: Annotated[
        str | None, typer.Option(help="exact, label, json, entities, regex, number, python, command or judge.")
    ] = None,
    instructions: Annotated[str | None, typer.Option(help="What is to be done, in words.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Who does it today: local:NAME, openai:NAME, ..., or 'task:answer key'.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what seems best.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files; write nothing.")] = False,
) -> None:
    """Make a project of your own from your examples: cases.csv, instructions.md and prentice.toml.

    Every question has a flag, and a default that --yes takes. Without examples a dozen sample rows stand in their
    place. Nothing is written over.
    """
    from prentice.pipeline import scaffold

    with user_errors():
        ask = _taken if yes else _asked
        if cases is None and (named := ask("Which file holds your examples? (empty: a dozen samples)", "", "")):
            cases = Path(named)
        table = None if cases is None else _read(cases)
        answers, table, is_sample = _answers(table, tuple(input_ or ()), output, grade, ask)
        answers = _rest(answers, table, instructions, teacher, ask)
        project = scaffold.draft(answers, table, is_sample=is_sample)
        if dry_run:
            _print(project)
            return
        scaffold.write(folder, project)
        _say_what_next(folder, project, is_sample=is_sample)


def _read(cases: Path) -> Table:
    from prentice.pipeline import scaffold

    table = scaffold.recorded_table(cases) if scaffold.is_recorded(cases) else scaffold.read_table(cases)
    typer.echo(f"{table.path}: {len(table.rows):,} rows; columns {', '.join(table.columns)}")
    if table.note:
        typer.echo(f"  {table.note}")
    return table


def _asked(question: str, default: str, reason: str) -> str:
    from prentice.errors import PrenticeError

    shown = f"{question} [{reason}]" if reason else question
    try:
        return str(typer.prompt(shown, default=default, show_default=bool(default))).strip()
    except typer.Abort as error:
        raise PrenticeError(
            f"no answer to: {question}", "answer it, give its flag, or take what is best: --yes"
        ) from error


def _taken(question: str, default: str, reason: str) -> str:
    if default and reason:
        typer.echo(f"{question} {default} ({reason})")
    return default


def _answers(
    table: Table | None, inputs: tuple[str, ...], output: str | None, grade: str | None, ask: Ask
) -> tuple[Answers, Table, bool]:
    """The columns and the grader."""
    from prentice.pipeline import scaffold

    def choose(question: str, guess: Guess) -> str:
        return ask(question, guess.value, guess.reason)

    if table is None:
        kind = grade or ask("What should come out? exact, label, json, number, ...", "number", "as the samples have it")
        table, column, output = scaffold.sample(kind)
        return scaffold.Answers((column,), output, kind, "", ""), table, True
    output = output or choose("Which column should come out?", scaffold.guess_output(table))
    inputs = inputs or tuple(
        name.strip() for name in choose("Which column comes in?", scaffold.guess_inputs(table, output)).split(",")
    )
    values = table.values(output) if output in table.columns else []
    kind = grade or choose("How is a reply graded?", scaffold.guess_grader(values))
    return scaffold.Answers(inputs, output, kind, "", ""), table, False


def _rest(
    answers: Answers,
    table: Table,
    instructions: str | None,
    teacher: str | None,
    ask: Ask,
) -> Answers:
    """The wording and the teacher."""
    from dataclasses import replace

    from prentice.pipeline import scaffold

    values = table.values(answers.output) if answers.output in table.columns else []
    told = (
        instructions
        or table.instructions
        or ask("What is to be done, in words?", scaffold.instructions(answers.grade, answers.output, values), "")
    )
    found = scaffold.find_teacher()
    who = teacher or ask("Who does it today?", found.value, found.reason)
    return replace(answers, instructions=told, teacher=who)


def _print(project: Draft) -> None:
    for name, text in project.files.items():
        typer.echo(f"── {name}")
        typer.echo(text)


def _say_what_next(folder: Path, project: Draft, *, is_sample: bool) -> None:
    from rich.console import Console
    from rich.panel import Panel

    console = Console(highlight=False)
    counts = ", ".join(f"{count:,} {split}" for split, count in sorted(project.counts.items()))
    console.print(f"{folder}: {', '.join(project.files)}; cases: {counts}", soft_wrap=True, markup=False)
    for note in project.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    if is_sample:
        console.print(f"note: {folder}/cases.csv holds samples: put your own rows in their place", soft_wrap=True)
    steps = [f"prentice check {folder}", f"prentice run {folder} --dry-run", f"prentice run {folder}"]
    console.print(Panel("\n".join(steps), title="next", title_align="left", expand=False))
