"""CSV files, spreadsheets and parquet files as rows; each row is JSON in bytes, as the rows of every other log are."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from prentice.errors import DataError, MissingExtraError
from prentice.records.importing.faults import RowError
from prentice.records.importing.lines import Advance, nothing, open_log
from prentice.records.importing.values import MOST_BYTES, Line

_DELIMITERS = (",", ";", "\t", "|")
_MOST_LINES = 1_000
"""Longest row of a CSV file, in lines: what is longer has a quote without its end."""
_ROWS = 500
"""Rows of a parquet file in memory at once."""


def read_csv(path: Path, advance: Advance = nothing) -> Iterator[Line]:
    """The rows below the header; the delimiter is told from the header.

    A row that is damaged (a quote without its end, too many cells) costs itself and not the rows after it.
    Raises: DataError if the file cannot be read.
    """
    csv.field_size_limit(MOST_BYTES)
    with open_log(path, advance) as file:
        lines = _Lines(enumerate(iter(file.readline, b""), 1))
        first = next((line for line in lines if line[1].strip()), None)
        if first is None:
            return
        delimiter = max(_DELIMITERS, key=first[1].decode(errors="replace").count)
        lines.put_back([first])
        number, cells = _record(lines, delimiter, 0)
        header = _header(cells)
        while (found := _next(lines, delimiter, len(header))) is not None:
            number, cells = found
            yield Line(number, b"", cells) if isinstance(cells, RowError) else _line(number, header, cells)


class _Lines:
    """Numbered lines, of which some may be put back."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._waiting: deque[tuple[int, bytes]] = deque()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> tuple[int, bytes]:
        return self._waiting.popleft() if self._waiting else next(self._lines)

    def put_back(self, lines: Sequence[tuple[int, bytes]]) -> None:
        self._waiting.extendleft(reversed(lines))


def _next(lines: _Lines, delimiter: str, width: int) -> tuple[int, list[str] | RowError] | None:
    """The next row that is not blank, or why it is none; None at the end."""
    for line in lines:
        if line[1].strip():
            lines.put_back([line])
            return _record(lines, delimiter, width)
    return None


def _record(lines: _Lines, delimiter: str, width: int) -> tuple[int, list[str] | RowError]:
    """A row: one line, or as many as its open quote takes; where no row comes of it, the first line alone is bad.

    Args:
        width: cells of the header; 0: this is the header.
    """
    number, text = next(lines)
    cells = _cells(text, delimiter, width)
    if not isinstance(cells, RowError) or text.count(b'"') % 2 == 0:
        return number, cells
    more = list[tuple[int, bytes]]()
    for line in islice(lines, _MOST_LINES):
        more.append(line)
        if line[1].count(b'"') % 2:
            break
    whole = _cells(b"".join([text, *(line for _, line in more)]), delimiter, width)
    if isinstance(whole, RowError):
        lines.put_back(more)
        return number, cells
    return number, whole


def _cells(text: bytes, delimiter: str, width: int) -> list[str] | RowError:
    try:
        rows = list(csv.reader([text.decode().rstrip("\r\n")], delimiter=delimiter, strict=True))
    except UnicodeDecodeError as wrong:
        return RowError("not UTF-8", f"byte 0x{text[wrong.start]:02x} at {wrong.start + 1}")
    except csv.Error as error:
        return RowError("malformed table row", str(error))
    cells = rows[0] if len(rows) == 1 else []
    while width and len(cells) > width and not cells[-1]:
        cells.pop()  # spreadsheets write empty cells at the end
    if width and len(cells) != width:
        return RowError("malformed table row", f"{len(cells)} cells, the header has {width}")
    return cells


def _header(cells: Sequence[Any] | RowError) -> list[str]:
    if isinstance(cells, RowError):
        return []
    names = list[str]()
    for place, cell in enumerate(cells, 1):
        name = str(cell).strip() if cell is not None else ""
        names.append(name if name and name not in names else f"{name or 'column'} {place}")
    return names


def _line(number: int, header: Sequence[str], cells: Sequence[Any]) -> Line:
    row = {name: cell for name, cell in zip(header, cells, strict=False) if cell not in (None, "")}
    try:
        return Line(number, to_json(row, bytes_mode="base64"))
    except ValueError as error:
        return Line(number, b"", RowError("malformed table row", str(error)[:100]))


def read_xlsx(path: Path, advance: Advance = nothing) -> Iterator[Line]:
    """The rows of the first sheet below its first row that is not empty; a formula counts as its last result.

    Raises: MissingExtraError without openpyxl; DataError if the file is no spreadsheet.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError("reading spreadsheets needs openpyxl", 'pip install "prentice[sheets]"') from error
    header: list[str] = []
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        for number, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            if all(cell is None for cell in cells):
                continue
            if header:
                yield _line(number, header, cells)
            else:
                header = _header(cells)
        book.close()
    except Exception as error:  # a damaged file makes openpyxl raise errors of any kind
        raise DataError(f"{path}: not a spreadsheet, or damaged ({type(error).__name__}: {error})"[:300]) from error
    advance(path.stat().st_size)


def read_parquet(path: Path, advance: Advance = nothing) -> Iterator[Line]:
    """The rows of a parquet file. An empty field is as one that is not there: all rows of a file have the same.

    Raises: DataError if it is no parquet file.
    """
    import polars as pl

    try:
        frame = pl.scan_parquet(path)
        rows = frame.select(pl.len()).collect().item()
        for start in range(0, rows, _ROWS):
            for number, row in enumerate(frame.slice(start, _ROWS).collect().iter_rows(named=True), start + 1):
                yield _line(number, list(row), [_without_empty(value) for value in row.values()])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{path}: not a parquet file, or damaged: {str(error).splitlines()[0]}"[:300]) from error
    advance(path.stat().st_size)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(each) for key, each in value.items() if each is not None}
    return [_without_empty(each) for each in value] if isinstance(value, list) else value
