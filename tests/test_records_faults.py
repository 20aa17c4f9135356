"""Faults: killed while writing, a disk that takes no more, a damaged file. What was stored is kept, and it goes on."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from prentice.errors import StoreError
from prentice.records import Episode, Metric
from prentice.records.store import Store
from records_examples import example

KEPT = r"the disk took no more \(.*\); what was stored is kept \(free some space and run .* again: it resumes\)"

ADD_FOR_EVER = """
import sys
from test_records_faults import long_episode
from prentice.records.store import Store
with Store.open(sys.argv[1]) as store:
    start = store.count()
    for number in range(start, start + 100_000, 3):
        some = [long_episode(number + n) for n in range(3)]
        store.add(some)
        print(*(episode.id for episode in some), flush=True)
"""

ADD_UNTIL_FULL = """
import resource, sys
from test_records_faults import long_episode
from prentice.errors import StoreError
from prentice.records.store import Store
with Store.open(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        for number in range(100_000):
            store.add([long_episode(number)])
            print(number, flush=True)
    except StoreError as error:
        print(error)
"""


def long_episode(number: int) -> Episode:
    """An episode over several turns, so that half of one would show."""
    case = f"case-{number:05d}"
    turns = tuple(turn for n in range(4) for turn in example(f"{case}/{n}").turns)
    metrics = tuple(Metric(name=f"m{n}", value=float(number), turn=n) for n in range(4))
    return example(case, turns=turns, metrics=metrics)


def test_killed_while_adding_keeps_every_acknowledged_episode_and_shows_no_half_one(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "store.db", set[str]()
    for reads in (1, 17, 40):
        with _child(ADD_FOR_EVER, path) as child:
            assert child.stdout is not None
            for _ in range(reads):
                acknowledged.update(child.stdout.readline().split())
            child.kill()
            acknowledged.update(child.stdout.read().split())
        with Store.open(path) as store:
            back = list(store.episodes())
        assert acknowledged <= {episode.id for episode in back}
        assert back == [long_episode(number) for number in range(len(back))]
        assert len(back) % 3 == 0


def test_a_full_disk_while_adding_is_one_line_and_what_was_stored_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with _child(ADD_UNTIL_FULL, path) as child:
        *stored, said = child.communicate()[0].splitlines()
    assert child.returncode == 0
    assert re.search(KEPT, said)
    assert len(stored) > 10
    with Store.open(path) as store:
        assert list(store.episodes()) == [long_episode(number) for number in range(len(stored))]
        assert store.add(long_episode(number) for number in range(len(stored) + 50)) == 50


def test_a_full_database_refuses_the_batch_and_takes_it_once_there_is_room(tmp_path: Path) -> None:
    some = [long_episode(number) for number in range(300)]
    with _room_for(60), Store.open(tmp_path / "store.db") as store:
        store.add(some[:20])
        with pytest.raises(StoreError, match=r"store\.db: " + KEPT):
            store.add(some)
        assert list(store.episodes()) == some[:20]
    with Store.open(tmp_path / "store.db") as store:
        assert store.add(some) == 280
        assert list(store.episodes()) == some


def test_a_new_store_on_a_full_disk_is_one_line_and_can_be_made_later(tmp_path: Path) -> None:
    with _room_for(3), pytest.raises(StoreError, match=KEPT):
        Store.open(tmp_path / "store.db")
    with Store.open(tmp_path / "store.db") as store:
        assert store.add([example()]) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE turns SET said = replace(said, 'card_arrival', 'card_linking')",
        "UPDATE turns SET shown = '[[0,1]]'",
        "UPDATE turns SET function = 'another'",
        "UPDATE texts SET body = replace(body, 'bank', 'shop')",
        "UPDATE texts SET body = '[]'",
        "DELETE FROM texts",
        "UPDATE texts SET body = '{'",
        "UPDATE turns SET said = 'x'",
        "UPDATE turns SET position = 7",
        "UPDATE turns SET latency_s = 'soon'",
        "UPDATE turns SET inputs = CAST(x'ff' AS TEXT)",
        "UPDATE metrics SET flag = NULL",
        "UPDATE episodes SET started_at = 'yesterday'",
        "UPDATE episodes SET split = 'exam'",
        "DROP TABLE turns",
    ],
)
def test_rows_that_cannot_be_what_was_stored_are_a_store_error(tmp_path: Path, change: str) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        store.add([example()])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)
    with Store.open(path) as store, pytest.raises(StoreError, match=r"store\.db: damaged") as caught:
        list(store.episodes())
    assert "\n" not in str(caught.value)


def test_whatever_bytes_are_damaged_there_is_never_a_traceback(tmp_path: Path) -> None:
    path, random_ = tmp_path / "store.db", random.Random(7)
    with Store.open(path) as store:
        store.add([long_episode(number) for number in range(40)])
    whole, errors = path.read_bytes(), []
    for number in range(60):
        damaged = bytearray(whole)
        start = random_.randrange(len(whole))
        if number % 3:
            damaged[start : start + 200] = random_.randbytes(min(200, len(whole) - start))
        else:
            del damaged[start:]
        path.write_bytes(damaged)
        errors += _read_and_add(path)
        for rest in tmp_path.glob("store.db-*"):
            rest.unlink()
    assert len(errors) > 20
    assert all(str(path) in error.problem and "\n" not in str(error) for error in errors)


def _read_and_add(path: Path) -> list[StoreError]:
    """What the store refuses; any other error is a failed test."""
    try:
        with Store.open(path) as store:
            list(store.episodes())
            store.add([example("new")])
    except StoreError as error:
        return [error]
    return []


@contextmanager
def _child(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        yield child


@contextmanager
def _room_for(pages: int) -> Iterator[None]:
    """Let every SQLite file that is opened meanwhile grow to so many pages of 4 kB."""

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}").close()

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)
