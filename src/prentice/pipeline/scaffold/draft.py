"""The few small files that are a project, made from five answers; written whole, and over nothing that is there."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from prentice.errors import ConfigError, PrenticeError
from prentice.pipeline.scaffold.splits import assign
from prentice.pipeline.scaffold.tables import Row, Table
from prentice.pipeline.scaffold.wording import CODE, toml
from prentice.pipeline.schema import SCHEMA_FILE, schema_text
from prentice.runs import write_atomic
from prentice.tasks.graders import GRADERS
from prentice.tasks.text import PROMPT, SPLITS

EXAMPLES = 3
"""Worked examples in the teacher's prompt; for labels one of each."""
HELD_OUT = 0.3
"""Share of the rows to measure on, unless a column `split` says which."""
SAMPLE_TEST = 4
"""Of the dozen sample rows, those that are held out."""


@dataclass(frozen=True)
class Answers:
    """What the five questions found out."""

    inputs: tuple[str, ...]
    """Columns that come in."""
    output: str
    """The column that should come out."""
    grade: str
    """A name of `GRADERS`."""
    instructions: str
    teacher: str
    """A spec as in `[teacher] model`."""


@dataclass(frozen=True)
class Draft:
    """A project before it is written."""

    files: Mapping[str, str]
    """Name → text."""
    counts: Mapping[str, int]
    """Rows by split."""
    notes: tuple[str, ...] = field(default=())
    """What a person has to know of how the rows were dealt out."""


def draft(answers: Answers, table: Table, *, is_sample: bool = False) -> Draft:
    """The project's files.

    Args:
        is_sample: the rows are samples to be replaced; the last of them are held out.
    Raises: ConfigError for a column that is not there; UnknownNameError for a
        grader that is none.
    """
    _check(answers, table)
    names = _input_names(answers.inputs)
    rows, notes = _cases(answers, table, names, is_sample)
    keys = [row["expected"] for row in rows]
    files = {
        "cases.csv": _csv_text(("id", "split", *names.values(), "expected"), rows),
        "instructions.md": answers.instructions.strip() + "\n",
        "prentice.toml": toml(answers.grade, answers.teacher, tuple(names.values()), keys),
    }
    if answers.grade in CODE:
        files["grader.py"] = CODE[answers.grade]
    return Draft(files, dict(Counter(row["split"] for row in rows)), tuple(notes))


def write(folder: Path, project: Draft) -> None:
    """Write the files, and the schema for editors.

    Raises: PrenticeError if one of them is there already, or the folder cannot be written to: nothing is written then.
    """
    if there := [name for name in project.files if (folder / name).exists()]:
        raise PrenticeError(
            f"{folder / there[0]} is there already, and nothing is written over",
            "name another folder, or move that file away",
        )
    try:
        write_atomic(folder / SCHEMA_FILE, schema_text())
        # prentice.toml comes last: without it the folder is no project
        for name in sorted(project.files, key=lambda name: name == "prentice.toml"):
            write_atomic(folder / name, project.files[name])
    except OSError as error:
        raise PrenticeError(f"{folder}: {error.strerror or error}", "name a folder that can be written to") from error


def _check(answers: Answers, table: Table) -> None:
    for column in (*answers.inputs, answers.output):
        if column not in table.columns:
            raise ConfigError(f"{table.path}: there is no column {column!r}", f"there are: {', '.join(table.columns)}")
    if answers.output in answers.inputs:
        raise ConfigError(f"{answers.output!r} cannot come in and go out", "name two columns")
    GRADERS.load(answers.grade)


def _input_names(columns: Sequence[str]) -> dict[str, str]:
    """Column of the table → column of cases.csv: `text` for a single one, else a name that a prompt can show."""
    if len(columns) == 1:
        return {columns[0]: "text"}
    names: dict[str, str] = {}
    for column in columns:
        name = re.sub(r"\W+", "_", column).strip("_").lower() or "text"
        name = f"in_{name}" if name[0].isdigit() or name in ("id", "split", "expected") else name
        while name in names.values():
            name += "_"
        names[column] = name
    return names


def _cases(
    answers: Answers, table: Table, names: Mapping[str, str], is_sample: bool
) -> tuple[list[dict[str, str]], list[str]]:
    used = [row for row in table.rows if any(row.cells[column].strip() for column in names)]
    texts = ["\n".join(row.cells[column] for column in names) for row in used]
    notes = [f"{n} rows without any text were left out"] if (n := len(table.rows) - len(used)) else []
    splits, said = _deal(table, used, texts, is_sample=is_sample)
    notes += said
    if len(set(texts)) < len(texts):
        notes.append(f"{len(texts) - len(set(texts))} rows repeat another row's text")
    width = len(str(len(used)))
    rows = [
        {"id": f"{n:0{width}}", "split": split}
        | {name: row.cells[column].strip() for column, name in names.items()}
        | {"expected": row.cells[answers.output].strip()}
        for n, (row, split) in enumerate(zip(used, splits, strict=True), 1)
    ]
    if not any(row["split"] == PROMPT for row in rows):
        _show_some(rows, per_label=answers.grade == "label")
    if (empty := sum(not row["expected"] for row in rows)) and answers.grade != "judge":
        notes.append(f"{empty} rows have no answer: {table.path.name} column {answers.output!r}")
    return rows, notes


def _deal(table: Table, rows: Sequence[Row], texts: Sequence[str], *, is_sample: bool) -> tuple[list[str], list[str]]:
    """The split of each row, and what is to be said of it."""
    if is_sample:
        return ["train"] * (len(rows) - SAMPLE_TEST) + ["test"] * SAMPLE_TEST, []
    own = next((column for column in table.columns if column.lower() == "split"), None)
    if own is not None and {row.cells[own] for row in rows} <= {*SPLITS}:
        return [row.cells[own] for row in rows], ["the splits are those of your file"]
    splits, together = assign(texts, HELD_OUT)
    mould = "the texts are of one mould: only equal ones, not similar ones, were kept in one split"
    return splits, [] if together else [mould]


def _show_some(rows: Sequence[dict[str, str]], *, per_label: bool) -> None:
    """Make training rows into worked examples: the shortest of each label, else a few with different answers."""
    able = sorted(
        (row for row in rows if row["split"] == "train" and row["expected"]),
        key=lambda row: (sum(map(len, row.values())), row["id"]),
    )
    different = {row["expected"]: row for row in reversed(able)}
    if per_label:
        shown = [row for _, row in sorted(different.items())]
    else:
        # from the middle of the lengths: the shortest rows are seldom typical
        middle = able[len(able) // 2 :]
        shown = list({row["expected"]: row for row in middle[:EXAMPLES]}.values())
    if 3 * len(shown) <= len(able):
        for row in shown:
            row["split"] = PROMPT


def _csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, JsonValue]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
