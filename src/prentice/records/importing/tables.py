"""Rows with one column for what was asked and one for what was answered: CSV, spreadsheets, instruction datasets."""

from __future__ import annotations

from typing import Any

from prentice.records.importing.chats import Tools, as_text
from prentice.records.importing.conversations import Draft, LogOptions
from prentice.records.importing.faults import RowError
from prentice.records.importing.fields import Fields
from prentice.records.importing.openai import read_openai

INPUTS = ("prompt", "input", "question", "text", "query", "instruction", "user", "message")
OUTPUTS = ("completion", "output", "answer", "response", "reply", "assistant", "label")


def columns(row: Fields, options: LogOptions) -> tuple[str, str]:
    """The columns of what was asked and answered: as named, else the first that has one of the usual names; or ""."""
    return options.input or _find(row, INPUTS), options.output or _find(row, OUTPUTS)


def _find(row: Fields, names: tuple[str, ...]) -> str:
    known = {str(column).strip().lower(): column for column in reversed(row)}
    return next((known[name] for name in names if name in known), "")


def read_table(row: Fields, options: LogOptions, tools: Tools) -> Draft:
    """A row as a conversation of one turn; the id of a row is its whole content, since tables count from 1.

    Raises: RowError.
    """
    asked, answered = columns(row, options)
    texts = [_cell(row, column, kind) for column, kind in ((asked, "input"), (answered, "output"))]
    inputs: dict[str, Any] = {asked: texts[0]}
    instruction = _find(row, ("instruction",)) if not options.input else ""
    if instruction and instruction != asked and row[instruction]:
        inputs = {instruction: as_text(row.pop(instruction))} | inputs
    system = row.pop("system", None)
    row["messages"] = [
        *([{"role": "system", "content": as_text(system)}] if system else []),
        {"role": "user", "content": "\n\n".join(inputs.values())},
        {"role": "assistant", "content": texts[1]},
    ]
    draft = read_openai(row, options, tools)
    draft.case, draft.native = draft.native, None
    request = draft.turns[0].request.model_copy(update={"inputs": inputs})
    draft.turns = (draft.turns[0].model_copy(update={"request": request}),)
    draft.extra |= {"input": asked, "output": answered} if (asked, answered) != ("input", "output") else {}
    return draft


def _cell(row: Fields, column: str, kind: str) -> str:
    value = row.pop(column, None)
    if value is None or value == "":
        # a merged cell has its text in its first row only
        raise RowError("empty cell", f"{kind} column {column!r}" if column else f"no {kind} column")
    return as_text(value)
