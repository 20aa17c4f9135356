"""The store: episodes in a database, whole or not at all, each once; SQLite by default, Postgres by URL."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.engine import Connection, Engine

from prentice.records.calls import Call
from prentice.records.database import compact, hold_texts, open_database, store_errors
from prentice.records.episodes import Episode
from prentice.records.feedback import Feedback, FeedbackOutcome
from prentice.records.filters import Filter
from prentice.records.growth import (
    add_calls,
    add_feedback,
    feedback_of,
    feedback_on,
    feedback_where,
    remove_feedback,
)
from prentice.records.guard import Guard
from prentice.records.inserting import insert_episodes
from prentice.records.reading import VARIABLES, assemble, chunks
from prentice.records.rows import EpisodeRows, Texts, to_rows
from prentice.records.schema import CALLS, EPISODES, FEEDBACK, METRICS, TAGS, TEXTS, TURNS, USES
from prentice.records.summaries import Summary, summaries

BATCH = 256
"""Episodes per transaction when writing, per query when reading."""
_BATCH_SIZE = 8_000_000
"""Characters of text per transaction: a batch of long replies is written in several."""
_IN_ORDER = (EPISODES.c.run, EPISODES.c.case_id, EPISODES.c.attempt, EPISODES.c.id)
ALL = Filter()


class Store:
    """Episodes in a database. Threads may share one; processes open their own on the same place."""

    def __init__(self, reading: Engine, writing: Engine, place: str, guard: Guard | None = None) -> None:
        self._reading = reading
        self._writing = writing
        self.guard = guard
        """What all that comes in has to pass; rows that were made elsewhere have passed it there."""
        self._lock = threading.Lock()  # SQLite's own waiting is polling; threads of one process can queue instead
        self.place = place
        """The file or URL, as errors name it."""

    @classmethod
    def open(cls, location: str | Path, guard: Guard | None = None) -> Store:
        """Open a store, made and brought to the newest schema where needed.

        Args:
            location: a file's path, or an SQLAlchemy URL of SQLite or Postgres.
            guard: what episodes and feedback pass before they are stored.
        Raises: StoreError if it cannot be opened, is no store, or was written by a newer prentice (it stays untouched).
        """
        return cls(*open_database(location), guard)

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
        return self.add_rows(to_rows(self.guarded(episode)) for episode in episodes)

    def guarded(self, episode: Episode) -> Episode:
        """The episode as it may be stored."""
        return episode if self.guard is None else self.guard.episode(episode)

    def add_rows(self, episodes: Iterable[EpisodeRows]) -> int:
        """`add` for episodes that passed the guard and `to_rows` before, maybe in another process."""
        return sum(self._insert(batch) for batch in _batches(episodes))

    def add_calls(self, calls: Iterable[Call]) -> int:
        """Store recorded calls, in one transaction, each as the next turn of its episode; a known one is left alone.

        They do not pass the guard: who records them holds them back on a disk first, and lets them pass it before that.

        Returns: how many were new.
        Raises: DataError naming an episode that cannot be stored; StoreError if the database refuses.
        """
        with self._transaction() as connection:
            return add_calls(connection, calls, self.place)

    def add_feedback(self, feedback: Iterable[Feedback]) -> FeedbackOutcome:
        """Store feedback, in one transaction; what cannot be stored is named in the outcome and hinders nothing else.

        Raises: StoreError if the database refuses.
        """
        given = feedback if self.guard is None else [self.guard.feedback(each) for each in feedback]
        with self._transaction() as connection:
            return add_feedback(connection, given)

    def feedback(self, ids: Sequence[str]) -> list[Feedback]:
        """Stored feedback by its ids, in the order it came."""
        with store_errors(self.place), self._reading.connect() as connection:
            return feedback_of(connection, ids)

    def feedback_on(self, episodes: Sequence[str]) -> list[Feedback]:
        """All stored feedback on these episodes, in the order it came."""
        with store_errors(self.place), self._reading.connect() as connection:
            return feedback_on(connection, episodes)

    def feedback_where(self, where: Filter = ALL, *, author: str | None = None) -> list[Feedback]:
        """Stored feedback on the episodes that fit, of one author or all, in the order it came."""
        by = [] if author is None else [FEEDBACK.c.author == author]
        with store_errors(self.place), self._reading.connect() as connection:
            return feedback_where(connection, [*where.conditions(), *by])

    def remove_feedback(self, ids: Sequence[str]) -> int:
        """Take feedback back, as an undo does; return how much there was."""
        with self._transaction() as connection:
            return remove_feedback(connection, ids)

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
                read = assemble(connection, rows, texts, self.place)
            yield from read

    def content_hashes(self, ids: Sequence[str]) -> dict[str, str]:
        """Those of these episodes that are stored, by id, each with the hash of what was asked and replied in it."""
        query = select(EPISODES.c.id, EPISODES.c.content_hash)
        with store_errors(self.place), self._reading.connect() as connection:
            parts = [connection.execute(query.where(EPISODES.c.id.in_(some))) for some in chunks(ids)]
            return {id_: content for part in parts for id_, content in part}

    def these(self, ids: Sequence[str]) -> Iterator[Episode]:
        """Stream the episodes of these ids, in their order; one that is not there is left out.

        Raises: StoreError if the database is damaged.
        """
        texts = Texts()
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            query = select(EPISODES).where(EPISODES.c.id.in_(some))
            with store_errors(self.place), self._reading.connect() as connection:
                found = {row["id"]: row for row in connection.execute(query).mappings()}
                read = assemble(connection, [found[id_] for id_ in some if id_ in found], texts, self.place)
            yield from read

    def summaries(self, where: Filter = ALL, *, limit: int = 20) -> list[Summary]:
        """The episodes stored last, newest first, without what was said."""
        with store_errors(self.place), self._reading.connect() as connection:
            return summaries(connection, where.conditions(), limit)

    def newest(self, where: Filter = ALL) -> list[str]:
        """The ids of the episodes that fit, stored last first."""
        query = select(EPISODES.c.id).where(*where.conditions()).order_by(EPISODES.c.number.desc())
        with store_errors(self.place), self._reading.connect() as connection:
            return list(connection.execute(query).scalars())

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

    def ids(self, where: Filter) -> list[str]:
        """Ids of stored episodes, sorted."""
        query = select(EPISODES.c.id).where(*where.conditions()).order_by(EPISODES.c.id)
        with store_errors(self.place), self._reading.connect() as connection:
            return list(connection.execute(query).scalars())

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
            rows = connection.execution_options(yield_per=VARIABLES).execute(query.order_by(*_IN_ORDER))
            return array("q", rows.scalars())

    def _insert(self, batch: list[EpisodeRows]) -> int:
        with self._transaction() as connection:
            return len(insert_episodes(connection, batch))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with store_errors(self.place), self._lock, self._writing.begin() as connection:
            yield connection

    def _delete(self, numbers: list[int]) -> int:
        with self._transaction() as connection:
            hold_texts(connection, "delete")
            used = connection.execute(select(USES.c.text).where(USES.c.episode.in_(numbers)).distinct()).scalars().all()
            for table in (TURNS, METRICS, TAGS, USES, FEEDBACK, CALLS):
                connection.execute(delete(table).where(table.c.episode.in_(numbers)))
            removed = connection.execute(delete(EPISODES).where(EPISODES.c.number.in_(numbers))).rowcount
            for some in chunks(used):
                still_used = select(USES.c.text).where(USES.c.text == TEXTS.c.hash).exists()
                connection.execute(delete(TEXTS).where(TEXTS.c.hash.in_(some), ~still_used))
            return removed


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


def _conditions(where: Filter, run: str | None) -> list[Any]:
    return where.conditions() + ([] if run is None else [EPISODES.c.run == run])
