"""`prentice episodes`: look at what is stored, take it out, remove it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.options import user_errors

if TYPE_CHECKING:
    from prentice.records.store import Store

app = typer.Typer(help="The store of episodes: list, show, export, delete.", no_args_is_help=True)

Place = Annotated[str, typer.Argument(help="A project's folder, a store's file, or a database URL.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        help="Only episodes that fit, such as run=ab12, split=test, failure=any, since=7d, tag.role=base, "
        "success=true, 'steps<10'; several must all fit.",
    ),
]


@app.command("list")
def list_episodes(
    place: Place, where: Where = None, limit: Annotated[int, typer.Option(min=1, help="How many are shown.")] = 20
) -> None:
    """Show the episodes stored last, newest first, and how many fit."""
    from rich.console import Console

    from prentice.app.cli.episode_views import episodes_table
    from prentice.records.filters import Filter

    with user_errors(), _open(place) as store:
        wanted = Filter.parse(where or ())
        number, shown = store.count(wanted), store.summaries(wanted, limit=limit)
        console = Console()
        if shown:
            console.print(episodes_table(shown))
        console.print(f"{number:,} episodes" + (f", {len(shown):,} shown" if number > len(shown) else ""))


@app.command()
def show(
    place: Place, episode: Annotated[str, typer.Argument(metavar="ID", help="The id, or enough of its beginning.")]
) -> None:
    """Show one episode: what was said, its metrics, times and costs."""
    from rich.console import Console

    from prentice.app.cli.episode_views import print_episode
    from prentice.errors import DataError
    from prentice.records.filters import Filter

    with user_errors(), _open(place) as store:
        number = store.count(Filter(id=episode))
        found = store.summaries(Filter(id=episode), limit=4)
        exact = [each for each in found if each.id == episode]
        if number != 1 and not exact:
            begun = ", ".join(each.id for each in found)
            hint = f"give more of it: {begun}" if found else f"see: prentice episodes list {place}"
            raise DataError(f"{number:,} episodes have an id that begins with {episode!r}", hint)
        wanted = (exact or found)[0].id
        print_episode(next(e for e in store.episodes(Filter(id=wanted)) if e.id == wanted), Console())


@app.command()
def export(
    place: Place,
    out: Annotated[Path, typer.Argument(help="The file: .jsonl, .jsonl.gz or .parquet.")],
    where: Where = None,
    as_: Annotated[
        str,
        typer.Option("--as", metavar="FORM", help="openai, messages, sharegpt (rows are conversations) or prentice."),
    ] = "prentice",
) -> None:
    """Write episodes to a file, whole or not at all; `recorded:FILE` replays a JSONL one of prentice's own."""
    from prentice.records.exporting import write_logs
    from prentice.records.filters import Filter

    with user_errors(), _open(place) as store:
        number = write_logs(out, store.episodes(Filter.parse(where or ())), as_)
        typer.echo(f"{number:,} {'episodes' if as_ == 'prentice' else 'conversations'} in {out}")


@app.command()
def delete(
    place: Place,
    where: Where = None,
    older_than: Annotated[str | None, typer.Option(help="Begun so long ago or longer, such as 90d.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many; remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    compact: Annotated[bool, typer.Option("--compact", help="Give a file's freed space back to the disk.")] = False,
    projects: Annotated[
        list[Path] | None, typer.Option("--project", help="Whose datasets come from a store that is not its own.")
    ] = None,
) -> None:
    """Remove episodes for good, and what only they used; mark every dataset and checkpoint that was made from them."""
    from prentice.errors import DataError
    from prentice.pipeline import Project
    from prentice.pipeline.lineage import delete_episodes, descendants
    from prentice.pipeline.stores import project_of
    from prentice.records.filters import Filter

    with user_errors(), _open(place) as store:
        texts = [*(where or ()), *([f"before={older_than}"] if older_than else [])]
        if not texts:
            raise DataError("delete needs to know which episodes", "give --where or --older-than")
        wanted = Filter.parse(texts)
        own = project_of(place)
        homes = [project.home for project in (*([own] if own else []), *map(Project, projects or ()))]
        ids = store.ids(wanted)
        made = [(home / found.folder, found) for home in homes for found in descendants(home, ids)]
        for folder, found in made:
            typer.echo(f"{found.kind} {folder} was made from {len(found.episodes):,} of them")
        if dry_run or not ids:
            typer.echo(f"{len(ids):,} episodes would be removed from {store.place}")
            return
        if not yes:
            typer.confirm(f"Remove {len(ids):,} episodes from {store.place} for good?", abort=True)
        typer.echo(f"{delete_episodes(store, wanted, homes):,} episodes removed")
        if made:
            typer.echo(
                f"{len(made):,} folders are marked with a deleted.json; to be rid of what they hold, remove them"
            )
        if compact:
            store.compact()


def _open(place: str) -> Store:
    from prentice.pipeline.stores import open_store

    return open_store(place)
