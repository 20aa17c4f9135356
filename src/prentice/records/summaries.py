"""Episodes at a glance: what a list shows, read without what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import Connection

from prentice.records.episodes import Value
from prentice.records.schema import EPISODES, METRICS, TURNS


@dataclass(frozen=True, slots=True)
class Summary:
    """One episode without its turns."""

    id: str
    run: str
    task: str
    case: str
    split: str
    attempt: int
    policy: str
    failure: str | None
    """The boundary it failed at."""
    started_at: datetime
    turns: int
    cost_usd: float | None
    """Of the turns that know theirs; None where none does."""
    metrics: Mapping[str, Value]
    """Those of the whole episode."""


def summaries(connection: Connection, where: Sequence[ColumnElement[bool]], limit: int) -> list[Summary]:
    """The episodes stored last, newest first.

    Args:
        where: conditions on `EPISODES`.
    """
    query = select(EPISODES).where(*where).order_by(EPISODES.c.number.desc()).limit(limit)
    rows = connection.execute(query).mappings().all()
    numbers = [row["number"] for row in rows]
    turns = select(TURNS.c.episode, func.count(), func.sum(TURNS.c.cost_usd)).group_by(TURNS.c.episode)
    totals = {n: (count, cost) for n, count, cost in connection.execute(turns.where(TURNS.c.episode.in_(numbers)))}
    metrics: dict[int, dict[str, Value]] = {number: {} for number in numbers}
    whole = select(METRICS).where(METRICS.c.episode.in_(numbers), METRICS.c.turn.is_(None))
    for metric in connection.execute(whole.order_by(METRICS.c.episode, METRICS.c.position)).mappings():
        value = next((metric[kind] for kind in ("flag", "number", "text") if metric[kind] is not None), "")
        metrics[metric["episode"]][metric["name"]] = value
    return [
        Summary(
            id=row["id"],
            run=row["run"],
            task=row["task"],
            case=row["case_id"],
            split=row["split"],
            attempt=row["attempt"],
            policy=row["policy"],
            failure=row["failure_where"],
            started_at=datetime.fromisoformat(row["started_at"]),
            turns=totals.get(row["number"], (0, None))[0],
            cost_usd=totals.get(row["number"], (0, None))[1],
            metrics=metrics[row["number"]],
        )
        for row in rows
    ]
