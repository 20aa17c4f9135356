"""A store as people name it: a project's folder, a store's file, or a database URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prentice.errors import StoreError
from prentice.pipeline.project import Project
from prentice.records.database import is_url
from prentice.records.store import Store


def open_store(place: str) -> Store:
    """Open a store that is there; none is made.

    Raises: StoreError if there is none; ConfigError for a project that cannot be read.
    """
    if is_url(place):
        return Store.open(place)
    path = Path(place)
    if path.is_dir() or path.suffix == ".toml":
        project = Project(path)
        if not project.has_store:
            raise StoreError(f"{place}: no episodes yet", f"play some: prentice rollout {place}")
        return project.store()
    if not path.exists():
        raise StoreError(f"{place}: no such store", "name a project's folder, a store's file, or a database URL")
    return Store.open(path)


@contextmanager
def store_to_fill(place: str, *, only_look: bool = False) -> Iterator[Store | None]:
    """A store to write into, made if it is not there yet; None where it is not there and one only looks.

    Raises: StoreError if it cannot be opened or made; ConfigError for a project that cannot be read.
    """
    path = Path(place)
    project = Project(path) if not is_url(place) and (path.is_dir() or path.suffix == ".toml") else None
    if only_look and not (project.has_store if project else is_url(place) or path.exists()):
        yield None
        return
    with project.store() if project else Store.open(place if is_url(place) else path) as store:
        yield store
