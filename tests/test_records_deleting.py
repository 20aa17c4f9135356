"""Deleting removes what was asked for, and never a text that another episode still shows."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from postgres import Postgres
from prentice.records import Episode, Failure, Message, Reply, Request, Turn
from prentice.records.database import open_database
from prentice.records.filters import Filter
from prentice.records.schema import METADATA, METRICS, TAGS, TEXTS, TURNS, USES
from prentice.records.store import Store
from records_examples import example

LONG = [Message(role="user", content=letter * 600) for letter in "abcd"]
CHOICES = (("yes", "no"), ("left", "right"), ())


def made(number: int, shows: Sequence[int], choices: int) -> Episode:
    """An episode that shows some of four long texts."""
    request = Request(function="f", messages=tuple(LONG[n] for n in shows), choices=CHOICES[choices])
    turn = Turn(request=request, reply=Reply(message=LONG[number % 4], model="m"))
    return example(f"c{number}", run=f"r{number % 2}", turns=(turn, turn), tags={"number": str(number)})


shown = st.lists(st.integers(0, 3), max_size=3)
some_episodes = st.lists(st.tuples(shown, st.integers(0, 2)), max_size=6).map(
    lambda parts: [made(number, *part) for number, part in enumerate(parts)]
)
PROPERTY = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="session")
def emptied(postgres: Postgres) -> str:
    """One database for all examples: each empties it."""
    return postgres.fresh()


@PROPERTY
@given(some=some_episodes, gone=st.sets(st.integers(0, 5)))
def test_what_is_left_after_deleting_reads_back_equal_and_nothing_unused_stays(
    emptied: str, some: list[Episode], gone: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for place in (Path(folder) / "store.db", emptied):
            with Store.open(place) as store:
                store.delete(Filter())
                store.add(some)
                removed = [store.delete(Filter(tags={"number": str(number)})) for number in gone]
                left = [e for n, e in enumerate(some) if n not in gone]
                assert sum(removed) == len(some) - len(left)
                assert list(store.episodes()) == sorted(left, key=lambda e: (e.run, e.case))
                texts = {m for e in left for t in e.turns for m in (*t.request.messages, t.reply.message)}
                parts = {t.request.choices for e in left for t in e.turns if t.request.choices}
                assert _number(place, "texts") == len(texts) + len(parts)
                assert store.add(some) == len(some) - len(left)
                assert {e.id: e for e in store.episodes()} == {e.id: e for e in some}


def test_a_store_that_was_emptied_holds_no_row_at_all(place: str | Path) -> None:
    with Store.open(place) as store:
        store.add(made(number, [0, 1], 0) for number in range(300))
        assert store.delete(Filter()) == 300
    assert [_number(place, table.name) for table in (TURNS, METRICS, TAGS, USES, TEXTS)] == [0] * 5


def test_forgetting_failed_calls_leaves_what_the_environment_ended(place: str | Path) -> None:
    failures = (Failure(where="model", message="503"), Failure(where="environment", message="broke"), None)
    with Store.open(place) as store:
        store.add(example(f"c{n}", run=run, failure=f) for run in ("a", "b") for n, f in enumerate(failures))
        assert store.forget_failed_calls("a") == 1
        assert sorted((e.run, e.case) for e in store.episodes()) == [
            ("a", "c1"),
            ("a", "c2"),
            ("b", "c0"),
            ("b", "c1"),
            ("b", "c2"),
        ]


def test_a_text_is_not_removed_while_another_writer_begins_to_use_it(place: str | Path) -> None:
    def add_and_delete(own: int) -> None:
        with Store.open(place) as store:
            for round_ in range(15):
                number = own * 1000 + round_
                store.add([made(number, [0], 0)])
                store.delete(Filter(tags={"number": str(number)}))
                store.add([made(number, [0], 0)])

    threads = [threading.Thread(target=add_and_delete, args=[own]) for own in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(place) as store:
        assert len(list(store.episodes())) == 45


def test_a_compacted_file_is_smaller_and_holds_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        store.add(made(number, [0], 0) for number in range(2000))
        store.delete(Filter(run="r0"))
    before = path.stat().st_size
    with Store.open(path) as store:
        store.compact()
        assert store.count() == 1000
    assert path.stat().st_size < before * 0.7


def _number(place: str | Path, table: str) -> int:
    engine = open_database(place)[0]
    with engine.connect() as connection:
        number = connection.execute(select(func.count()).select_from(METADATA.tables[table])).scalar_one()
    engine.dispose()
    return number
