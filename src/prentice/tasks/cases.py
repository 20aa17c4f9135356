"""Cases from a file: CSV with a header, or one JSON object a line.

`id` and `split` (train, val, test) are asked for, `expected` is the answer key, all other columns are inputs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import JsonValue, ValidationError

from prentice.errors import DataError
from prentice.records import Split
from prentice.tasks.contract import Case
from prentice.tasks.seeds import SPLITS

NAMES: Mapping[str, str] = {
    **{name: name for name in ("prompt", "train", "val", "test")},
    **dict.fromkeys(("validation", "valid", "dev", "testa"), "val"),
    "testb": "test",
}
"""What the splits are called in public files, and here."""
R = TypeVar("R")
ABOUT = "every case needs an id of its own and a split: train, val or test"


def read_cases(path: Path) -> tuple[Case, ...]:
    """The cases of a file that ends in .csv or .jsonl, in its order.

    Raises: DataError naming file, line and value: an id is missing or occurs twice, a split is none of the three, a
        line cannot be read, or there is no case.
    """
    rows = ((line, make_case(f"{path}:{line}", row)) for line, row in readable(file_rows(path)))
    return tuple(distinct(path, ((line, case.id, case) for line, case in rows)))


def file_rows(path: Path, key: str = "cases") -> Iterator[tuple[int, Mapping[str, Any] | DataError]]:
    """Line number and row of a file of cases, as it stands there; in place of a damaged row what is wrong with it.

    Args:
        key: the setting that names it, for the error.
    Raises: DataError if the file cannot be read, or not beyond some line.
    """
    read = {".csv": _csv_rows, ".jsonl": _json_rows}.get(path.suffix)
    if read is None:
        raise DataError(f"{path}: cases come as .csv or .jsonl")
    return _explained(path, read(path), key)


def readable(rows: Iterable[tuple[int, R | DataError]]) -> Iterator[tuple[int, R]]:
    """The rows, as long as none is damaged.

    Raises: DataError at the first damaged one.
    """
    for line, row in rows:
        if isinstance(row, DataError):
            raise row
        yield line, row


def table_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and row of a CSV file that has at least these columns.

    Raises: DataError naming file and line: a column is missing, or a line cannot be read.
    """
    return readable(_explained(path, _csv_rows(path, columns)))


def distinct(path: Path, rows: Iterable[tuple[int, str, R]]) -> Iterator[R]:
    """What was read, each with its line and id, without these.

    Raises: DataError naming file and line: an id occurs twice, or there is no row.
    """
    seen: dict[str, int] = {}
    for line, name, row in rows:
        if name in seen:
            raise DataError(f"{path}:{line}: id {name!r} occurred in line {seen[name]} before", ABOUT)
        seen[name] = line
        yield row
    if not seen:
        raise DataError(f"{path}: no cases")


def _explained(path: Path, rows: Iterator[tuple[int, R]], key: str = "cases") -> Iterator[tuple[int, R]]:
    try:
        yield from rows
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", f"set [task] {key} to a file of {key}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as {path.suffix[1:].upper()} in UTF-8: {error}") from error


def _csv_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[int, Mapping[str, str] | DataError]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        names = reader.fieldnames or ()
        if missing := [name for name in columns if name not in names]:
            there = f"the columns are {', '.join(names) or 'none'}"
            raise DataError(f"{path}:1: column {missing[0]!r} is missing", there)
        for row in reader:
            line = reader.line_num
            is_whole = None not in row and None not in row.values()
            yield line, row if is_whole else DataError(f"{path}:{line}: the row has not as many columns as the header")


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | DataError]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _json_row(f"{path}:{number}", line)


def _json_row(where: str, line: str) -> Mapping[str, Any] | DataError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return DataError(f"{where}: not valid JSON: {error}")
    return row if isinstance(row, dict) else DataError(f"{where}: not a JSON object: {line.strip()[:80]}")


def make_case(where: str, row: Mapping[str, Any]) -> Case:
    """The case that a row is.

    Args:
        where: file and line, for errors.
    Raises: DataError: no id, no known split, or a value that no record can hold.
    """
    name = row.get("id")
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
        raise DataError(f"{where}: the case has no id", ABOUT)
    split = row.get("split")
    if split not in SPLITS:
        raise DataError(f"{where}: split {split!r} is not one of {', '.join(SPLITS)}", ABOUT)
    inputs = {key: value for key, value in row.items() if key not in ("id", "split", "expected")}
    try:
        return Case(
            id=str(name),
            split=cast("Split", split),
            inputs=inputs,
            expected=cast("JsonValue", row.get("expected")),
        )
    except ValidationError as error:  # NaN, which Python's JSON reads, or half a surrogate pair
        raise DataError(f"{where}: {error.errors()[0]['msg']}: {error.errors()[0]['input']!r}") from error
