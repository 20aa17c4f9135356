"""`prentice new`: from a person's own table to a project that runs."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from prentice.app.cli.main import app
from prentice.errors import DataError
from prentice.pipeline import Context, Project, run_stage
from prentice.pipeline.checking import check
from prentice.pipeline.scaffold import Answers, draft, guess_grader, read_table
from prentice.pipeline.scaffold.splits import assign
from prentice.pipeline.scaffold.teachers import find_teacher
from prentice.progress import Silent
from prentice.records.parquet import read_dataset
from prentice.tasks.graders import GRADERS
from yours_task import notes

LOCAL = "local:qwen2.5-coder-1.5b"


def new(*arguments: object, answers: str | None = None) -> Result:
    """The command, as a user runs it."""
    return CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(
        app, ["new", *map(str, arguments)], input=answers
    )


def table(
    folder: Path, rows: list[tuple[str, str]], name: str = "notes.csv", header: tuple[str, str] = ("note", "total")
) -> Path:
    """A person's own file of two columns."""
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / name


def cases(project: Path) -> list[dict[str, str]]:
    """The rows of a project's cases."""
    with (project / "cases.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_three_files_are_written_from_a_table_of_any_columns_and_nothing_is_wrong_with_them(tmp_path: Path) -> None:
    file = table(tmp_path, notes(120))
    result = new(tmp_path / "mine", "--cases", file, "--teacher", LOCAL, "--yes")
    assert result.exit_code == 0, result.output
    assert "How is a reply graded? number (all answers are numbers)" in result.output
    assert "prentice check" in result.output
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert names == {"cases.csv", "instructions.md", "prentice.toml", ".prentice"}
    assert not [finding for finding in check(tmp_path / "mine") if finding.state == "bad"]
    rows = cases(tmp_path / "mine")
    assert {(row["text"], row["expected"]) for row in rows} == set(notes(120))
    counts = Counter(row["split"] for row in rows)
    assert counts["prompt"] == 3
    assert 20 < counts["test"] < 52


def test_a_new_project_runs_at_once_as_far_as_the_dataset(tmp_path: Path) -> None:
    file = table(tmp_path, notes(40))
    assert new(tmp_path / "mine", "--cases", file, "--teacher", "task:answer key", "--yes").exit_code == 0
    context = Context(Project(tmp_path / "mine"), Silent())
    assert run_stage(context, "rollout").facts["right"] == len(context.project.task.cases("train"))
    run_stage(context, "curate")
    manifest, examples = read_dataset(context.folder("curate"))
    assert manifest.ledger.kept == len(context.project.task.cases("train"))
    assert all(row.messages[0].content.startswith("What is the total?") for row in examples)


@pytest.mark.parametrize("grade", sorted(GRADERS.rows))
def test_every_grader_has_samples_that_make_a_project_without_faults(tmp_path: Path, grade: str) -> None:
    result = new(tmp_path / grade, "--grade", grade, "--teacher", LOCAL, "--yes")
    assert result.exit_code == 0, result.output
    assert "holds samples" in result.output
    assert [f.text for f in check(tmp_path / grade) if f.state == "bad"] == []
    assert len(cases(tmp_path / grade)) == 12
    project = Project(tmp_path / grade)
    assert len(project.task.cases("test")) == 4
    assert (tmp_path / grade / "grader.py").exists() is (grade in ("python", "command"))


def test_the_questions_are_asked_with_what_seems_best_and_the_answers_are_taken(tmp_path: Path) -> None:
    rows = [(f"message {n}", ("card", "cash")[n % 2]) for n in range(40)]
    file = table(tmp_path, rows, header=("kind of trouble", "department"))
    said = f"{file}\n\n\n\nWhich department?\n{LOCAL}\n"
    result = new(tmp_path / "mine", answers=said)
    assert result.exit_code == 0, result.output
    assert "Which column should come out? [the last column] [department]" in result.output
    assert "How is a reply graded? [only 2 different answers in 40 rows] [label]" in result.output
    assert (tmp_path / "mine" / "instructions.md").read_text(encoding="utf-8") == "Which department?\n"
    assert Project(tmp_path / "mine").config.teacher.model == LOCAL
    counts = Counter(row["split"] for row in cases(tmp_path / "mine"))
    assert counts["prompt"] == 2
    assert 4 <= counts["test"] <= 20


def test_a_question_without_an_answer_is_the_users_to_fix(tmp_path: Path) -> None:
    result = new(tmp_path / "mine", answers="")
    assert result.exit_code == 2
    assert "no answer to: Which file holds your examples?" in result.output
    assert "--yes" in result.output


def test_a_dry_run_prints_the_files_and_writes_nothing(tmp_path: Path) -> None:
    file = table(tmp_path, notes(30))
    result = new(tmp_path / "mine", "--cases", file, "--yes", "--dry-run")
    assert result.exit_code == 0
    assert all(f"── {name}" in result.output for name in ("cases.csv", "instructions.md", "prentice.toml"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.csv"]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "instructions.md").write_text("mine", encoding="utf-8")
    result = new(tmp_path, "--yes")
    assert result.exit_code == 2
    assert "instructions.md is there already" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["instructions.md"]
    assert (tmp_path / "instructions.md").read_text(encoding="utf-8") == "mine"


def test_people_with_answers_and_no_model_learn_from_the_answer_key(tmp_path: Path) -> None:
    file = table(tmp_path, notes(40))
    assert new(tmp_path / "mine", "--cases", file, "--teacher", "task:answer key", "--yes").exit_code == 0
    project = Project(tmp_path / "mine")
    assert project.config.evaluate.policies == ("base", "student")
    assert project.open_policy("task:answer key").name == "answer key"


def test_several_columns_come_in_under_names_that_a_prompt_can_show(tmp_path: Path) -> None:
    (tmp_path / "mails.csv").write_text(
        "Subject line;2nd body;id;Answer\n" + "".join(f"s{n};b{n};{n};{n}.5\n" for n in range(30)), encoding="utf-8-sig"
    )
    arguments = ("--input", "Subject line", "--input", "2nd body", "--output", "Answer")
    result = new(tmp_path / "mine", "--cases", tmp_path / "mails.csv", *arguments, "--yes")
    assert result.exit_code == 0, result.output
    project = Project(tmp_path / "mine")
    request = project.task.render("text", project.task.cases("train")[0].inputs, "student")
    assert request.messages[-1].content.startswith("subject_line: s")
    assert "in_2nd_body: b" in request.messages[-1].content


def test_a_spreadsheet_and_json_lines_give_the_same_project_as_csv(tmp_path: Path) -> None:
    rows = [(text.replace("\n", " "), total) for text, total in notes(30)]
    table(tmp_path, rows)
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [(), ("note", "total"), *rows, ("", "")]:
        book.active.append(row)
    book.save(tmp_path / "notes.xlsx")
    lines = [json.dumps({"note": note, "total": total}) for note, total in rows]
    (tmp_path / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for form in ("csv", "xlsx", "jsonl"):
        assert new(tmp_path / form, "--cases", tmp_path / f"notes.{form}", "--yes").exit_code == 0
    assert cases(tmp_path / "csv") == cases(tmp_path / "xlsx") == cases(tmp_path / "jsonl")


def test_merged_cells_are_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [["note", "total"], ["a", "1"], ["b", "2"]]:
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    book.save(tmp_path / "notes.xlsx")
    with pytest.raises(DataError, match=r"notes\.xlsx: cells A2:A3 of the sheet 'Sheet' are merged"):
        read_table(tmp_path / "notes.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", r"a\.txt: examples come as \.csv, \.tsv, \.xlsx or \.jsonl"),
        ("a.csv", b"", r"a\.csv:1: no columns"),
        ("a.csv", b"note,total\n", r"a\.csv: no rows below the header"),
        ("a.csv", b"note,\n1,2\n", r"a\.csv:1: column 2 has no name"),
        ("a.csv", b"note,note\n1,2\n", r"a\.csv:1: two columns are named 'note'"),
        ("a.csv", b"note,total\n1,2,3\n", r"a\.csv:2: 3 cells, and the header has 2"),
        ("a.csv", b'note,total\n"1,2\n', r"a\.csv: cannot be read as CSV"),
        ("a.csv", "note,total\nÜ,2\n".encode("latin-1"), r"a\.csv: not in UTF-8: byte 11 is 0xdc"),
        ("a.xlsx", b"PK no zip", r"a\.xlsx: not a spreadsheet"),
        ("a.jsonl", b'{"a": 1}\n{"a"\n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: not a JSON object"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_by_file_and_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".csv", ".jsonl", ".xlsx"]))
def test_no_file_breaks_the_reading_of_tables(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, form: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzzed{form}"
    path.write_bytes(content)
    try:
        found = read_table(path)
    except DataError:
        return
    assert all(set(row.cells) == set(found.columns) for row in found.rows)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--output", "sum"), "there is no column 'sum'"),
        (("--input", "text"), "there is no column 'text'"),
        (("--input", "total"), "'total' cannot come in and go out"),
        (("--grade", "numbr"), "no grader named 'numbr'"),
    ],
)
def test_a_flag_that_cannot_be_is_one_line_with_what_there_is(
    tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    result = new(tmp_path / "mine", "--cases", table(tmp_path, notes(20)), "--yes", *flags)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "mine").exists()


def test_one_column_alone_says_that_answers_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("note\nx\n", encoding="utf-8")
    result = new(tmp_path / "mine", "--cases", tmp_path / "a.csv", "--yes")
    assert result.exit_code == 2
    assert "nothing says what should come out" in result.output


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["12", "3.50", "1,000 EUR"], "number"),
        (["1.234,50", "2,75", "1,5"], "number"),
        (["1", "2", "3"] * 10, "label"),
        (["card", "cash"] * 10, "label"),
        (['{"a": 1}', '{"a": 2}'], "json"),
        (["Paris", "Rome", "Oslo", "Bern", "Bonn"], "exact"),
        (["long " * 40 + str(n) for n in range(9)], "judge"),
        (["", ""], "judge"),
    ],
)
def test_the_grader_is_guessed_from_the_answers(values: list[str], kind: str) -> None:
    assert guess_grader(values).value == kind


def test_a_decimal_comma_in_the_answers_is_kept(tmp_path: Path) -> None:
    rows = [(f"note {n}", f"1.00{n % 10},{n}5") for n in range(20)]
    found = draft(Answers(("note",), "total", "number", "?", LOCAL), read_table(table(tmp_path, rows)))
    assert 'decimal = ","' in found.files["prentice.toml"]


def test_splits_of_the_file_itself_are_kept(tmp_path: Path) -> None:
    lines = "".join(f"{('train', 'val', 'test')[n % 3]},note {n * n},{n}\n" for n in range(30))
    (tmp_path / "own.csv").write_text("Split,note,total\n" + lines, encoding="utf-8")
    result = new(tmp_path / "mine", "--cases", tmp_path / "own.csv", "--yes")
    assert "the splits are those of your file" in result.output
    rows = cases(tmp_path / "mine")
    assert all(row["split"] in {("train", "val", "test")[int(row["expected"]) % 3], "prompt"} for row in rows)
    assert Counter(row["split"] for row in rows) == {"train": 7, "val": 10, "test": 10, "prompt": 3}


def test_rows_without_text_are_left_out_and_rows_without_answer_are_told(tmp_path: Path) -> None:
    rows = [(f"note number {n}", str(n)) for n in range(20)] + [("", "5"), ("no answer to this", "")]
    found = draft(Answers(("note",), "total", "number", "?", LOCAL), read_table(table(tmp_path, rows)))
    assert "1 rows without any text were left out" in found.notes
    assert any("1 rows have no answer" in note for note in found.notes)


TEXTS = st.lists(st.text("abc 12", min_size=1, max_size=30), min_size=1, max_size=40)


@settings(deadline=None, max_examples=20)
@given(TEXTS, st.floats(0.1, 0.9))
def test_equal_texts_are_never_in_two_splits_and_the_order_of_rows_decides_nothing(
    texts: list[str], share: float
) -> None:
    splits, _ = assign(texts, share)
    place: dict[str, str] = {}
    for text, split in zip(texts, splits, strict=True):
        assert place.setdefault(" ".join(text.lower().split()), split) == split
    assert assign(texts[::-1], share)[0] == splits[::-1]


def test_new_rows_leave_the_old_ones_where_they_were() -> None:
    texts = [text for text, _ in notes(200)]
    before, together = assign(texts[:150], 0.3)
    after, _ = assign(texts, 0.3)
    assert together
    assert before == after[:150]


def test_nearly_equal_texts_stay_in_one_split() -> None:
    texts = [
        f"{text} Thank you, and see you soon at the harbour{end}" for text, _ in notes(60) for end in (".", "!", "")
    ]
    splits, together = assign(texts, 0.5)
    assert together
    assert all(len(set(splits[n : n + 3])) == 1 for n in range(0, len(texts), 3))
    assert set(splits) == {"train", "test"}


def test_texts_of_one_mould_are_split_all_the_same_and_that_is_said() -> None:
    texts = [f"The parcel with the number {n} was delivered to the front door of the house in time" for n in range(60)]
    splits, together = assign(texts, 0.5)
    assert not together
    assert set(splits) == {"train", "test"}


def test_the_teacher_is_who_can_be_had() -> None:
    assert find_teacher({}).value == LOCAL
    assert find_teacher({"ANTHROPIC_API_KEY": " "}).value == LOCAL
    assert find_teacher({"OPENAI_API_KEY": "k"}).value.startswith("openai:")
