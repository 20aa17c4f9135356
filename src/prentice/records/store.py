"""The store: episodes in a database, whole or not at all, each once; SQLite by default, Postgres by URL."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Select, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, RowMapping

from prentice.records.database import compact, damaged, hold_texts, insert_all, open_database, store_errors
from prentice.records.episodes import Episode
from prentice.records.filters import Filter
from prentice.records.rows import EpisodeRows, Row, Texts, from_rows, shared_texts, to_rows
from prentice.records.schema import EPISODES, METRICS, TAGS, TEXTS, TURNS, USES
from prentice.records.summaries import Summary, summaries

BATCH = 256
"""Episodes per transaction when writing, per query when reading."""
_BATCH_SIZE = 8_000_000
"""Characters of text per transaction: a batch of long replies is written in several."""
_REMEMBERED = 20_000
"""Shared texts kept in memory while reading, so that one that repeats is not read and parsed again."""
_VARIABLES = 10_000
"""Values in one query; SQLite takes 32 766."""
_IN_ORDER = (EPISODES.c.run, EPISODES.c.case_id, EPISODES.c.attempt, EPISODES.c.id)
ALL = Filter()


class Store:
    """Episodes in a database. Threads may share one; processes open their own on the same place."""

    def __init__(self, reading: Engine, writing: Engine, place: str) -> None:
        self._reading = reading
        self._writing = writing
        self._lock = threading.Lock()  # SQLite's own waiting is polling; threads of one process can queue instead
        self.place = place
        """The file or URL, as errors name it."""

    @classmethod
    def open(cls, location: str | Path) -> Store:
        """Open a store, made and brought to the newest schema where needed.

        Args:
            location: a file's path, or an SQLAlchemy URL of SQLite or Postgres.
        Raises: StoreError if it cannot be opened, is no store, or was written by a newer prentice (it stays untouched).
        """
        return cls(*open_database(location))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back; calling it twice is harmless."""
        self._reading.dispose()

    def add(self, episodes: Iterable[Episode]) -> int:
        """Store episodes; one whose id is there already is left alone.

        They are written in batches: when this raises, every batch before is stored and the failing one is not.

        Returns: how many were new.
        Raises: DataError naming an episode that cannot be stored; StoreError if the database refuses (a full disk).
        """
        return self.add_rows(map(to_rows, episodes))

    def add_rows(self, episodes: Iterable[EpisodeRows]) -> int:
        """`add` for episodes that were taken apart by `to_rows` before, maybe in another process."""
        return sum(self._insert(batch) for batch in _batches(episodes))

    def episodes(self, where: Filter = ALL, *, run: str | None = None) -> Iterator[Episode]:
        """Stream episodes by run, case and attempt. Which ones is settled at the first; nothing is locked between two.

        Args:
            run: short for a filter by run alone.
        Raises: StoreError if the database is damaged.
        """
        texts, numbers = Texts(), self._numbers(select(EPISODES.c.number).where(*_conditions(where, run)))
        for start in range(0, len(numbers), BATCH):
            some = select(EPISODES).where(EPISODES.c.number.in_(numbers[start : start + BATCH].tolist()))
            with store_errors(self.place), self._reading.connect() as connection:
                rows = connection.execute(some.order_by(*_IN_ORDER)).mappings().all()
                read = self._assemble(connection, rows, texts)
            yield from read

    def summaries(self, where: Filter = ALL, *, limit: int = 20) -> list[Summary]:
        """The episodes stored last, newest first, without what was said."""
        with store_errors(self.place), self._reading.connect() as connection:
            return summaries(connection, where.conditions(), limit)

    def attempts(self, run: str) -> set[tuple[str, int]]:
        """The attempts of `run` that are stored, as (case, attempt): what a resumed run need not play."""
        query = select(EPISODES.c.case_id, EPISODES.c.attempt).where(EPISODES.c.run == run)
        with store_errors(self.place), self._reading.connect() as connection:
            return {(case, attempt) for case, attempt in connection.execute(query)}

    def count(self, where: Filter = ALL, *, run: str | None = None) -> int:
        """Number of stored episodes."""
        query = select(func.count()).select_from(EPISODES).where(*_conditions(where, run))
        with store_errors(self.place), self._reading.connect() as connection:
            return connection.execute(query).scalar_one()

    def delete(self, where: Filter) -> int:
        """Remove episodes, and the shared texts that no other episode uses; killed half way, it has removed some whole.

        Returns: how many there were.
        """
        numbers = self._numbers(select(EPISODES.c.number).where(*where.conditions()))
        return sum(self._delete(numbers[start : start + BATCH].tolist()) for start in range(0, len(numbers), BATCH))

    def compact(self) -> None:
        """Give the space of what was removed back to the disk; a file needs its own size of free space meanwhile."""
        with store_errors(self.place), self._lock:
            compact(self._writing)

    def forget_failed_calls(self, run: str) -> int:
        """Remove the run's episodes that a failed call of the policy or a judge ended, so that they are played again.

        Returns: how many there were. Episodes that the environment ended stay: they are results.
        """
        return sum(self.delete(Filter(run=run, failure=where)) for where in ("model", "judge"))

    def runs(self) -> dict[str, int]:
        """Every run with its number of episodes, by name."""
        query = select(EPISODES.c.run, func.count().label("number")).group_by(EPISODES.c.run).order_by(EPISODES.c.run)
        with store_errors(self.place), self._reading.connect() as connection:
            return {row.run: row.number for row in connection.execute(query)}

    def _numbers(self, query: Select[int]) -> array[int]:
        """The answer to a query for numbers of episodes, by run, case and attempt: 8 bytes an episode."""
        with store_errors(self.place), self._reading.connect() as connection:
            rows = connection.execution_options(yield_per=_VARIABLES).execute(query.order_by(*_IN_ORDER))
            return array("q", rows.scalars())

    def _insert(self, batch: list[EpisodeRows]) -> int:
        distinct = _distinct(batch)
        if self._writing.dialect.name == "postgresql":
            # two writers that insert the same rows in another order would wait for each other for ever
            distinct = dict(sorted(distinct.items()))
        with store_errors(self.place), self._lock, self._writing.begin() as connection:
            hold_texts(connection, "use")
            insert = self._insert_new(EPISODES).returning(EPISODES.c.id, EPISODES.c.number)
            numbers = {row.id: row.number for row in connection.execute(insert, [r.episode for r in distinct.values()])}
            fresh = [(numbers[id_], rows) for id_, rows in distinct.items() if id_ in numbers]
            texts = {name: body for _, rows in fresh for name, body in rows.texts.items()}
            new: dict[Table, list[Row]] = {
                TEXTS: [{"hash": name, "body": texts[name]} for name in sorted(texts)],
                TURNS: _numbered(fresh, "turns"),
                METRICS: _numbered(fresh, "metrics"),
                TAGS: _numbered(fresh, "tags"),
                USES: [{"text": name, "episode": number} for number, rows in fresh for name in rows.texts],
            }
            for table, table_rows in new.items():
                insert_all(connection, self._insert_new(table) if table is TEXTS else table.insert(), table_rows)
        return len(fresh)

    def _insert_new(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        if self._writing.dialect.name == "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        return postgresql.insert(table).on_conflict_do_nothing()

    def _delete(self, numbers: list[int]) -> int:
        with store_errors(self.place), self._lock, self._writing.begin() as connection:
            hold_texts(connection, "delete")
            used = connection.execute(select(USES.c.text).where(USES.c.episode.in_(numbers)).distinct()).scalars().all()
            for table in (TURNS, METRICS, TAGS, USES):
                connection.execute(delete(table).where(table.c.episode.in_(numbers)))
            removed = connection.execute(delete(EPISODES).where(EPISODES.c.number.in_(numbers))).rowcount
            for some in _chunks(used):
                still_used = select(USES.c.text).where(USES.c.text == TEXTS.c.hash).exists()
                connection.execute(delete(TEXTS).where(TEXTS.c.hash.in_(some), ~still_used))
            return removed

    def _assemble(self, connection: Connection, rows: Sequence[RowMapping], texts: Texts) -> list[Episode]:
        numbers = [row["number"] for row in rows]
        turns, metrics = _children(connection, TURNS, numbers), _children(connection, METRICS, numbers)
        try:
            _fetch_texts(connection, [turn for each in turns.values() for turn in each], texts)
            return [from_rows(row, turns.get(row["number"], []), metrics.get(row["number"], []), texts) for row in rows]
        except (ValueError, TypeError, LookupError) as error:
            raise damaged(self.place, " ".join(str(error).split())[:200]) from error


def _batches(episodes: Iterable[EpisodeRows]) -> Iterator[list[EpisodeRows]]:
    batch: list[EpisodeRows] = []
    size = 0
    for rows in episodes:
        batch.append(rows)
        size += rows.size
        if len(batch) == BATCH or size > _BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _distinct(batch: Iterable[EpisodeRows]) -> dict[str, EpisodeRows]:
    found: dict[str, EpisodeRows] = {}
    for rows in batch:
        found.setdefault(rows.episode["id"], rows)  # of two equal ids the first stays
    return found


def _numbered(fresh: list[tuple[int, EpisodeRows]], table: str) -> list[Row]:
    found = [(number, row) for number, rows in fresh for row in getattr(rows, table)]
    for number, row in found:
        row["episode"] = number
    return [row for _, row in found]


def _conditions(where: Filter, run: str | None) -> list[Any]:
    return where.conditions() + ([] if run is None else [EPISODES.c.run == run])


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _VARIABLES] for start in range(0, len(names), _VARIABLES))


def _children(connection: Connection, table: Table, numbers: list[int]) -> Mapping[int, list[RowMapping]]:
    """Rows of `table` by episode, in order."""
    query = select(table).where(table.c.episode.in_(numbers)).order_by(table.c.episode, table.c.position)
    found: dict[int, list[RowMapping]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["episode"], []).append(row)
    return found


def _fetch_texts(connection: Connection, turns: list[RowMapping], texts: Texts) -> None:
    """Read the shared texts that these turns name and that are not in `texts` yet."""
    if len(texts.bodies) > _REMEMBERED:
        texts.clear()
    missing = sorted({name for turn in turns for name in shared_texts(turn)} - texts.bodies.keys())
    for some in _chunks(missing):
        for name, body in connection.execute(select(TEXTS).where(TEXTS.c.hash.in_(some))):
            texts.bodies[name] = body
