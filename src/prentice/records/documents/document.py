"""One document, and why something is none."""

from __future__ import annotations

from functools import cached_property

from prentice.errors import DataError
from prentice.records.base import Record, digest


class Document(Record):
    """A text to be read from its beginning to its end."""

    id: str
    """Its own where it has one, else its file, and in a file of several the line: what errors call it."""
    title: str = ""
    text: str

    @cached_property
    def content(self) -> str:
        """What is read: the title in a line of its own, unless the text begins with it, then the text."""
        if not self.title or self.text.startswith(self.title):
            return self.text
        return f"{self.title}\n\n{self.text}"

    @cached_property
    def hash(self) -> str:
        """Of the content: the same wherever the document lies and whatever it is called."""
        return digest(self.content)


class DocumentError(DataError):
    """A file or a line that is no document.

    Args:
        place: the file, with the line where there are several.
        kind: the fault in words that are the same for all that have it.
        detail: what is there instead.
    """

    def __init__(self, place: str, kind: str, hint: str = "", detail: str = "") -> None:
        super().__init__(f"{place}: {kind}" + (f": {detail}" if detail else ""), hint)
        self.place, self.kind = place, kind
