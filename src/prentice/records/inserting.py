"""Episodes into the store's tables, within a transaction that the caller holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from prentice.records.database import hold_texts, insert_all
from prentice.records.rows import EpisodeRows, Row
from prentice.records.schema import EPISODES, FEEDBACK, METRICS, TAGS, TEXTS, TURNS, USES


def insert_new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that leaves alone what is there already."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_episodes(connection: Connection, batch: Iterable[EpisodeRows]) -> dict[str, int]:
    """Store episodes; one whose id is there already is left alone.

    Returns: id → number of those that are new.
    """
    distinct = _distinct(batch)
    if not distinct:
        return {}
    if connection.dialect.name == "postgresql":
        # two writers that insert the same rows in another order would wait for each other for ever
        distinct = dict(sorted(distinct.items()))
    hold_texts(connection, "use")
    insert = insert_new(connection, EPISODES).returning(EPISODES.c.id, EPISODES.c.number)
    numbers = {row.id: row.number for row in connection.execute(insert, [r.episode for r in distinct.values()])}
    fresh = [(numbers[id_], rows) for id_, rows in distinct.items() if id_ in numbers]
    write_texts(connection, fresh)
    for table, name in ((TURNS, "turns"), (METRICS, "metrics"), (TAGS, "tags")):
        insert_all(connection, table.insert(), _numbered(fresh, name))
    write_feedback(connection, _numbered(fresh, "feedback"))
    return numbers


def write_texts(connection: Connection, episodes: Sequence[tuple[int, EpisodeRows]]) -> None:
    """Store the shared texts of episodes, given with their numbers, and that they use them."""
    texts = {name: body for _, rows in episodes for name, body in rows.texts.items()}
    insert_all(
        connection, insert_new(connection, TEXTS), [{"hash": name, "body": texts[name]} for name in sorted(texts)]
    )
    # in the order of the table: neighbours lie on one page
    uses = sorted((name, number) for number, rows in episodes for name in rows.texts)
    insert_all(connection, insert_new(connection, USES), [{"text": name, "episode": number} for name, number in uses])


def write_feedback(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store rows of feedback; the database numbers them."""
    if rows:
        connection.execute(FEEDBACK.insert(), rows)


def _distinct(batch: Iterable[EpisodeRows]) -> dict[str, EpisodeRows]:
    found: dict[str, EpisodeRows] = {}
    for rows in batch:
        found.setdefault(rows.episode["id"], rows)  # of two equal ids the first stays
    return found


def _numbered(fresh: Iterable[tuple[int, EpisodeRows]], table: str) -> list[Row]:
    found = [(number, row) for number, rows in fresh for row in getattr(rows, table)]
    for number, row in found:
        row["episode"] = number
    return [row for _, row in found]
