"""Episodes as JSON lines, gzipped where the name ends in .gz: written whole or not at all, read back equal."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from io import BufferedWriter
from pathlib import Path

from pydantic import ValidationError

from prentice.errors import DataError
from prentice.records.base import first_fault
from prentice.records.episodes import Episode
from prentice.runs import file_atomic


def write_episodes(path: str | Path, episodes: Iterable[Episode]) -> int:
    """Write episodes, one a line; equal episodes give equal bytes, gzipped ones too.

    Returns: how many.
    Raises: DataError naming an episode that JSON cannot hold; PrenticeError on a full disk. An older file then stays.
    """
    return write_lines(path, map(episode_line, episodes))


def write_lines(path: str | Path, lines: Iterable[bytes]) -> int:
    """Write lines, each with its end, whole or not at all; gzipped where the name ends in .gz.

    Returns: how many.
    Raises: what making the lines raises; PrenticeError on a full disk. An older file then stays.
    """
    with file_atomic(Path(path)) as scratch:
        return _write(scratch, lines)


def read_episodes(path: str | Path) -> Iterator[Episode]:
    """Stream the episodes of a file; blank lines are skipped.

    Raises: DataError naming file, line and key of what cannot be read; the episodes before it have been given by then.
    """
    path, number = Path(path), 0
    try:
        if path.suffix == ".gz" and path.stat().st_size == 0:
            raise EOFError("the file is empty")  # gzip itself takes it for no lines
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _episode(line, f"{path}:{number}")
    except gzip.BadGzipFile as error:
        raise DataError(f"{path}:{number + 1}: not gzip data, or damaged ({error})") from error
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{path}:{number + 1}: damaged or cut short ({error})", "copy or make the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _write(path: Path, lines: Iterable[bytes]) -> int:
    number = 0
    with path.open("wb") as raw:
        file: gzip.GzipFile | BufferedWriter = raw
        if path.suffix == ".gz":
            file = gzip.GzipFile("", "wb", 6, raw, mtime=0)  # no name and no time: equal lines, equal bytes
        try:
            for line in lines:
                file.write(line)
                number += 1
        finally:
            if file is not raw:
                file.close()
        raw.flush()
        os.fsync(raw.fileno())
    return number


def episode_line(episode: Episode) -> bytes:
    """An episode as JSON in one line, with its end.

    Raises: DataError if JSON cannot hold it.
    """
    moments = {"started_at": _writable(episode.started_at)}
    shown = tuple(each.model_copy(update={"at": _writable(each.at)}) for each in episode.demonstrations)
    episode = episode.model_copy(update=moments | ({"demonstrations": shown} if shown else {}))
    try:
        for turn in episode.turns:
            request = turn.request
            free = [request.inputs, request.response_schema, [tool.parameters for tool in request.tools], turn.extra]
            json.dumps(free, allow_nan=False)  # refuses NaN, which would be written as null
        json.dumps(episode.extra, allow_nan=False)
        return episode.model_dump_json().encode() + b"\n"
    except ValueError as error:
        raise DataError(f"episode {episode.id!r} (case {episode.case!r}) cannot be written as JSON: {error}") from error


def _writable(moment: datetime) -> datetime:
    """JSON's offsets have no seconds: the same moment in UTC loses nothing."""
    offset = moment.utcoffset() or timedelta()
    return moment.astimezone(UTC) if offset % timedelta(minutes=1) else moment


def _episode(line: bytes, place: str) -> Episode:
    try:
        return Episode.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "literal_error" and first["loc"] == ("version",):
            hint = "upgrade prentice, or have the file written by this version"
            raise DataError(f"{place}: written in another version ({first['input']!r})", hint) from error
        key, said = first_fault(error)
        raise DataError(f"{place}: {f'{key}: ' if key else ''}{said}") from error
