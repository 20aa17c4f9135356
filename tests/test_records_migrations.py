"""The store's schema: made once however many begin at once, never read when it is not ours to read."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from prentice.errors import StoreError
from prentice.records.schema import METADATA
from prentice.records.store import Store
from records_examples import example


def _open_and_add(path: Path, number: int, start: Barrier) -> None:
    start.wait(120)
    with Store.open(path) as store:
        assert store.add([example(f"from-{number}"), example("from-all")]) in (1, 2)


def test_eight_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(8)
    processes = [spawn.Process(target=_open_and_add, args=(tmp_path / "store.db", n, start)) for n in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    with Store.open(tmp_path / "store.db") as store:
        assert [episode.case for episode in store.episodes()] == [*(f"from-{n}" for n in range(8)), "from-all"]


def test_the_steps_lead_to_the_schema_that_the_queries_use(tmp_path: Path) -> None:
    Store.open(tmp_path / "store.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


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
