"""Logs as people name them: files, folders of files, a project, a store, a database URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from prentice.errors import DataError
from prentice.pipeline.stores import open_store
from prentice.progress import Progress
from prentice.records import Episode
from prentice.records.database import is_url
from prentice.records.importing import LogOptions, Rejected, read_logs

ENDINGS = (
    ".jsonl",
    ".ndjson",
    ".json",
    ".csv",
    ".tsv",
    ".xlsx",
    ".parquet",
    ".jsonl.gz",
    ".ndjson.gz",
    ".json.gz",
    ".csv.gz",
)
"""Files of a folder that are taken for logs; a file that is named is read whatever it is called."""

_SQLITE = b"SQLite format 3\0"


def read_places(places: Sequence[str], options: LogOptions, progress: Progress) -> Iterator[Episode | Rejected]:
    """The episodes of all places, one after the other, and the rows of files that were left out.

    Raises: DataError if a file is not there, a folder holds no log, or a file is of no known format; StoreError for a
        store that cannot be opened.
    """
    stores = [place for place in places if _is_store(place)]
    files = [file for place in places if place not in stores for file in _files(Path(place))]
    for place in stores:
        yield from _stored(place, progress)
    if files:
        with progress.bar("reading", sum(file.stat().st_size for file in files) / 1e6, "MB") as bar:
            yield from read_logs(files, options, lambda amount: bar.advance(amount / 1e6))


def _stored(place: str, progress: Progress) -> Iterator[Episode]:
    with open_store(place) as store, progress.bar(place, store.count(), "episodes") as bar:
        for episode in store.episodes():
            yield episode
            bar.advance()


def _is_store(place: str) -> bool:
    path = Path(place)
    if is_url(place) or path.suffix == ".toml" or (path / "prentice.toml").is_file():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise DataError(f"{path}: no such file", "name files of logs, a folder of them, a project, or a store")
    found = sorted(file for file in path.rglob("*") if file.name.endswith(ENDINGS) and file.is_file())
    if not found:
        raise DataError(f"{path}: no logs in this folder", f"logs are files that end with {', '.join(ENDINGS[:7])}")
    return found
