"""A corpus of passages on disk: one JSON object a line, gzipped or not, or CSV, with `id`, `title` and `text`."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from prentice.errors import DataError
from prentice.records import Record

FORMS = (".jsonl", ".jsonl.gz", ".csv")

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Japanese, Chinese: no spaces between words. A range of a pattern."""


class Passage(Record):
    """A text that can be found."""

    id: str
    title: str = ""
    text: str


class SearchEngine(Protocol):
    """Finds passages of one corpus."""

    def search(self, query: str, count: int, without: Collection[str] = ()) -> Sequence[Passage]:
        """The best passages for a query, best first, none that has nothing in common with it.

        Args:
            count: how many at most.
            without: ids of passages that are not wanted.
        """
        ...


def read_passages(path: Path) -> tuple[Passage, ...]:
    """The passages of a file, in its order.

    Raises: DataError naming file, line and value: a line cannot be read, an id is missing or occurs twice, a text is
        empty, or there is no passage.
    """
    if not path.name.endswith(FORMS):
        raise DataError(f"{path}: a corpus comes as {', '.join(FORMS)}")
    seen: dict[str, int] = {}
    passages = []
    try:
        for line, row in _rows(path):
            passage = _passage(f"{path}:{line}", row)
            if passage.id in seen:
                raise DataError(f"{path}:{line}: id {passage.id!r} occurred in line {seen[passage.id]} before")
            seen[passage.id] = line
            passages.append(passage)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", "name a file of passages") from error
    except (csv.Error, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read, or not as UTF-8: {error}") from error
    if not passages:
        raise DataError(f"{path}: no passages, so nothing can be found", "name a file of passages")
    return tuple(passages)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            reader = csv.DictReader(file, strict=True)
            yield from ((reader.line_num, row) for row in reader)
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _object(f"{path}:{number}", line)


def _object(where: str, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a JSON object: {line.strip()[:80]}")
    return row


def _passage(where: str, row: Mapping[str, Any]) -> Passage:
    name, title, text = row.get("id"), row.get("title") or "", row.get("text")
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
        raise DataError(f"{where}: the passage has no id")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: the text of passage {str(name)!r} is empty")
    return Passage(id=str(name), title=str(title), text=text)
