"""A sheet that came back, as text in named columns, whatever a spreadsheet made of it on the way.

This module does not know what the words mean.
"""

from __future__ import annotations

import csv
import difflib
import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prentice.errors import DataError
from prentice.records.labelling.sheet_out import KINDS, MOST_ROWS, needs_openpyxl, restored
from prentice.records.labelling.sheet_rows import COLUMNS, EPISODE, NEEDED, TO_FILL, TURN

if TYPE_CHECKING:
    from openpyxl.cell.cell import Cell, MergedCell
    from openpyxl.worksheet.worksheet import Worksheet

_DELIMITERS = ",;\t"
_MOST_COLUMNS = 200
_MOST_BYTES = 500_000_000
_HEADER_WITHIN = 20
"""Rows in which the header is looked for: someone may have put a title above it."""
_READ = (EPISODE, TURN, *TO_FILL)
_AS_TYPED = {"General", "@", "0"}
"""Number formats that show a number as it was typed."""


@dataclass(frozen=True)
class Fault:
    """A cell or row that cannot be used."""

    row: int
    column: str
    """Its name; empty for the whole row."""
    problem: str
    sheet: str = ""
    """Where a file has more than one."""

    def __str__(self) -> str:
        sheet = f"sheet {self.sheet!r}, " if self.sheet else ""
        column = f", column {self.column}" if self.column else ""
        return f"{sheet}row {self.row}{column}: {self.problem}"


@dataclass
class Line:
    """One row: column → text, for the columns that are read back; and the cells that hold no text."""

    row: int
    cells: Mapping[str, str]
    sheet: str = ""
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_filled_in(self) -> bool:
        """Whether an expert wrote anything in it."""
        return bool(self.faults) or any(self.cells.get(name, "").strip() for name in TO_FILL[:-1])

    def fault(self, column: str, problem: str) -> Fault:
        """A fault of this row."""
        return Fault(self.row, column, problem, self.sheet)


def read_lines(path: Path) -> Iterator[Line]:
    """The rows below the header. Columns may stand in any order, and others between them.

    Raises: DataError if the file cannot be read, or lacks a column; MissingExtraError without `openpyxl`.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        hint = "save it as .xlsx" if kind in (".xls", ".ods", ".numbers") else f"name a file {' or '.join(KINDS)}"
        raise DataError(f"{path}: no kind of sheet that is known", hint)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: larger than {_MOST_BYTES // 10**6} MB")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    return _csv_lines(path, data) if kind == ".csv" else _xlsx_lines(path, data)


def _header(row: Sequence[str]) -> dict[str, int] | None:
    """Column → position; None if this is not the header."""
    names = ["_".join(text.replace("\xa0", " ").casefold().split()) for text in row]
    found = {name: position for position, name in reversed(list(enumerate(names))) if name in COLUMNS}
    return found if EPISODE in found or len(found.keys() & set(NEEDED)) > 2 else None


def _check_header(path: Path, row: Sequence[str], found: Mapping[str, int]) -> None:
    names = [text.strip() for text in row]
    for name in NEEDED:
        if name not in found:
            unknown = [other for other in names if other and other.casefold() not in COLUMNS]
            near = difflib.get_close_matches(name, unknown, n=1, cutoff=0.5)
            there = f"is it {near[0]!r}?" if near else f"there are: {', '.join(other for other in names if other)}"
            raise DataError(f"{path}: no column is named {name!r} ({there})", "give the column its name back")
    twice = [name for name in COLUMNS if [other.casefold() for other in names].count(name) > 1]
    if twice:
        raise DataError(f"{path}: two columns are named {twice[0]!r}", "delete or rename one of them")


def _no_header(path: Path) -> DataError:
    hint = "write one with --out, and keep its first row"
    return DataError(f"{path}: no row begins with the columns {', '.join(NEEDED)}", hint)


def _csv_lines(path: Path, data: bytes) -> Iterator[Line]:
    text = _decoded(path, data)
    csv.field_size_limit(10_000_000)
    rows = _csv_rows(path, text, _delimiter(text))
    for number, row in rows:
        if (header := _header(row)) is not None:
            _check_header(path, row, header)
            break
        if number == _HEADER_WITHIN:
            raise _no_header(path)
    else:
        raise _no_header(path)
    width = len(row)
    for number, row in rows:
        cells = {name: restored(row[header[name]]) for name in _READ if name in header and header[name] < len(row)}
        line = Line(number, cells)
        if any(row[width:]):
            line.faults.append(line.fault("", f"has {len(row)} cells, the header {width}: is a quote missing?"))
        yield line


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows as a spreadsheet counts them, one for several lines between quotes."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, row in enumerate(reader, 1):
            if number > MOST_ROWS + _HEADER_WITHIN:
                raise DataError(f"{path}: more than {MOST_ROWS:,} rows")
            yield number, row
    except csv.Error as error:
        hint = "open it in a spreadsheet and save it as CSV again"
        raise DataError(f"{path}: row {number + 1}: {error}", hint) from error


def _delimiter(text: str) -> str:
    """What stands between the names of the header."""
    for row in text.splitlines()[:_HEADER_WITHIN]:
        for delimiter in _DELIMITERS:
            if _header([name.strip('"') for name in row.split(delimiter)]) is not None and row.count(delimiter) > 1:
                return delimiter
    return ","


def _decoded(path: Path, data: bytes) -> str:
    """UTF-8, UTF-16 where it is marked, else what a Western Windows writes."""
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    encodings = ("utf-16",) if marked else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: neither UTF-8 nor any other encoding that is known", "save it as CSV UTF-8")


def _xlsx_lines(path: Path, data: bytes) -> Iterator[Line]:
    book = _book(path, data)
    found = [(sheet, *header) for sheet in book.worksheets if (header := _sheet_header(path, sheet)) is not None]
    if not found:
        raise _no_header(path)
    for sheet, number, columns in found:
        yield from _sheet_lines(sheet, number, columns, sheet.title if len(found) > 1 else "")


def _book(path: Path, data: bytes) -> Any:
    openpyxl = needs_openpyxl()
    damaged = DataError(f"{path}: no spreadsheet, or a damaged or locked one", "save it as .xlsx, without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            if sum(part.file_size for part in parts.infolist()) > _MOST_BYTES:
                raise DataError(f"{path}: unpacks to more than {_MOST_BYTES // 10**6} MB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of features that carry no text
            return openpyxl.load_workbook(io.BytesIO(data), rich_text=False)
    except DataError:
        raise
    except Exception as error:  # it answers damage with whatever went wrong inside
        raise damaged from error


def _sheet_header(path: Path, sheet: Worksheet) -> tuple[int, dict[str, int]] | None:
    """The header's row, and column → position."""
    most = min(sheet.max_column, _MOST_COLUMNS)
    for number, row in enumerate(sheet.iter_rows(max_row=_HEADER_WITHIN, max_col=most, values_only=True), 1):
        texts = ["" if value is None else str(value) for value in row]
        if (header := _header(texts)) is not None:
            _check_header(path, texts, header)
            if sheet.max_row > MOST_ROWS + _HEADER_WITHIN:
                raise DataError(f"{path}: {sheet.max_row:,} rows", "delete the empty rows below the last one")
            return number, header
    return None


