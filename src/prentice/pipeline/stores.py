"""A store as people name it: a project's folder, a store's file, or a database URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prentice.errors import StoreError
from prentice.pipeline.project import FILE, HOME, STORE, Project
from prentice.records.database import is_url
from prentice.records.store import Store


def open_store(place: str) -> Store:
    """Open a store that is there; none is made.

    Raises: StoreError if there is none; ConfigError for a project that cannot be read.
    """
    if (project := project_of(place)) is not None:
        if not project.has_store:
            raise StoreError(f"{place}: no episodes yet", f"play some: prentice rollout {place}")
        return project.store()
    path = _file(place)
    if path is not None and not path.exists():
        raise StoreError(f"{place}: no such store", "name a project's folder, a store's file, or a database URL")
    return Store.open(path or place)


def project_of(place: str) -> Project | None:
    """The project that a store belongs to, whose rules hold for what is stored; None if it is nobody's.

    Raises: ConfigError for a project that cannot be read.
    """
    if is_url(place):
        return None
    path = Path(place)
    if path.suffix == ".toml" or (path / FILE).exists():
        return Project(path)
    owner = path.parent.parent
    return Project(owner) if path.parent.name == HOME and (owner / FILE).exists() else None


def _file(place: str) -> Path | None:
    """A store's file; that of a folder without a `prentice.toml` is where `prentice record` puts it."""
    if is_url(place):
        return None
    path = Path(place)
    return path / HOME / STORE if path.is_dir() else path


@contextmanager
def store_to_fill(place: str, *, only_look: bool = False) -> Iterator[Store | None]:
    """A store to write into, made if it is not there yet; None where it is not there and one only looks.

    Raises: StoreError if it cannot be opened or made; ConfigError for a project that cannot be read.
    """
    project, path = project_of(place), _file(place)
    if only_look and not (project.has_store if project else path is None or path.exists()):
        yield None
        return
    with project.store() if project else Store.open(path or place) as store:
        yield store
