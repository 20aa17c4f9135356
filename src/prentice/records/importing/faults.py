"""Why a row of a log was refused, and where it stands."""

from __future__ import annotations

from typing import Literal

from prentice.records.base import Record

Reason = Literal[
    "line too long",
    "not UTF-8",
    "malformed JSON",
    "not a JSON object",
    "no conversation in it",
    "empty conversation",
    "no assistant message",
    "conversation too long",
    "unknown role",
    "malformed message",
    "malformed tool call",
    "call without arguments",
    "tool result without a call",
    "malformed tool",
    "wrong value",
    "malformed table row",
    "empty cell",
    "same id, other content",
    "cannot be stored",
]
"""Every reason there is, in the order a row is looked at."""


class RowError(ValueError):
    """A row that cannot become an episode; `detail` names the place in it and the value."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: Reason = reason
        self.detail = detail


class Rejected(Record):
    """A row that was left out."""

    file: str
    line: int
    """Line of the file at which the row begins, from 1; in a parquet file or a spreadsheet, its row."""
    reason: Reason
    detail: str = ""
    """Where in the row, and which value."""

    def __str__(self) -> str:
        """One line: file, line, reason."""
        return f"{self.file}:{self.line}: {self.reason}" + (f": {self.detail}" if self.detail else "")


def shown(value: object) -> str:
    """A value of a log as an error names it: short, in one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