def _sheet_lines(sheet: Worksheet, header_row: int, header: Mapping[str, int], title: str) -> Iterator[Line]:
    merged = _merged(sheet, header)
    most = max(header.values()) + 1
    for number, row in enumerate(sheet.iter_rows(min_row=header_row + 1, max_col=most), header_row + 1):
        cells: dict[str, str] = {}
        line = Line(number, cells, title)
        for name in _READ:
            if name in header:
                try:
                    cells[name] = _text(row[header[name]])
                except ValueError as error:
                    line.faults.append(line.fault(name, str(error)))
        line.faults += [
            line.fault(name, f"cells {where} are merged: split them") for name, where in merged.get(number, ())
        ]
        yield line


def _merged(sheet: Worksheet, header: Mapping[str, int]) -> dict[int, list[tuple[str, str]]]:
    """Row → columns that are read back and merged with another cell, with the range they are merged into."""
    found: dict[int, list[tuple[str, str]]] = {}
    names = {position + 1: name for name, position in header.items() if name in _READ}
    for each in sheet.merged_cells.ranges:
        columns = [names[n] for n in range(each.min_col, min(each.max_col, _MOST_COLUMNS) + 1) if n in names]
        for row in range(each.min_row, min(each.max_row, sheet.max_row) + 1) if columns else ():
            found.setdefault(row, []).append((columns[0], each.coord))
    return found


def _text(cell: Cell | MergedCell) -> str:
    """The text of a cell.

    Raises: ValueError if it holds something that is no longer what was typed.
    """
    value: Any = cell.value
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | float():
            if cell.number_format not in _AS_TYPED:
                raise ValueError(f"{value} is a number shown as {cell.number_format!r}: format the cell as text")
            return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)
        case date() | time() | timedelta():
            raise ValueError(f"{value} is a date or time by now: format the cell as text and write it again")
        case str() if cell.data_type == "e":
            raise ValueError(f"{value} is an error of the spreadsheet")
        case str() if cell.data_type != "f":
            return value.replace("_x000D_", "")
        case _:
            raise ValueError("is a formula: write what it says instead")
