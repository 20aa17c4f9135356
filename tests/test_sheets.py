"""Sheets for experts: out and back, whatever spreadsheets and people do to them on the way."""

from __future__ import annotations

import csv
import datetime
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.errors import DataError
from prentice.records import Call, Episode, Feedback, Message, Reply, Request, Turn
from prentice.records.labelling.sheet_cells import Line, read_lines
from prentice.records.labelling.sheet_in import SheetOutcome, read_sheet
from prentice.records.labelling.sheet_out import neutral, restored, write_sheet
from prentice.records.labelling.sheet_rows import COLUMNS, cell_text
from prentice.records.store import Store
from records_examples import example

Cells = Mapping[str, Any]
KINDS = ("sheet.xlsx", "sheet.csv")


def episode(case: str, *answers: str, choices: tuple[str, ...] = (), schema: dict[str, Any] | None = None) -> Episode:
    """An episode with a turn for each answer."""
    turns = []
    for n, answer in enumerate(answers):
        asked = (Message(role="system", content="Be kind."), Message(role="user", content=f"question {n} of {case}"))
        request = Request(function="f", messages=asked, choices=choices, response_schema=schema)
        turns.append(Turn(request=request, reply=Reply(message=Message(role="assistant", content=answer), model="m")))
    return example(case, turns=tuple(turns), metrics=())


EPISODES = [
    episode("free", "=1+1"),
    episode("label", "card_lost", choices=("card_lost", "card late", "it's cash")),
    episode("json", '{"a": 1}', schema={"type": "object"}),
    episode("talk", "reply 0", "reply 1"),
]
FREE, LABEL, JSON, TALK = (each.id for each in EPISODES)


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Iterator[Store]:
    with Store.open(shutil.copy(filled, tmp_path)) as opened:
        yield opened


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's file with the episodes in it, to copy."""
    path = tmp_path_factory.mktemp("filled") / "store.db"
    with Store.open(path) as opened:
        opened.add(EPISODES)
    return path


