"""What joins episodes later: recorded calls as their next turns, and feedback. Within a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, delete, func, select
from sqlalchemy.engine import Connection, RowMapping

from prentice.records.calls import Call
from prentice.records.database import hold_calls, hold_texts, insert_all
from prentice.records.episodes import Episode, Metric
from prentice.records.feedback import Feedback, FeedbackOutcome, Refusal
from prentice.records.inserting import insert_episodes, insert_new, write_feedback, write_texts
from prentice.records.reading import VARIABLES, assemble, chunks
from prentice.records.rows import Read, Row, Texts, message_of, metric_of, metric_row, moment_text, to_rows
from prentice.records.schema import CALLS, EPISODES, FEEDBACK, METRICS, TURNS


def add_calls(connection: Connection, calls: Iterable[Call], place: str) -> int:
    """Store calls that are not stored yet, each as a turn of its episode.

    Returns: how many were new.
    Raises: DataError naming an episode that cannot be stored; StoreError if the store is damaged.
    """
    hold_calls(connection)
    distinct: dict[str, Call] = {}
    for call in calls:
        distinct.setdefault(call.id, call)
    known = _known(connection, list(distinct))
    fresh = [call for call in distinct.values() if call.id not in known]
    old = _locked(connection, sorted({call.episode for call in fresh}))
    before = {each.id: each for each in assemble(connection, list(old.values()), Texts(), place)}
    after: dict[str, Episode] = {}
    for call in fresh:
        so_far = after.get(call.episode) or before.get(call.episode)
        after[call.episode] = call.added_to(so_far) if so_far else call.begun()
    numbers = insert_episodes(connection, [to_rows(each) for each in after.values() if each.id not in before])
    for episode in before.values():
        numbers[episode.id] = old[episode.id]["number"]
        _grow(connection, numbers[episode.id], len(episode.turns), after[episode.id])
    insert_all(
        connection,
        insert_new(connection, CALLS),
        [{"id": call.id, "episode": numbers[call.episode]} for call in fresh],
    )
    return len(fresh)


def add_feedback(connection: Connection, items: Iterable[Feedback]) -> FeedbackOutcome:
    """Store feedback that is not stored yet; what cannot be stored is named, and keeps nothing else from it."""
    given = list(items)
    episodes = _locked(connection, sorted({each.episode for each in given}))
    numbers = [row["number"] for row in episodes.values()]
    turns = _counts(connection, select(TURNS.c.episode, func.count()), TURNS.c.episode, numbers)
    places = _counts(
        connection, select(METRICS.c.episode, func.max(METRICS.c.position) + 1), METRICS.c.episode, numbers
    )
    stored = {each.id: each for each in feedback_of(connection, [each.id for each in given])}
    refused, rows, metrics, known = [], list[Row](), list[Row](), 0
    for each in given:
        number = episodes[each.episode]["number"] if each.episode in episodes else None
        if (
            refusal := _refusal(each, stored.get(each.id), None if number is None else turns.get(number, 0))
        ) is not None:
            refused.append(refusal)
        elif each.id in stored:
            known += 1
        elif number is not None:
            stored[each.id] = each
            row = _feedback_row(each, number, turns.get(number, 0))
            if each.value is not None:
                row["position"] = places.setdefault(number, 0)
                places[number] += 1
                metric = Metric(name=each.name, value=each.value, source=each.source, turn=each.turn)
                metrics.append({"episode": number, **metric_row(row["position"], metric)})
            rows.append(row)
    insert_all(connection, METRICS.insert(), metrics)
    write_feedback(connection, rows)
    return FeedbackOutcome(new=len(rows), known=known, refused=tuple(refused))


def feedback_of(connection: Connection, ids: Sequence[str]) -> list[Feedback]:
    """Stored feedback by its ids, in the order it came."""
    return _read(connection, FEEDBACK.c.id, ids)


def feedback_on(connection: Connection, episodes: Sequence[str]) -> list[Feedback]:
    """Stored feedback on these episodes, in the order it came."""
    return _read(connection, EPISODES.c.id, episodes)


def feedback_where(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> list[Feedback]:
    """Stored feedback that fits conditions on it and its episode, in the order it came."""
    rows = connection.execute(_joined().where(*conditions).order_by(FEEDBACK.c.number)).mappings()
    return [_feedback(row) for row in rows]


def _joined() -> Select[Any]:
    here = (METRICS.c.episode == FEEDBACK.c.episode) & (METRICS.c.position == FEEDBACK.c.position)
    value = (METRICS.c.flag.label("flag"), METRICS.c.number.label("value"), METRICS.c.text.label("text"))
    about = select(FEEDBACK, EPISODES.c.id.label("episode_id"), *value)
    return about.join(EPISODES, EPISODES.c.number == FEEDBACK.c.episode).outerjoin(METRICS, here)


def _read(connection: Connection, by: Column[str], names: Sequence[str]) -> list[Feedback]:
    rows: list[RowMapping] = []
    for some in chunks(names):
        rows += connection.execute(_joined().where(by.in_(some))).mappings().all()
    return [_feedback(row) for row in sorted(rows, key=lambda row: int(row["number"]))]


def remove_feedback(connection: Connection, ids: Sequence[str]) -> int:
    """Take feedback back, as an undo does; return how much there was."""
    removed = 0
    for some in chunks(ids):
        rows = connection.execute(select(FEEDBACK).where(FEEDBACK.c.id.in_(some))).mappings().all()
        for row in rows:
            if row["position"] is not None:
                at = (METRICS.c.episode == row["episode"]) & (METRICS.c.position == row["position"])
                connection.execute(delete(METRICS).where(at))
        removed += connection.execute(delete(FEEDBACK).where(FEEDBACK.c.id.in_(some))).rowcount
    return removed


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    return {
        id_
        for some in chunks(ids)
        for id_ in connection.execute(select(CALLS.c.id).where(CALLS.c.id.in_(some))).scalars()
    }


def _locked(connection: Connection, ids: Sequence[str]) -> dict[str, RowMapping]:
    """The rows of these episodes, held against other writers (in SQLite a writer is alone anyway)."""
    rows: dict[str, RowMapping] = {}
    for some in chunks(ids):
        query = select(EPISODES).where(EPISODES.c.id.in_(some)).order_by(EPISODES.c.number).with_for_update()
        rows |= {row["id"]: row for row in connection.execute(query).mappings()}
    return rows


def _grow(connection: Connection, number: int, turns: int, episode: Episode) -> None:
    """Write what an episode has more than the `turns` that are stored."""
    rows = to_rows(episode)
    hold_texts(connection, "use")
    write_texts(connection, [(number, rows)])
    new = [{**row, "episode": number} for row in rows.turns[turns:]]
    insert_all(connection, TURNS.insert(), new)
    changed = {name: rows.episode[name] for name in ("content_hash", "failure_where", "failure_message")}
    connection.execute(EPISODES.update().where(EPISODES.c.number == number).values(**changed))


def _counts(connection: Connection, query: Select[Any], by: Column[int], numbers: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for start in range(0, len(numbers), VARIABLES):
        some = query.where(by.in_(numbers[start : start + VARIABLES])).group_by(by)
        found |= {int(row[0]): int(row[1]) for row in connection.execute(some)}
    return found


def _refusal(new: Feedback, stored: Feedback | None, turns: int | None) -> Refusal | None:
    """Why this feedback cannot be stored; None if it can, or is stored already.

    Args:
        stored: what is stored under its id.
        turns: of its episode; None if that is unknown.
    """
    if turns is None:
        message = f"no episode {new.episode!r} is stored"
        return Refusal(feedback=new.id, reason="unknown episode", message=message)
    last = new.turn if new.turn is not None else 0 if new.demonstration is not None else None
    if last is not None and last >= turns:
        message = f"episode {new.episode!r} has {turns} turns, and none of number {last} (counted from 0)"
        return Refusal(feedback=new.id, reason="unknown turn", message=message)
    if stored is not None and not _same(stored, new, turns):
        message = f"other feedback is stored under the id {new.id!r}"
        return Refusal(feedback=new.id, reason="other content", message=message)
    return None


def _same(one: Feedback, other: Feedback, turns: int) -> bool:
    if one.demonstration is not None and other.demonstration is not None:
        one, other = (each.model_copy(update={"turn": each.demonstrates(turns).turn}) for each in (one, other))
    # a client that tries again may send another time
    return one.model_copy(update={"at": other.at}) == other


def _feedback_row(feedback: Feedback, number: int, turns: int) -> Row:
    shown = feedback.demonstration
    return {
        "id": feedback.id,
        "episode": number,
        "turn": feedback.turn if shown is None else feedback.demonstrates(turns).turn,
        "name": feedback.name,
        "source": feedback.source,
        "author": feedback.author,
        "at": moment_text(feedback.at),
        "position": None,
        "demonstration": shown and shown.model_dump_json(exclude_defaults=True),
    }


def _feedback(row: Read) -> Feedback:
    shown = row["demonstration"]
    values = {"name": row["name"], "flag": row["flag"], "number": row["value"], "text": row["text"]}
    about = {"source": row["source"], "turn": row["turn"]}
    return Feedback(
        id=row["id"],
        episode=row["episode_id"],
        name=row["name"],
        value=metric_of({**values, **about}).value if shown is None else None,
        demonstration=message_of(shown) if shown is not None else None,
        author=row["author"],
        at=datetime.fromisoformat(row["at"]),
        **about,
    )
