"""A person's own table of examples, with any columns: CSV, a spreadsheet, or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prentice.errors import DataError, MissingExtraError

DELIMITERS = ",;\t|"
SNIFFED = 20_000
"""Characters from which the delimiter of a CSV file is told."""
FORMS = ".csv, .tsv, .xlsx or .jsonl"


@dataclass(frozen=True)
class Row:
    """One row: the line (or the row of the sheet) it stands in, and its cells as texts by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """What a file holds."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    instructions: str = ""
    """What its source says is to be done."""
    note: str = ""
    """What a person has to know of how it was read."""

    def values(self, column: str) -> list[str]:
        """The column's cells, from the first row on."""
        return [row.cells[column] for row in self.rows]


def read_table(path: Path) -> Table:
    """Read a file of examples; rows without any value are left out.

    Raises: DataError naming file and line: not one of the forms, not readable, no header, a column twice, no rows;
        MissingExtraError for a spreadsheet without openpyxl.
    """
    read = {".csv": _csv, ".tsv": _csv, ".xlsx": _xlsx, ".jsonl": _jsonl}.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: examples come as {FORMS}", "save the file in one of these forms")
    try:
        rows = [row for row in read(path) if any(cell.strip() for cell in row.cells.values())]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", "name a file of examples with --cases") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not in UTF-8: byte {error.start} is {error.object[error.start]:#x}", "save it as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}", "a quote may have been left open") from error
    if not rows:
        raise DataError(f"{path}: no rows below the header", "put at least a dozen examples into it")
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    return Table(path, columns, tuple(Row(r.line, {c: r.cells.get(c, "") for c in columns}) for r in rows))


def _csv(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        delimiter = csv.Sniffer().sniff(text[:SNIFFED].partition("\n")[0], DELIMITERS).delimiter
    except csv.Error:
        delimiter = "\t" if path.suffix == ".tsv" else ","
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    header = _header(path, 1, next(reader, []))
    for cells in reader:
        if len(cells) > len(header):
            raise DataError(
                f"{path}:{reader.line_num}: {len(cells)} cells, and the header has {len(header)}",
                "put a text that holds the delimiter into quotes",
            )
        yield Row(reader.line_num, dict(zip(header, [*cells, *[""] * len(header)], strict=False)))


def _xlsx(path: Path) -> Iterator[Row]:
    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise MissingExtraError("spreadsheets need openpyxl", 'pip install "prentice[sheets]"') from error
    try:
        book = openpyxl.load_workbook(path, data_only=True)
    except OSError:
        raise
    except Exception as error:  # its own errors, those of zipfile and of XML parsers
        raise DataError(f"{path}: not a spreadsheet: {error}", "save it again as .xlsx, or as CSV") from error
    sheet = book.active
    if sheet is None or not hasattr(sheet, "iter_rows"):
        raise DataError(f"{path}: the sheet that is shown first has no cells")
    if merged := sorted(str(r) for r in getattr(sheet, "merged_cells", ())):
        raise DataError(
            f"{path}: cells {merged[0]} of the sheet {sheet.title!r} are merged: which row they belong to is not said",
            "unmerge them and fill every row",
        )
    rows = enumerate(sheet.iter_rows(values_only=True), 1)
    header: list[str] = []
    for line, cells in rows:
        texts = [_text(cell) for cell in cells]
        if not header:
            while texts and not texts[-1].strip():
                texts.pop()
            header = _header(path, line, texts) if texts else []
        else:
            yield Row(line, dict(zip(header, texts, strict=False)))


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise DataError(f"{path}:{line}: not valid JSON: {error}", "one object a line") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{line}: not a JSON object: {text.strip()[:80]}", "one object a line")
            yield Row(line, {str(name): _text(value) for name, value in row.items()})


def _header(path: Path, line: int, names: Iterable[Any]) -> list[str]:
    header = [str(name).strip() for name in names]
    for position, name in enumerate(header, 1):
        if not name:
            raise DataError(f"{path}:{line}: column {position} has no name", "the first row names the columns")
        if header.index(name) != position - 1:
            raise DataError(f"{path}:{line}: two columns are named {name!r}", "give each a name of its own")
    if not header:
        raise DataError(f"{path}:{line}: no columns", "the first row names the columns")
    return header


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
