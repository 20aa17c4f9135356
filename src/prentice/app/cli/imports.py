"""`prentice import`: logs of what runs today become episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.options import user_errors

if TYPE_CHECKING:
    from prentice.progress import Progress
    from prentice.records.importing import LogOptions, Rejected
    from prentice.records.importing.storing import Imported
    from prentice.records.store import Store

SHOWN = 20
"""Rows left out that are printed; `--rejected` writes all."""
SMALL = 16_000_000
"""Bytes of logs that are read before another process has started."""
Refuse = Callable[["Rejected"], None]


def import_(
    place: Annotated[
        str, typer.Argument(help="Where to: a project's folder, a store's file or a database URL; made if not there.")
    ],
    files: Annotated[list[Path], typer.Argument(help="Logs: JSON lines, JSON, CSV, XLSX, parquet; .gz too.")],
    as_: Annotated[
        str | None, typer.Option("--as", metavar="FORMAT", help="The format; default: told from the content.")
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What they do not say: task, split, function; of a table, the columns input and output.",
        ),
    ] = None,
    rejected: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all rows that are left out here, as JSON lines.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything, say what would be stored.")] = False,
) -> None:
    """Bring logs in as episodes. Importing the same rows again stores nothing twice.

    Exit code: 0 done, also where rows were left out (each is named with its reason); 2 something to fix.
    """
    from prentice.records.importing import LogOptions

    with user_errors():
        _import(place, files, LogOptions.parse(read or (), as_), rejected, dry_run=dry_run)


def _import(place: str, files: list[Path], options: LogOptions, rejected: Path | None, *, dry_run: bool) -> None:
    import os

    from prentice.app.cli.terminal import terminal_progress
    from prentice.errors import DataError
    from prentice.pipeline.stores import store_to_fill
    from prentice.records.importing.storing import import_logs

    if missing := [str(file) for file in files if not file.is_file()]:
        raise DataError(f"{missing[0]}: no such file", "name the log files; a shell's * names many")
    size = sum(file.stat().st_size for file in files)
    progress = terminal_progress()
    with (
        store_to_fill(place, only_look=dry_run) as store,
        _told(rejected, progress) as refuse,
        progress.bar("reading", size / 1e6, "MB") as bar,
    ):
        result = import_logs(
            files,
            store,
            options,
            dry_run=dry_run,
            processes=min(os.cpu_count() or 1, 8) if size > SMALL else 0,
            advance=lambda amount: bar.advance(amount / 1e6),
            refuse=refuse,
        )
    _print(result, place, store, dry_run=dry_run)


@contextmanager
def _told(path: Path | None, progress: Progress) -> Iterator[Refuse]:
    """Where rows that are left out are said: in a file, all of them; else on the terminal, the first."""
    if path is not None:
        from prentice.runs import file_atomic

        with file_atomic(path) as scratch, scratch.open("w", encoding="utf-8") as file:
            yield lambda one: print(one.model_dump_json(), file=file)
        return
    told = 0

    def say(one: Rejected) -> None:
        nonlocal told
        told += 1
        if told <= SHOWN:
            progress.say(f"left out: {one}")

    yield say
    if told > SHOWN:
        progress.say(f"... and {told - SHOWN:,} more; --rejected FILE writes all")


def _print(result: Imported, place: str, store: Store | None, *, dry_run: bool) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    known = result.episodes - result.new
    console.print(
        f"{result.new:,} episodes {'would be stored' if dry_run else 'stored'} in {store.place if store else place}"
        + (f", {known:,} were there already" if known else ""),
        markup=False,
    )
    if result.episodes:
        splits = ", ".join(f"{result.splits[name]:,} {name}" for name in ("train", "val", "test"))
        judged = f"{result.judged:,} with an outcome, {result.successes:,} of them a success"
        console.print(f"  {result.turns:,} turns, {result.tool_calls:,} tool calls; {judged}; {splits}")
    if store is not None and store.guard is not None and (told := store.guard.told(result.found)):
        console.print(f"  {told}", markup=False)
    if result.rejected:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in result.rejected.most_common())
        console.print(f"{result.rejected.total():,} rows left out: {reasons}", style="yellow")
