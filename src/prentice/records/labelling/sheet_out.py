"""Episodes onto a sheet that experts fill in: a spreadsheet, or a CSV file. Nothing on it is ever a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prentice.errors import DataError, MissingExtraError
from prentice.records.episodes import Episode
from prentice.records.labelling.sheet_rows import ACCEPT, COLUMNS, HOW, REJECT, TO_FILL, VERDICT, rows_of
from prentice.runs import file_atomic

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

KINDS = (".xlsx", ".csv")
MOST_ROWS = 100_000
_DANGEROUS = "=+-@\t\r＝＋－＠"
"""What a spreadsheet that opens a CSV file may take for the beginning of a formula."""
_WIDTHS = {"episode": 14, "turn": 6, "case": 16, "asked": 60, "answer": 44, "verdict": 10, "better_answer": 44}
_OTHER_WIDTH = 24
_TITLE = "episodes"


def write_sheet(path: Path, episodes: Iterable[Episode]) -> int:
    """Write a sheet, whole or not at all.

    Returns: the number of rows.
    Raises: DataError if the file is of no kind that is known, or would have too many rows; MissingExtraError for a
        spreadsheet without `openpyxl`; PrenticeError if the disk is full.
    """
    if path.suffix.lower() not in KINDS:
        raise DataError(f"{path}: no kind of sheet that is known", f"name it {' or '.join(KINDS)}")
    if not path.parent.is_dir():
        raise DataError(f"{path}: its folder is not there")
    rows = list(islice((row for episode in episodes for row in rows_of(episode)), MOST_ROWS + 1))
    if len(rows) > MOST_ROWS:
        raise DataError(f"{path}: more than {MOST_ROWS:,} rows", "choose fewer with --where or --limit")
    with file_atomic(path) as scratch:
        (_write_xlsx if path.suffix.lower() == ".xlsx" else _write_csv)(scratch, rows)
    return len(rows)


def neutral(text: str) -> str:
    """The text with an apostrophe before what could be taken for a formula, as `restored` takes it away again."""
    return f"'{text}" if _could_mislead(text) else text


def restored(text: str) -> str:
    """What `neutral` was given."""
    return text[1:] if text[:1] == "'" and _could_mislead(text[1:]) else text


def _could_mislead(text: str) -> bool:
    return text.lstrip(" \n")[:1] in (*_DANGEROUS, "'")


def _write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    # the mark at the beginning tells Excel that this is UTF-8
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([neutral(row.get(name, "")) for name in COLUMNS])


def _write_xlsx(path: Path, rows: Sequence[dict[str, str]]) -> None:
    openpyxl = needs_openpyxl()
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = _TITLE
    sheet.append(COLUMNS)
    for number, row in enumerate(rows, 2):
        _write_row(sheet, number, row)
    _make_readable(sheet, len(rows))
    about = book.create_sheet(HOW[0])
    about.column_dimensions["A"].width = 110
    for number, line in enumerate(HOW, 1):
        about.cell(number, 1, line)
    book.save(path)


def _write_row(sheet: Worksheet, number: int, row: dict[str, str]) -> None:
    from openpyxl.styles import Alignment, Protection

    alignment = Alignment(wrap_text=True, vertical="top")
    locked, open_ = Protection(locked=True), Protection(locked=False)
    for position, name in enumerate(COLUMNS, 1):
        cell: Any = sheet.cell(number, position)
        if row.get(name):
            cell.value = row[name]
            cell.data_type = "s"  # also where it begins with =
            cell.quotePrefix = True  # stays text when it is edited
        cell.number_format = "@"
        cell.alignment = alignment
        cell.protection = open_ if name in TO_FILL else locked


def _make_readable(sheet: Worksheet, rows: int) -> None:
    from openpyxl.styles import Font, PatternFill
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    for position, name in enumerate(COLUMNS, 1):
        letter = get_column_letter(position)
        sheet.column_dimensions[letter].width = _WIDTHS.get(name, _OTHER_WIDTH)
        head = sheet.cell(1, position)
        head.font = Font(bold=True)
        if name in TO_FILL:
            head.fill = PatternFill("solid", fgColor="FFF2CC")
        if name == VERDICT and rows:
            choice = DataValidation(type="list", formula1=f'"{ACCEPT},{REJECT}"', allow_blank=True)
            choice.error, choice.errorTitle = f"Choose {ACCEPT} or {REJECT}, or leave it empty.", "verdict"
            choice.showErrorMessage = True
            choice.add(f"{letter}2:{letter}{rows + 1}")
            sheet.add_data_validation(choice)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(COLUMNS))}{rows + 1}"
    guard = sheet.protection
    guard.sheet = True
    # False allows it: people may size, hide, sort and filter; ids are what is protected
    guard.formatColumns = guard.formatRows = guard.sort = guard.autoFilter = guard.deleteRows = False


def needs_openpyxl() -> Any:
    """The library that reads and writes spreadsheets.

    Raises: MissingExtraError.
    """
    try:
        import openpyxl
    except ImportError as error:
        hint = "pip install 'prentice[sheets]', or use a .csv file"
        raise MissingExtraError("spreadsheets need openpyxl, which is not installed", hint) from error
    return openpyxl
