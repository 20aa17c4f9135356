"""`prentice label`: a person judges and corrects episodes, key by key, or on a sheet that goes out and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prentice.app.cli.episodes import Place, Where
from prentice.app.cli.options import user_errors

if TYPE_CHECKING:
    from rich.console import Console

    from prentice.records.labelling.session import Session
    from prentice.records.store import Store


def label(  # noqa: PLR0913, PLR0917 - a flag for each way of asking people
    place: Place,
    where: Where = None,
    author: Annotated[str | None, typer.Option(help="Whose words these are; default: your user name.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many of the order.")] = None,
    order: Annotated[
        Literal["newest", "random", "uncertain"],
        typer.Option(help="random: the same for everybody; uncertain: unsure replies, tries that disagree."),
    ] = "newest",
    again: Annotated[bool, typer.Option("--again", help="Also what this author has judged.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a sheet for an expert to fill in instead: .xlsx or .csv.")
    ] = None,
    in_: Annotated[Path | None, typer.Option("--in", help="Read such a sheet back.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --in: say what would be stored.")] = False,
) -> None:
    """Accept, reject, correct and comment on episodes, one key each; it goes on where you left."""
    with user_errors():
        from prentice.errors import DataError
        from prentice.pipeline.stores import open_store
        from prentice.records.filters import Filter
        from prentice.records.labelling.order import in_order

        if out is not None and in_ is not None:
            raise DataError("--out and --in are two steps", "write the sheet, let it be filled in, then read it")
        with open_store(place) as store:
            if in_ is not None:
                _read_back(store, in_, author_name(author), dry_run)
                return
            ids = in_order(store, Filter.parse(where or ()), order)[:limit]
            if not ids:
                raise DataError(f"{store.place}: no episode fits", f"see: prentice episodes list {place}")
            if out is not None:
                _hand_out(store, ids, out)
            else:
                _by_key(store, ids, author_name(author), again)


def _hand_out(store: Store, ids: list[str], out: Path) -> None:
    from prentice.records.labelling.sheet_out import write_sheet

    rows = write_sheet(out, store.these(ids))
    typer.echo(f"{len(ids):,} episodes in {rows:,} rows of {out}; read it back with --in {out}")


def _read_back(store: Store, path: Path, author: str, dry_run: bool) -> None:
    from prentice.app.cli.options import USERS_TO_FIX
    from prentice.records.labelling.sheet_in import read_sheet

    outcome = read_sheet(store, path, author, dry_run=dry_run)
    for fault in outcome.faults:
        typer.echo(f"{path}: {fault}", err=True)
    names = ", ".join(f"{count:,} {name}" for name, count in sorted(outcome.new.items())) or "nothing"
    would = "would be new" if dry_run else "new"
    typer.echo(
        f"{outcome.rows:,} rows filled in: {names} {would}; {outcome.known:,} known, {len(outcome.faults):,} wrong"
    )
    if outcome.faults:
        raise typer.Exit(USERS_TO_FIX)


def _by_key(store: Store, ids: list[str], author: str, again: bool) -> None:
    from rich.console import Console

    from prentice.app.cli.keyboard import at_a_terminal
    from prentice.errors import DataError
    from prentice.records.labelling.session import Session

    if not at_a_terminal():
        hint = "run it in a terminal, or write a sheet: --out sheet.xlsx, and read it back: --in sheet.xlsx"
        raise DataError("label takes keys, and this is no terminal", hint)
    session, console = Session(store, ids, author, again=again), Console(highlight=False)
    if session.words is None:
        console.print(f"{author} has judged all of these; --again shows them once more")
        return
    _judge(session, console)
    _say_goodbye(session, console)


def _judge(session: Session, console: Console) -> None:
    """Show and ask until the person leaves or nothing is left."""
    from prentice.app.cli.label_keys import Quit, press
    from prentice.app.cli.label_screen import print_screen

    note, everything = "", False
    while (words := session.words) is not None:
        print_screen(session, words, console, everything=everything, note=note)
        try:
            note, everything = press(session, console, everything)
        except Quit:
            return


def _say_goodbye(session: Session, console: Console) -> None:
    from prentice.app.cli.label_screen import progress

    console.clear()
    tally = session.tally
    console.print(f"{progress(tally)}; by {session.author}")
    left = tally.states["open"]
    console.print(f"{left:,} left; the same command goes on from here" if left else "nothing is left")


def author_name(author: str | None) -> str:
    """Whose words these are: who is named, else the user of this machine.

    Raises: DataError if there is neither, or the name cannot be kept.
    """
    import getpass

    from prentice.errors import DataError
    from prentice.records.labelling.words import check_author

    try:
        name = author if author is not None else getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = ""
    if not check_author(name):
        raise DataError("nobody is named as the author", "give --author NAME")
    return check_author(name)