def fill(path: Path, words: Mapping[tuple[str, str], Cells]) -> Path:
    """Write into the rows of (episode, turn), as an expert does."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row.update(words.get((row["episode"], row["turn"]), {}))
        write_csv(path, rows)
        return path
    book = openpyxl.load_workbook(path)
    sheet: Any = book["episodes"]
    for cells in sheet.iter_rows(min_row=2):
        for name, value in words.get((cells[0].value, cells[1].value), {}).items():
            cells[COLUMNS.index(name)].value = value
    book.save(path)
    return path


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",", encoding: str = "utf-8-sig") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def in_words(store: Store) -> Counter[tuple[str, int | None, str, Any, str]]:
    """Case, turn, name, what was said, author."""
    cases = {each.id: each.case for each in EPISODES}
    return Counter(
        (cases[each.episode], each.turn, each.name, each.value if shown is None else shown.content, each.author)
        for each in store.feedback_where()
        for shown in [each.demonstration]
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_sheet_shows_what_was_asked_and_answered_and_what_is_written_on_it_comes_back(
    store: Store, tmp_path: Path, name: str
) -> None:
    assert write_sheet(tmp_path / name, EPISODES) == 6  # three of one turn; two turns, and a row for the whole
    first = next(iter(read_lines(tmp_path / name)))
    assert (first.cells["episode"], first.cells["turn"], first.cells["verdict"]) == (FREE, "0", "")
    fill(
        tmp_path / name,
        {
            (FREE, "0"): {"verdict": "accept", "comment": "good", "author": "bea"},
            (LABEL, "0"): {"better_answer": "card late"},
            (TALK, "0"): {"verdict": "Reject "},
            (TALK, "1"): {"verdict": "accept", "better_answer": "reply 2"},
            (TALK, "all"): {"verdict": "accept"},
        },
    )
    outcome = read_sheet(store, tmp_path / name, "ann")
    assert (outcome.rows, outcome.known, outcome.faults) == (5, 0, [])
    assert outcome.new == {"success": 5, "comment": 1, "demonstration": 2}
    assert in_words(store) == Counter(
        [
            ("free", None, "success", True, "bea"),
            ("free", None, "comment", "good", "bea"),
            ("label", None, "success", False, "ann"),
            ("label", 0, "demonstration", "card late", "ann"),
            ("talk", 0, "success", False, "ann"),
            ("talk", 1, "success", True, "ann"),
            ("talk", 1, "demonstration", "reply 2", "ann"),
            ("talk", None, "success", True, "ann"),
        ]
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_same_sheet_again_is_nothing_new_and_a_changed_cell_overrules(
    store: Store, tmp_path: Path, name: str
) -> None:
    def read(verdict: str, better: str = "") -> SheetOutcome:
        write_sheet(tmp_path / name, EPISODES)
        return read_sheet(
            store, fill(tmp_path / name, {(FREE, "0"): {"verdict": verdict, "better_answer": better}}), "ann"
        )

    def now() -> tuple[Any, list[str]]:
        found = next(e for e in store.episodes() if e.id == FREE)
        return found.metric("success"), [d.message.content for d in found.demonstrations]

    assert read("reject").new == {"success": 1}
    again = read("reject")
    assert (again.new, again.known) == ({}, 1)
    assert read("accept").new == {"success": 1}
    assert now() == (True, [])
    assert read("reject").new == {"success": 1}  # back to the first word: the last one counts
    assert now() == (False, [])
    assert read("reject", "2").new == {"demonstration": 1}
    # accepting what the same person had corrected says that it was right after all
    assert read("accept").new == {"demonstration": 1, "success": 1}
    assert now() == (True, ["2", "=1+1"])
    assert read("accept").known == 1


def test_an_old_sheet_read_again_does_not_overrule_what_was_said_since(store: Store, tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.csv", EPISODES)
    fill(tmp_path / "sheet.csv", {(FREE, "0"): {"verdict": "reject"}})
    read_sheet(store, tmp_path / "sheet.csv", "ann")
    now = datetime.datetime.now(datetime.UTC)
    store.add_feedback([Feedback(id="label:1:0", episode=FREE, name="success", value=True, author="ann", at=now)])
    assert read_sheet(store, tmp_path / "sheet.csv", "ann").new == {}
    assert next(e for e in store.episodes() if e.id == FREE).metric("success") is True


def test_a_dry_run_says_what_would_be_stored_and_stores_nothing(store: Store, tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.csv", EPISODES)
    fill(tmp_path / "sheet.csv", {(FREE, "0"): {"verdict": "reject"}})
    assert read_sheet(store, tmp_path / "sheet.csv", "ann", dry_run=True).new == {"success": 1}
    assert store.feedback_where() == []


@pytest.mark.parametrize(
    ("row", "cells", "problem"),
    [
        ((FREE, "0"), {"verdict": "maybe"}, "row 2, column verdict: 'maybe' is no verdict: write accept or reject"),
        ((LABEL, "0"), {"better_answer": "card lots"}, "column better_answer: 'card lots' is none of the 3 choices"),
        ((JSON, "0"), {"better_answer": "{a: 1}"}, "column better_answer: '{a: 1}' is no JSON object"),
        ((TALK, "all"), {"better_answer": "x"}, "row 7, column better_answer: a better answer is one of a turn"),
        ((FREE, "0"), {"verdict": "accept", "turn": "1"}, "column turn: '1' is no turn of this episode: 0"),
        ((TALK, "0"), {"verdict": "accept", "turn": ""}, "column turn: '' is no turn of this episode: 0 to 1, or all"),
        ((FREE, "0"), {"verdict": "accept", "episode": "1.5E+31"}, "a spreadsheet may have made a number of it"),
        ((FREE, "0"), {"verdict": "accept", "episode": " "}, "column episode: is empty"),
        ((FREE, "0"), {"verdict": "accept", "author": "a" * 201}, "column author: the author's name has 201"),
        ((FREE, "0"), {"comment": "x" * 100_001}, "column comment: has 100,001 characters"),
    ],
)
def test_a_wrong_cell_is_named_and_the_good_rows_are_stored(
    store: Store, tmp_path: Path, row: tuple[str, str], cells: Cells, problem: str
) -> None:
    write_sheet(tmp_path / "sheet.csv", EPISODES)
    good = (JSON, "0") if row[0] != JSON else (FREE, "0")
    fill(tmp_path / "sheet.csv", {row: cells, good: {"verdict": "accept"}})
    outcome = read_sheet(store, tmp_path / "sheet.csv", "ann")
    assert [problem in str(fault) for fault in outcome.faults] == [True], outcome.faults
    assert outcome.new == {"success": 1}


@pytest.mark.parametrize(
    ("cells", "value_format", "problem"),
    [
        ({"better_answer": datetime.datetime(2026, 3, 4)}, None, "2026-03-04 00:00:00 is a date or time by now"),
        ({"better_answer": datetime.time(3, 4)}, None, "is a date or time by now"),
        ({"better_answer": "=SUM(A1:A2)"}, None, "is a formula: write what it says instead"),
        ({"verdict": "=1"}, None, "column verdict: is a formula"),
        ({"comment": "#N/A"}, None, "#N/A is an error of the spreadsheet"),
        ({"better_answer": 0.5}, "0%", "0.5 is a number shown as '0%'"),
    ],
)
def test_a_cell_that_the_spreadsheet_made_something_else_of_is_named(
    store: Store, tmp_path: Path, cells: Cells, value_format: str | None, problem: str
) -> None:
    path = tmp_path / "sheet.xlsx"
    write_sheet(path, EPISODES)
    book = openpyxl.load_workbook(path)
    for name, value in cells.items():
        cell = book["episodes"].cell(2, COLUMNS.index(name) + 1)
        cell.value = value
        cell.number_format = value_format or cell.number_format
    book.save(path)
    outcome = read_sheet(store, path, "ann")
    assert [problem in str(fault) for fault in outcome.faults] == [True], outcome.faults
    assert store.feedback_where() == []


def changed(path: Path, change: Callable[[Any, Any], None]) -> Path:
    """The spreadsheet after someone did something to it."""
    book = openpyxl.load_workbook(path)
    change(book, book["episodes"])
    book.save(path)
    return path


def test_merged_cells_are_named_with_their_range_and_the_other_rows_are_read(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    write_sheet(path, EPISODES)
    fill(path, {(FREE, "0"): {"verdict": "reject"}, (JSON, "0"): {"verdict": "accept"}})
    changed(path, lambda _, sheet: sheet.merge_cells("F2:F3"))
    outcome = read_sheet(store, path, "ann")
    assert [str(f) for f in outcome.faults] == [
        f"row {row}, column verdict: cells F2:F3 are merged: split them" for row in (2, 3)
    ]
    assert outcome.new == {"success": 1}


def test_columns_may_be_moved_and_added_rows_sorted_and_deleted_and_a_title_put_on_top(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "sheet.xlsx"
    write_sheet(path, EPISODES)
    fill(path, {(FREE, "0"): {"verdict": "reject"}, (LABEL, "0"): {"better_answer": "card late"}})

    def change(book: Any, sheet: Any) -> None:
        sheet.delete_rows(4, 3)
        sheet.move_range("G1:G9", cols=4)  # better_answer to the end; an empty column stays
        sheet["J1"] = "my notes"
        sheet["J2"] = "nothing for you"
        sheet.insert_rows(1, 2)
        sheet["A1"] = "Review of March"
        book.create_sheet("scratch", 0)["A1"] = "accept"

    outcome = read_sheet(store, changed(path, change), "ann")
    assert (outcome.faults, outcome.new) == ([], {"success": 2, "demonstration": 1})


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"F1": "Verdikt"}, r"no column is named 'verdict' \(is it 'Verdikt'\?\)"),
        ({"G1": None}, r"no column is named 'better_answer' \(there are: episode, turn"),
        ({"C1": "verdict"}, "two columns are named 'verdict'"),
        ({f"{letter}1": None for letter in "ABFGH"}, "no row begins with the columns episode, turn"),
    ],
)
def test_a_column_that_was_renamed_is_named_and_nothing_is_guessed(
    store: Store, tmp_path: Path, header: Mapping[str, str | None], problem: str
) -> None:
    path = tmp_path / "sheet.xlsx"
    write_sheet(path, EPISODES)

    def change(_: Any, sheet: Any) -> None:
        for place, name in header.items():
            sheet[place] = name

    with pytest.raises(DataError, match=problem):
        read_sheet(store, changed(path, change), "ann")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"verdict": True}, True),
        ({"verdict": False}, False),
        ({"verdict": " ACCEPT\xa0"}, True),
        ({"verdict": 0}, False),
        ({"turn": 0, "verdict": "no"}, False),
        ({"turn": None, "verdict": "Yes"}, True),
    ],
)
def test_what_a_spreadsheet_makes_of_a_verdict_is_understood(
    store: Store, tmp_path: Path, cells: Cells, said: bool
) -> None:
    write_sheet(tmp_path / "sheet.xlsx", EPISODES)
    outcome = read_sheet(store, fill(tmp_path / "sheet.xlsx", {(FREE, "0"): cells}), "ann")
    assert outcome.faults == []
    assert [each.value for each in store.feedback_where()] == [said]


@pytest.mark.parametrize(
    ("id_", "better", "kept"),
    [
        (FREE, 42, "42"),
        (FREE, 3.0, "3"),
        (FREE, 0.1, "0.1"),
        (FREE, "two\nlines  \n", "two\nlines"),
        (LABEL, " Card  Late ", "card late"),
        (LABEL, "It’s cash", "it's cash"),
        (JSON, "{“a”: 2}", '{"a": 2}'),
    ],
)
def test_what_a_spreadsheet_makes_of_an_answer_is_set_right(
    store: Store, tmp_path: Path, id_: str, better: object, kept: str
) -> None:
    write_sheet(tmp_path / "sheet.xlsx", EPISODES)
    outcome = read_sheet(store, fill(tmp_path / "sheet.xlsx", {(id_, "0"): {"better_answer": better}}), "ann")
    assert outcome.faults == []
    (shown,) = [each.demonstration for each in store.feedback_where() if each.demonstration]
    assert shown.content == kept


def test_an_answer_copied_unchanged_is_an_acceptance(store: Store, tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.csv", EPISODES)
    fill(tmp_path / "sheet.csv", {(FREE, "0"): {"better_answer": "'=1+1"}})
    assert read_sheet(store, tmp_path / "sheet.csv", "ann").new == {"success": 1}
    assert store.feedback_where()[0].value is True


def test_two_rows_about_one_turn_are_named(store: Store, tmp_path: Path) -> None:
    row = {"episode": FREE, "turn": "0", "verdict": "accept", "better_answer": "", "comment": "", "author": ""}
    write_csv(tmp_path / "sheet.csv", [row, row | {"verdict": "reject"}, row | {"author": "bea"}])
    outcome = read_sheet(store, tmp_path / "sheet.csv", "ann")
    assert [str(f) for f in outcome.faults] == [
        "row 3, column episode: row 2 is about the same turn of the same episode, by the same author"
    ]
    assert outcome.new == {"success": 2}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_csv_is_read_whatever_program_saved_it(store: Store, tmp_path: Path, delimiter: str, encoding: str) -> None:
    row = {"Episode": FREE, "Turn": "0", "Verdict": "", "Better Answer": "größer; schöner,\n€", "Comment": "", "x": ""}
    write_csv(tmp_path / "sheet.csv", [row, dict.fromkeys(row, "")], delimiter, encoding)
    assert read_sheet(store, tmp_path / "sheet.csv", "ann").faults == []
    assert store.feedback_where()[0].demonstration == Message(role="assistant", content="größer; schöner,\n€")


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("none.xlsx", None, "No such file"),
        ("sheet.xls", b"", "no kind of sheet that is known"),
        ("sheet.xlsx", b"PK\x03\x04 not really", "no spreadsheet, or a damaged or locked one"),
        ("sheet.xlsx", b"", "no spreadsheet, or a damaged or locked one"),
        ("sheet.csv", b"", "no row begins with the columns"),
        ("sheet.csv", b"a,b,c\n1,2,3\n", "no row begins with the columns"),
        ("sheet.csv", b'episode,turn,verdict,better_answer,comment\n1,0,"accept\n', "row 2: unexpected end of data"),
        ("sheet.csv", b"\x81\x8d\x8f", "neither UTF-8 nor any other encoding"),
    ],
)
def test_a_file_that_is_no_sheet_is_one_clear_line(
    store: Store, tmp_path: Path, name: str, data: bytes | None, problem: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=problem) as caught:
        read_sheet(store, tmp_path / name, "ann")
    assert str(tmp_path / name) in caught.value.problem


def test_a_missing_quote_is_named_with_its_row(store: Store, tmp_path: Path) -> None:
    text = f"episode,turn,verdict,better_answer,comment\n{FREE},0,accept,one, two,three\n{JSON},0,accept,,\n"
    (tmp_path / "sheet.csv").write_text(text, encoding="utf-8")
    outcome = read_sheet(store, tmp_path / "sheet.csv", "ann")
    assert [str(f) for f in outcome.faults] == ["row 2: has 6 cells, the header 5: is a quote missing?"]
    assert outcome.new == {"success": 1}


def test_a_spreadsheet_leads_the_expert_and_protects_what_leads_the_words_back(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.xlsx", EPISODES)
    book = openpyxl.load_workbook(tmp_path / "sheet.xlsx")
    sheet = book["episodes"]
    assert sheet.freeze_panes == "A2"
    assert sheet.protection.sheet
    cells = {name: sheet.cell(2, n) for n, name in enumerate(COLUMNS, 1)}
    assert [name for name, cell in cells.items() if not cell.protection.locked] == [
        "verdict",
        "better_answer",
        "comment",
        "author",
    ]
    assert (cells["answer"].value, cells["answer"].data_type, cells["answer"].quotePrefix) == ("=1+1", "s", True)
    (choice,) = sheet.data_validations.dataValidation
    assert (choice.formula1, str(choice.sqref)) == ('"accept,reject"', "F2:F7")
    assert "How to fill this in" in book.sheetnames


def test_a_csv_has_no_cell_that_a_spreadsheet_would_take_for_a_formula(tmp_path: Path) -> None:
    answers = ["=1", "+1", "-1", "@x", "\t=1", " =1", "＝1", "'=1", "fine", "\n=1"]
    write_sheet(tmp_path / "sheet.csv", [episode(f"c{n}", answer) for n, answer in enumerate(answers)])
    with (tmp_path / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        shown = [row["answer"] for row in csv.DictReader(file)]
    assert shown == [answer if answer == "fine" else f"'{answer}" for answer in answers]


anything = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["=1+1", "+x", "-y", "@z", "'=q", "''", "漢字 العربية", "a\nb", '"quoted", and; more\t', "\ufeffx", "_x000D_"]
)


@given(anything)
def test_neutral_text_comes_back_as_it_was_and_begins_no_formula(text: str) -> None:
    assert restored(neutral(text)) == text
    assert neutral(text).lstrip(" \n")[:1] not in tuple("=+-@\t\r")


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(anything, min_size=1, max_size=4), kind=st.sampled_from([".xlsx", ".csv"]))
def test_any_text_survives_the_way_out_and_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], kind: str
) -> None:
    path = tmp_path_factory.mktemp("s") / f"sheet{kind}"
    made = [episode(f"c{n}", text) for n, text in enumerate(texts)]
    write_sheet(path, made)
    shown = _answers_csv(path) if kind == ".csv" else _answers_xlsx(path)
    assert shown == [cell_text(text) for text in texts]


def _answers_csv(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [restored(row["answer"]) for row in csv.DictReader(file)]


def _answers_xlsx(path: Path) -> list[str]:
    rows = openpyxl.load_workbook(path)["episodes"].iter_rows(min_row=2, values_only=True)
    return [str(row[COLUMNS.index("answer")] or "") for row in rows]


cells = st.sampled_from([FREE, LABEL, TALK, "0", "1", "all", "accept", "reject", "card late", "", "1e400", "9" * 400])
some_cell = cells | st.text(max_size=8) | st.integers() | st.floats() | st.booleans() | st.none() | st.datetimes()


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(some_cell, max_size=7), max_size=5), kind=st.sampled_from([".xlsx", ".csv"]))
def test_whatever_the_cells_hold_each_row_is_stored_or_named(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]], kind: str
) -> None:
    folder = tmp_path_factory.mktemp("s")
    header = ["episode", "turn", "verdict", "better_answer", "comment", "author"]
    path = folder / f"sheet{kind}"
    with Store.open(shutil.copy(filled, folder)) as store:
        _write_cells(path, [header, *rows])
        outcome = read_sheet(store, path, "ann")
        bad = {fault.row for fault in outcome.faults}
        lines: list[Line] = list(read_lines(path))
        written = [line for line in lines if line.is_filled_in]
        assert outcome.rows == len(written)
        assert bad <= {line.row for line in written}
        assert sum(outcome.new.values()) == len(store.feedback_where()) >= len(written) - len(bad)
        again = read_sheet(store, path, "ann")
        assert not again.new
        assert again.faults == outcome.faults


def _write_cells(path: Path, rows: list[list[Any]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="", errors="replace") as file:
            csv.writer(file).writerows(rows)
        return
    book = openpyxl.Workbook()
    for number, row in enumerate(rows, 1):
        for position, value in enumerate(row, 1):
            if not isinstance(value, float) or math.isfinite(value):
                kept = cell_text(value) if isinstance(value, str) else value
                book.worksheets[0].cell(number, position).value = kept
    book.save(path)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), name=st.sampled_from(["sheet.csv", "sheet.xlsx"]), head=st.booleans())
def test_no_file_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str, head: bool
) -> None:
    folder = tmp_path_factory.mktemp("s")
    first = b"episode,turn,verdict,better_answer,comment\n" if head else b""
    (folder / name).write_bytes(first + data)
    with suppress(DataError):
        assert all(line.row > 1 for line in read_lines(folder / name))


def test_the_command_writes_a_sheet_and_reads_it_back(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    place = str(tmp_path / "store.db")
    told = CliRunner().invoke(app, ["label", place, "--out", str(path), "--where", "task=routing"])
    assert told.stdout == f"4 episodes in 6 rows of {path}; read it back with --in {path}\n"
    fill(path, {(FREE, "0"): {"verdict": "accept"}, (LABEL, "0"): {"verdict": "perhaps"}})
    dry = CliRunner().invoke(app, ["label", place, "--in", str(path), "--author", "ann", "--dry-run"])
    assert "2 rows filled in: 1 success would be new; 0 known, 1 wrong" in dry.stdout
    told = CliRunner().invoke(app, ["label", place, "--in", str(path), "--author", "ann"])
    assert told.exit_code == 2
    assert told.stderr == f"{path}: row {told.stderr.split('row ')[1]}"
    assert "column verdict: 'perhaps' is no verdict" in told.stderr
    assert [each.author for each in store.feedback_where()] == ["ann"]
    wrong = CliRunner().invoke(app, ["label", place, "--out", str(tmp_path / "sheet.ods")])
    assert "no kind of sheet that is known" in wrong.stderr


class Blacken:
    """A guard that knows one secret."""

    def __init__(self) -> None:
        self.found: Counter[Any] = Counter()

    def told(self, found: Mapping[Any, int]) -> str:
        return f"{found}"

    def episode(self, episode: Episode) -> Episode:
        return episode

    def feedback(self, feedback: Feedback) -> Feedback:
        value = feedback.value.replace("Bob", "[NAME]") if isinstance(feedback.value, str) else feedback.value
        shown = feedback.demonstration
        if shown is not None:
            shown = shown.model_copy(update={"content": shown.content.replace("Bob", "[NAME]")})
        return feedback.model_copy(update={"value": value, "demonstration": shown})

    def call(self, call: Call) -> Call:
        return call


def test_what_the_guard_blackens_is_still_the_same_when_the_sheet_is_read_again(filled: Path, tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.csv", EPISODES)
    fill(tmp_path / "sheet.csv", {(FREE, "0"): {"better_answer": "ask Bob", "comment": "Bob knows"}})
    with Store.open(shutil.copy(filled, tmp_path), Blacken()) as store:
        assert read_sheet(store, tmp_path / "sheet.csv", "ann").new.total() == 3
        assert read_sheet(store, tmp_path / "sheet.csv", "ann").new.total() == 0
        assert "Bob" not in str(store.feedback_where())


def test_without_openpyxl_the_install_line_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['openpyxl'] = None\n"
        "from pathlib import Path\n"
        "from prentice.errors import MissingExtraError\n"
        "from prentice.records.labelling.sheet_out import write_sheet\n"
        "try:\n    write_sheet(Path('sheet.xlsx'), [])\nexcept MissingExtraError as error:\n    print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "pip install 'prentice[sheets]', or use a .csv file" in shown.stdout
