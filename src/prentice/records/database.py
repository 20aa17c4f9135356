"""A database connection for the store: where it is, how SQLite is set up, and what its errors mean to a user.

This module does not know what is stored.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypeGuard

from sqlalchemy import Insert, event, func, select
from sqlalchemy.engine import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from prentice.errors import MissingExtraError, StoreError
from prentice.records.migrations import STEPS, migrate, schema_version

BUSY_S = 60.0
"""How long a writer waits for another one before it gives up."""
CACHE_KB = 65_536
"""Of SQLite's pages in memory, for each connection."""
_WRITES = "prentice_writes"
_TEXTS_LOCK = 7_077_391_002
"""Key of the Postgres advisory lock on shared texts."""
_CALLS_LOCK = 7_077_391_003
"""Key of the Postgres advisory lock on episodes that grow by calls."""
_KEPT = "what was stored is kept"
_DAMAGED = "put back a copy of the store, or name a new file and run again"


def open_database(location: str | Path) -> tuple[Engine, Engine, str]:
    """Open or make a database and bring its schema up to date.

    Args:
        location: a file's path, or an SQLAlchemy URL of SQLite or Postgres.
    Returns: an engine to read with, one to write with (same pool), and the place's name for errors (no password in it).
    Raises: StoreError or MissingExtraError; a database of a newer schema is left untouched.
    """
    url, place = _resolve(location)
    engine = _engine(url, place)
    writing = engine.execution_options(**{_WRITES: True})
    try:
        with store_errors(place):
            with engine.connect() as connection:
                version = schema_version(connection, place)
            if engine.dialect.name == "sqlite":
                _use_write_ahead_log(engine)
            if version < len(STEPS):
                migrate(writing, place)
    except BaseException:
        engine.dispose()
        raise
    return engine, writing, place


def is_url(location: str | Path) -> TypeGuard[str]:
    """Whether this names a database by URL, not a file."""
    return isinstance(location, str) and "://" in location


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn a database's error into one line that says what it means for the user."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise _explain(place, error) from error


def hold_texts(connection: Connection, purpose: Literal["use", "delete"]) -> None:
    """Until the transaction ends, see that no text is removed as unused while another writer begins to use it.

    Many may use at once. In SQLite a writer is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if purpose == "use" else func.pg_advisory_xact_lock
        connection.execute(select(lock(_TEXTS_LOCK)))


def hold_calls(connection: Connection) -> None:
    """Until the transaction ends, see that no other writer adds a call to the same new episode.

    In SQLite a writer is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_CALLS_LOCK)))


def insert_all(connection: Connection, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, each with every column of the table."""
    if not rows:
        return
    if connection.dialect.name != "sqlite":
        connection.execute(statement, rows)
        return
    # a row costs SQLAlchemy twice what it costs SQLite, which takes our values as they are
    values = list(map(itemgetter(*statement.table.c.keys()), rows))
    connection.exec_driver_sql(str(statement.compile(dialect=connection.dialect)), values)


def compact(engine: Engine) -> None:
    """Write a file anew without the space that is free in it; a Postgres server looks after that itself."""
    if engine.dialect.name == "sqlite":
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("VACUUM").close()  # not within a transaction, as a connection of SQLAlchemy is
        finally:
            raw.close()


def _resolve(location: str | Path) -> tuple[URL, str]:
    if is_url(location):
        try:
            url = make_url(location)
        except ArgumentError as error:
            raise StoreError(f"store {location.partition('://')[0]}://…: not a database URL") from error
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        backend = url.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise StoreError(f"store {backend}://…: only sqlite and postgresql are known", "or name a file")
    else:
        url = URL.create("sqlite", database=str(location))
    if url.get_backend_name() != "sqlite":
        return url, url.set(query={}).render_as_string(hide_password=True)  # a query may hold a password too
    if not url.database or url.database == ":memory:":
        raise StoreError("a store in memory is lost when the program ends", "name a file")
    _prepare_file(Path(url.database))
    return url, url.database


def _prepare_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite takes a file smaller than its smallest page for a new one and would write over it
        small = path.is_file() and 0 < path.stat().st_size < 512
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}", "name another place for the store") from error
    if small:
        raise StoreError(f"{path}: not a database", "name another file for the store")


def _engine(url: URL, place: str) -> Engine:
    try:
        if url.get_backend_name() != "sqlite":
            return create_engine(url)
        engine = create_engine(url, connect_args={"timeout": BUSY_S})
    except NoSuchModuleError as error:
        raise StoreError(f"store {place}: {error}", "name a file, or a postgresql:// URL") from error
    except ModuleNotFoundError as error:
        install = 'pip install "prentice[postgres]"' if error.name == "psycopg" else f"pip install {error.name}"
        raise MissingExtraError(f"store {place} needs {error.name!r}, which is not installed", install) from error
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: Any, _: object) -> None:
    connection.isolation_level = None  # Python's driver would begin transactions late, without the write lock
    # NORMAL: in WAL mode a killed process loses nothing; only a power cut may undo the very last commits
    # a log of 4 000 pages: a page that many transactions touch is written back once, not every time
    # pages of 8 KB in a new file: a turn and its messages take kilobytes, and a row that fits one page is one write
    settings = (
        "page_size=8192",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KB}",
        "wal_autocheckpoint=4000",
    )
    for pragma in settings:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    # a reader that turns writer midway is refused at once instead of waiting, so writers say so at the start
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_write_ahead_log(engine: Engine) -> None:
    """Switch the file to WAL mode; SQLite does not wait for others here, so the waiting is ours."""
    deadline = time.monotonic() + BUSY_S
    raw = engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL").close()
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
    finally:
        raw.close()


def _code(error: BaseException) -> int:
    """SQLite's primary error code; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _explain(place: str, error: DBAPIError | sqlite3.Error) -> StoreError:
    cause = (error.orig or error) if isinstance(error, DBAPIError) else error
    said = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
    code = _code(cause)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) or getattr(cause, "sqlstate", "") == "53100":
        return StoreError(
            f"{place}: the disk took no more ({said}); {_KEPT}",
            "free some space and run the same command again: it resumes",
        )
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"{place}: another process holds it ({said}); {_KEPT}", "end that process and run again")
    if code == sqlite3.SQLITE_NOTADB:
        return StoreError(f"{place}: not a database", "name another file for the store")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreError(f"{place}: cannot be opened for writing ({said})", "name a file in a folder you can write to")
    if isinstance(cause, sqlite3.Error):
        return StoreError(f"{place}: damaged ({said})", _DAMAGED)
    lost = getattr(cause, "sqlstate", "") is None  # a refusal by the server itself has a state
    return StoreError(f"{place}: {said}", "see that the server runs and that the URL is right" if lost else "")


def damaged(place: str, what: str) -> StoreError:
    """The error for rows that are there but cannot be what was written."""
    return StoreError(f"{place}: damaged: {what}", _DAMAGED)
