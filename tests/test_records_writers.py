"""Many writers at once, in one file and in one Postgres: nothing is lost and nothing doubled.

Each process of a test imports this file: it names nothing but the store.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from postgres import Postgres
from prentice.records.store import Store
from records_examples import example

WRITERS = 8
SHARED = 60


@pytest.fixture
def places(tmp_path: Path, postgres: Postgres) -> list[str]:
    """A file and a database, both new."""
    return [str(tmp_path / "store.db"), postgres.fresh()]


def test_eight_processes_on_one_new_store_lose_nothing_and_double_nothing(places: list[str]) -> None:
    at_once(_open_and_add, [(places, number) for number in range(WRITERS)])
    own = {f"own-{number}-{n}" for number in range(WRITERS) for n in range(5)}
    for place in places:
        with Store.open(place) as store:
            cases = [episode.case for episode in store.episodes()]
        assert len(cases) == len(set(cases))
        assert set(cases) == own | {f"shared-{n}" for n in range(SHARED)}


def _open_and_add(start: Barrier, places: list[str], number: int) -> None:
    shared = [example(f"shared-{n}") for n in range(SHARED)]
    some = [*shared, *(example(f"own-{number}-{n}") for n in range(5))]
    random.Random(number).shuffle(some)
    start.wait(240)
    for place in places:
        with Store.open(place) as store:
            added = sum(store.add(some[i : i + 7]) for i in range(0, len(some), 7))
        assert 5 <= added <= len(some)


def at_once(work: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
    """Run `work` in a process for each arguments, all released at the same moment."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(len(arguments))
    processes = [spawn.Process(target=work, args=(start, *each)) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
