"""Episodes as parquet for other tools: a row an episode, what it is found by in columns, and the whole as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from prentice.records.episodes import Episode
from prentice.records.jsonl import episode_line
from prentice.records.rows import moment_text
from prentice.runs import file_atomic

if TYPE_CHECKING:
    import polars

_ROWS = 256
_SCHEMA = {
    "id": "String",
    "run": "String",
    "task": "String",
    "case": "String",
    "split": "String",
    "attempt": "Int64",
    "policy": "String",
    "failure": "String",
    "started_at": "String",
    "turns": "Int64",
    "tags": "String",
    "metrics": "String",
    "episode": "String",
}
"""`tags` and `metrics` (those of the whole episode) are JSON objects; `episode` is the line of a JSONL export."""


def write_table(path: str | Path, episodes: Iterable[Episode]) -> int:
    """Write episodes as parquet, whole or not at all, a few hundred in memory at a time.

    Returns: how many.
    Raises: DataError naming an episode that JSON cannot hold; PrenticeError on a full disk. An older file then stays.
    """
    import polars as pl

    types = {name: getattr(pl, kind)() for name, kind in _SCHEMA.items()}
    return write_rows(path, types, map(_row, episodes))


def write_rows(path: str | Path, types: Mapping[str, Any], rows: Iterable[tuple[Any, ...]]) -> int:
    """Write rows as parquet, whole or not at all, a few hundred in memory at a time.

    Args:
        types: polars' type of each column.
    Returns: how many.
    Raises: what making the rows raises; PrenticeError on a full disk. An older file then stays.
    """
    with file_atomic(Path(path)) as scratch:
        return _write(scratch, dict(types), iter(rows))


def _write(path: Path, types: dict[str, Any], rest: Iterator[tuple[Any, ...]]) -> int:
    import polars as pl
    from polars.io.plugins import register_io_source

    number, stopped = 0, list[BaseException]()

    def frames(*_: Any) -> Iterator[polars.DataFrame]:
        nonlocal number
        try:
            while rows := list(islice(rest, _ROWS)):
                number += len(rows)
                yield pl.DataFrame(rows, schema=types, orient="row")
        except BaseException as error:
            stopped.append(error)  # polars would make another error of it
            raise

    try:
        register_io_source(frames, schema=types).sink_parquet(path, compression="zstd", row_group_size=_ROWS)
    except pl.exceptions.PolarsError:
        if stopped:
            raise stopped[0] from None
        raise
    return number


def _row(episode: Episode) -> tuple[Any, ...]:
    return (
        episode.id,
        episode.run,
        episode.task,
        episode.case,
        episode.split,
        episode.attempt,
        episode.policy,
        episode.failure and episode.failure.where,
        moment_text(episode.started_at),
        len(episode.turns),
        to_json(episode.tags).decode(),
        to_json({metric.name: metric.value for metric in episode.metrics if metric.turn is None}).decode(),
        episode_line(episode).decode().rstrip("\n"),
    )
