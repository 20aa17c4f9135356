"""Episodes out of the store's tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Table, select
from sqlalchemy.engine import Connection, RowMapping

from prentice.records.database import damaged
from prentice.records.episodes import Episode
from prentice.records.rows import Texts, from_rows, shared_texts
from prentice.records.schema import FEEDBACK, METRICS, TEXTS, TURNS

VARIABLES = 10_000
"""Values in one query; SQLite takes 32 766."""
_REMEMBERED = 20_000
"""Shared texts kept in memory while reading, so that one that repeats is not read and parsed again."""


def assemble(connection: Connection, rows: Sequence[RowMapping], texts: Texts, place: str) -> list[Episode]:
    """The episodes of these rows of `EPISODES`.

    Raises: StoreError if they cannot be what was written.
    """
    numbers = [row["number"] for row in rows]
    turns, metrics = _children(connection, TURNS, numbers), _children(connection, METRICS, numbers)
    feedback = _feedback(connection, numbers)
    try:
        _fetch_texts(connection, [turn for each in turns.values() for turn in each], texts)
        return [
            from_rows(row, turns.get(number, []), metrics.get(number, []), feedback.get(number, []), texts)
            for row, number in zip(rows, numbers, strict=True)
        ]
    except (ValueError, TypeError, LookupError) as error:
        raise damaged(place, " ".join(str(error).split())[:200]) from error


def chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Parts of what is too much for one query."""
    return (names[start : start + VARIABLES] for start in range(0, len(names), VARIABLES))


def _children(connection: Connection, table: Table, numbers: list[int]) -> Mapping[int, list[RowMapping]]:
    """Rows of `table` by episode, in order."""
    query = select(table).where(table.c.episode.in_(numbers)).order_by(table.c.episode, table.c.position)
    return _by_episode(connection.execute(query).mappings())


def _feedback(connection: Connection, numbers: list[int]) -> Mapping[int, list[RowMapping]]:
    query = select(FEEDBACK).where(FEEDBACK.c.episode.in_(numbers), FEEDBACK.c.demonstration.is_not(None))
    return _by_episode(connection.execute(query.order_by(FEEDBACK.c.number)).mappings())


def _by_episode(rows: Iterable[RowMapping]) -> Mapping[int, list[RowMapping]]:
    found: dict[int, list[RowMapping]] = {}
    for row in rows:
        found.setdefault(row["episode"], []).append(row)
    return found


def _fetch_texts(connection: Connection, turns: list[RowMapping], texts: Texts) -> None:
    """Read the shared texts that these turns name and that are not in `texts` yet."""
    if len(texts.bodies) > _REMEMBERED:
        texts.clear()
    missing = sorted({name for turn in turns for name in shared_texts(turn)} - texts.bodies.keys())
    for some in chunks(missing):
        for name, body in connection.execute(select(TEXTS).where(TEXTS.c.hash.in_(some))):
            texts.bodies[name] = body
