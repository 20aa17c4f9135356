"""Splitting JSON that is not one value a line: where a value ends is found without reading what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prentice.records.importing.faults import RowError

MOST_BYTES = 64 * 2**20
"""Longest row that is read."""
# what stands before the next brace or line end; a string ends with its line even where its quote is missing, since
# JSON has no line ends in strings
_TOKEN = re.compile(rb'(?:[^"{}\n]++|"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+(?:"|(?=\n)))*+([{}\n"])')
_BETWEEN = b" \t\r\n,[]"


@dataclass(slots=True)
class Line:
    """A row as it stands in the file."""

    number: int
    """The line at which it begins, from 1."""
    text: bytes
    fault: RowError | None = None
    """Why it could not be read."""


def too_long() -> RowError:
    """The fault of a row that is not read."""
    return RowError("line too long", f"more than {MOST_BYTES // 2**20} MB")


class Splitter:
    """Finds the objects of a text that comes in pieces. What stands between two and is no comma is a damaged row."""

    def __init__(self) -> None:
        self.begun_at = 1
        """The line at which the row begins that is being read."""
        self._text = b""
        self._begun = 0
        """Where that row begins."""
        self._at = 0
        """Where the next token is looked for."""
        self._depth = 0
        self._line = 1
        self._margin: bytes | None = None
        """What stands before the first object on its line, and its brace: a line that begins so begins an object."""

    @property
    def pending(self) -> int:
        """Bytes of the row that is being read."""
        return len(self._text)

    def feed(self, piece: bytes, *, last: bool) -> Iterator[Line]:
        """Give the rows that are whole with this piece."""
        self._text += piece
        while (token := _TOKEN.match(self._text, self._at)) is not None:
            mark = token[1]
            # an open string, or the margin of the next line, may go on in the next piece
            if not last and (mark == b'"' or (mark == b"\n" and token.end() + len(self._margin or b"") > self.pending)):
                break
            self._at = token.end()
            if mark == b"\n":
                yield from self._line_end()
            elif mark == b"{":
                yield from self._open(token.start(1))
            elif mark == b"}" and self._depth:
                self._depth -= 1
                if not self._depth:
                    yield self._row()
        if last and self._depth:
            self._at = self.pending
            yield self._row()
        elif last:
            yield from self._between(self.pending)
        self._text = self._text[self._begun :]
        self._at, self._begun = self._at - self._begun, 0

    def _open(self, at: int) -> Iterator[Line]:
        if not self._depth:
            yield from self._between(at)
            self._begun, self.begun_at = at, self._line
            if self._margin is None:
                before = self._text[self._text.rfind(b"\n", 0, at) + 1 : at]
                self._margin = before + b"{" if not before.strip() else b""
        self._depth += 1

    def _line_end(self) -> Iterator[Line]:
        self._line += 1
        if self._depth and self._margin and self._text.startswith(self._margin, self._at):
            yield self._row()  # the one before has no end
            self._depth = 0

    def _row(self) -> Line:
        text = self._text[self._begun : self._at]
        self._begun = self._at
        return Line(self.begun_at, text)

    def _between(self, end: int) -> Iterator[Line]:
        text = self._text[self._begun : end]
        if damaged := text.strip(_BETWEEN):
            lines = text.count(b"\n") - text[: text.index(damaged)].count(b"\n")
            yield Line(self._line - lines, damaged)
