"""The store's schema: made once however many begin at once, never read when it is not ours to read."""

from __future__ import annotations

import gzip
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import MetaData, Table, create_engine

from prentice.errors import StoreError
from prentice.records.database import open_database
from prentice.records.filters import Filter
from prentice.records.jsonl import read_episodes
from prentice.records.schema import METADATA
from prentice.records.schema_1 import first_schema
from prentice.records.store import Store
from records_examples import exact, example

DATA = Path(__file__).parent / "data"


def test_the_steps_lead_to_the_schema_that_the_queries_use(place: str | Path) -> None:
    Store.open(place).close()
    engine = open_database(place)[0]
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


@pytest.fixture
def version_1(place: str | Path) -> str | Path:
    """A store as prentice 0.1.0 left it."""
    with closing(sqlite3.connect(":memory:")) as old:
        old.row_factory = sqlite3.Row
        old.executescript(gzip.decompress((DATA / "store_version_1.sql.gz").read_bytes()).decode())
        if isinstance(place, Path):
            with closing(sqlite3.connect(place)) as file:
                old.backup(file)
            return place
        engine = create_engine(place.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            first_schema(Operations(MigrationContext.configure(connection)))
            tables = MetaData()
            tables.reflect(connection)
            for table in tables.sorted_tables:
                rows = [dict(row) for row in old.execute(f"SELECT * FROM {table.name}")]
                if table.name == "prentice_schema":
                    connection.execute(table.update().values(version=1))
                elif rows:
                    connection.execute(table.insert(), [_with_flags(row) for row in rows])
        engine.dispose()
    return place


def _with_flags(row: dict[str, object]) -> dict[str, object]:
    return {name: bool(value) if name == "flag" and value is not None else value for name, value in row.items()}


def test_a_store_of_version_1_is_carried_over_whole(version_1: str | Path) -> None:
    given_in = list(read_episodes(DATA / "store_version_1.jsonl.gz"))
    assert len(given_in) == 279
    with Store.open(version_1) as store:
        assert list(store.episodes()) == given_in
        assert [exact(episode) for episode in store.episodes()] == [exact(episode) for episode in given_in]
        assert store.add([*given_in, example("new")]) == 1
        assert store.count(Filter(tags={"role": "base"})) == 1
        assert store.count(Filter.parse(["success=true"])) == 2


def test_what_was_carried_over_is_written_as_it_would_be_today(version_1: str | Path, tmp_path: Path) -> None:
    with Store.open(version_1) as store, Store.open(tmp_path / "new.db") as new:
        new.add(store.episodes())
    for table in METADATA.sorted_tables:
        old_rows, new_rows = (_rows(place, table) for place in (version_1, tmp_path / "new.db"))
        assert old_rows == new_rows


def test_a_new_store_is_not_older_than_it_says_when_the_carrying_over_is_killed(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as file:
        file.executescript(gzip.decompress((DATA / "store_version_1.sql.gz").read_bytes()).decode())
    kill = """
import os, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from prentice.records.store import Store
def stop(connection, cursor, statement, *rest):
    if statement.startswith(sys.argv[2]):
        os._exit(9)
event.listen(Engine, "before_cursor_execute", stop)
Store.open(sys.argv[1])
"""
    for begins in ("INSERT INTO turns", "\nDROP TABLE messages_1", "UPDATE prentice_schema"):
        killed = subprocess.run([sys.executable, "-c", kill, str(tmp_path / "store.db"), begins], check=False)
        assert killed.returncode == 9
    with Store.open(tmp_path / "store.db") as store:
        assert list(store.episodes()) == list(read_episodes(DATA / "store_version_1.jsonl.gz"))


def test_a_database_of_a_newer_schema_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        store.add([example()])
    _change(path, "UPDATE prentice_schema SET version = 99", "CREATE TABLE later (x)", "PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"store\.db: written by a newer prentice \(schema 99; .*upgrade prentice"):
        Store.open(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"x", b"case,label\n" * 500, bytes(4096), b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"cases\.csv: (not a database|damaged)"):
        Store.open(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "cookies.db"
    _change(path, "CREATE TABLE cookies (name)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"another program \(tables: cookies\)"):
        Store.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["DELETE FROM prentice_schema", "UPDATE prentice_schema SET version = 'x'"])
def test_a_store_whose_version_cannot_be_told_is_refused(tmp_path: Path, change: str) -> None:
    Store.open(tmp_path / "store.db").close()
    _change(tmp_path / "store.db", change)
    with pytest.raises(StoreError, match=r"damaged: its schema version reads \["):
        Store.open(tmp_path / "store.db")


def test_a_folder_in_the_stores_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"(Not a directory|File exists) \(name another place"):
        Store.open(tmp_path / "file" / "store.db")


def _change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def _rows(place: str | Path, table: Table) -> list[tuple[object, ...]]:
    engine = open_database(place)[0]
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key))]
    engine.dispose()
    return rows
