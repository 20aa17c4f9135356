"""`prentice label`: a person judges and corrects episodes, key by key, or on a sheet that goes out and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prentice.app.cli.episodes import Place, Where
from prentice.app.cli.options import user_errors

if TYPE_CHECKING:
    from rich.console import Console

    from prentice.records.labelling.session import Session
    from prentice.records.store import Store


def label(
    place: Place,
    where: Where = None,
    author: Annotated[str | None, typer.Option(help="Whose words these are; default: your user name.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many of the order.")] = None,
    order: Annotated[
        Literal["newest", "random", "uncertain"],
        typer.Option(help="What comes first; uncertain: unsure replies, and tries that disagree."),
    ] = "newest",
    seed: Annotated[int, typer.Option(help="Of the random order: the same seed is the same order.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Also what this author has judged.")] = False,
) -> None:
    """Accept, reject, correct and comment on episodes, one key each; it goes on where you left."""
    with user_errors():
        from prentice.pipeline.stores import open_store

        with open_store(place) as store:
            _by_key(store, where, _name(author), limit, order, seed, again)


def _by_key(
    store: Store,
    where: list[str] | None,
    author: str,
    limit: int | None,
    order: Literal["newest", "random", "uncertain"],
    seed: int,
    again: bool,
) -> None:
    from rich.console import Console

    from prentice.app.cli.keyboard import at_a_terminal
    from prentice.errors import DataError
    from prentice.records.filters import Filter
    from prentice.records.labelling.order import in_order
    from prentice.records.labelling.session import Session

    wanted = Filter.parse(where or ())
    if not at_a_terminal():
        hint = "run it in a terminal, or write a sheet: --out sheet.xlsx, and read it back: --in sheet.xlsx"
        raise DataError("label takes keys, and this is no terminal", hint)
    ids = in_order(store, wanted, order, seed)[:limit]
    if not ids:
        raise DataError(f"{store.place}: no episode fits", "see: prentice episodes list")
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


def _name(author: str | None) -> str:
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
