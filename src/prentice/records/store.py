"""The store: episodes in a database, whole or not at all, each once; SQLite by default, Postgres by URL."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, RowMapping

from prentice.errors import DataError
from prentice.records.database import damaged, open_database, store_errors
from prentice.records.episodes import Episode, Split
from prentice.records.rows import (
    EpisodeRows,
    Texts,
    from_rows,
    message_hashes,
    part_hashes,
    read_message,
    read_part,
    to_rows,
)
from prentice.records.schema import EPISODES, MESSAGES, METRICS, PARTS, TURNS

BATCH = 256
"""Episodes per transaction when writing, per query when reading."""
_REMEMBERED = 50_000
"""Texts kept in memory, so that a text that repeats is neither sent nor parsed again."""
_VARIABLES = 10_000
"""Values in one query; SQLite takes 32 766."""


class Store:
    """Episodes in a database. Threads may share one; processes open their own on the same place."""

    def __init__(self, reading: Engine, writing: Engine, place: str) -> None:
        self._reading = reading
        self._writing = writing
        self._lock = threading.Lock()  # SQLite's own waiting is polling; threads of one process can queue instead
        self._stored_texts: set[str] = set()
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
        added, rest = 0, iter(episodes)
        while batch := list(islice(rest, BATCH)):
            rows = {episode.id: _to_rows(episode) for episode in reversed(batch)}  # of two equal ids the first stays
            with store_errors(self.place), self._lock:
                added += self._insert(list(rows.values()))
        return added

    def episodes(
        self,
        *,
        run: str | None = None,
        task: str | None = None,
        split: Split | None = None,
        policy: str | None = None,
    ) -> Iterator[Episode]:
        """Stream episodes by run, case and attempt; None does not filter. Nothing is locked between two of them.

        Raises: StoreError if the database is damaged.
        """
        where, texts = _conditions(run, task, split, policy), Texts()
        order = (EPISODES.c.run, EPISODES.c.case_id, EPISODES.c.attempt, EPISODES.c.id)
        query = select(EPISODES).where(*where).order_by(*order).limit(BATCH)
        page = query
        while True:
            with store_errors(self.place), self._reading.connect() as connection:
                rows = connection.execute(page).mappings().all()
                read = self._assemble(connection, rows, texts)
            yield from read
            if len(rows) < BATCH:
                return
            page = query.where(tuple_(*order) > tuple_(*(rows[-1][column.name] for column in order)))

    def attempts(self, run: str) -> set[tuple[str, int]]:
        """The attempts of `run` that are stored, as (case, attempt): what a resumed run need not play."""
        query = select(EPISODES.c.case_id, EPISODES.c.attempt).where(EPISODES.c.run == run)
        with store_errors(self.place), self._reading.connect() as connection:
            return {(case, attempt) for case, attempt in connection.execute(query)}

    def count(
        self,
        *,
        run: str | None = None,
        task: str | None = None,
        split: Split | None = None,
        policy: str | None = None,
    ) -> int:
        """Number of stored episodes; None does not filter."""
        query = select(func.count()).select_from(EPISODES).where(*_conditions(run, task, split, policy))
        with store_errors(self.place), self._reading.connect() as connection:
            return connection.execute(query).scalar_one()

    def forget_failed_calls(self, run: str) -> int:
        """Remove the run's episodes that a failed call of the policy ended, so that they can be played again.

        Returns: how many there were. Episodes that the environment ended stay: they are results.
        """
        failed = select(EPISODES.c.id).where(EPISODES.c.run == run, EPISODES.c.failure_where == "model")
        with store_errors(self.place), self._lock, self._writing.begin() as connection:
            for table in (TURNS, METRICS):
                connection.execute(delete(table).where(table.c.episode_id.in_(failed)))
            return connection.execute(delete(EPISODES).where(EPISODES.c.id.in_(failed))).rowcount

    def runs(self) -> dict[str, int]:
        """Every run with its number of episodes, by name."""
        query = select(EPISODES.c.run, func.count().label("number")).group_by(EPISODES.c.run).order_by(EPISODES.c.run)
        with store_errors(self.place), self._reading.connect() as connection:
            return {row.run: row.number for row in connection.execute(query)}

    def _insert(self, batch: list[EpisodeRows]) -> int:
        with self._writing.begin() as connection:
            insert = self._insert_new(EPISODES).returning(EPISODES.c.id)
            new = set(connection.execute(insert, [rows.episode for rows in batch]).scalars())
            fresh = [rows for rows in batch if rows.episode["id"] in new]
            named = self._insert_texts(connection, MESSAGES, [rows.messages for rows in fresh])
            named |= self._insert_texts(connection, PARTS, [rows.parts for rows in fresh])
            if turns := [turn for rows in fresh for turn in rows.turns]:
                connection.execute(TURNS.insert(), turns)
            if metrics := [metric for rows in fresh for metric in rows.metrics]:
                connection.execute(METRICS.insert(), metrics)
        if len(self._stored_texts) > _REMEMBERED:
            self._stored_texts.clear()
        self._stored_texts |= named  # only now: a transaction rolled back has stored none of them
        return len(fresh)

    def _insert_texts(self, connection: Connection, table: Table, texts: list[dict[str, str]]) -> set[str]:
        bodies = {name: body for each in texts for name, body in each.items() if name not in self._stored_texts}
        if bodies:
            # sorted: two writers that insert the same rows in another order would wait for each other for ever
            rows = [{"hash": name, "body": bodies[name]} for name in sorted(bodies)]
            connection.execute(self._insert_new(table), rows)
        return set(bodies)

    def _insert_new(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        if self._writing.dialect.name == "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        return postgresql.insert(table).on_conflict_do_nothing()

    def _assemble(self, connection: Connection, rows: Iterable[RowMapping], texts: Texts) -> list[Episode]:
        ids = [row["id"] for row in rows]
        turns, metrics = _children(connection, TURNS, ids), _children(connection, METRICS, ids)
        try:
            _fetch_texts(connection, [turn for each in turns.values() for turn in each], texts)
            return [from_rows(row, turns.get(row["id"], []), metrics.get(row["id"], []), texts) for row in rows]
        except (ValueError, TypeError, LookupError) as error:
            raise damaged(self.place, " ".join(str(error).split())[:200]) from error


def _to_rows(episode: Episode) -> EpisodeRows:
    try:
        return to_rows(episode)
    except ValueError as error:
        problem = f"episode {episode.id!r} (case {episode.case!r}) cannot be stored: {error}"
        raise DataError(problem, "text must be whole Unicode, numbers finite") from error


def _conditions(run: str | None, task: str | None, split: str | None, policy: str | None) -> list[ColumnElement[bool]]:
    filters = {EPISODES.c.run: run, EPISODES.c.task: task, EPISODES.c.split: split, EPISODES.c.policy: policy}
    return [column == value for column, value in filters.items() if value is not None]


def _children(connection: Connection, table: Table, ids: list[str]) -> Mapping[str, list[RowMapping]]:
    """Rows of `table` by episode, in order."""
    query = select(table).where(table.c.episode_id.in_(ids)).order_by(table.c.episode_id, table.c.position)
    found: dict[str, list[RowMapping]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["episode_id"], []).append(row)
    return found


def _fetch_texts(connection: Connection, turns: list[RowMapping], texts: Texts) -> None:
    """Read the messages and parts that these turns name and that are not in `texts` yet."""
    wanted: tuple[tuple[Table, dict[str, Any], Any, Any], ...] = (
        (MESSAGES, texts.messages, message_hashes, read_message),
        (PARTS, texts.parts, part_hashes, read_part),
    )
    for table, known, hashes, read in wanted:
        if len(known) > _REMEMBERED:
            known.clear()
        missing = sorted({name for turn in turns for name in hashes(turn)} - known.keys())
        for start in range(0, len(missing), _VARIABLES):
            query = select(table).where(table.c.hash.in_(missing[start : start + _VARIABLES]))
            for name, body in connection.execute(query):
                known[name] = read(name, body)
