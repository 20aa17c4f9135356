"""HTML → its text: paragraphs apart, lists and table rows in lines of their own, scripts and styles left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

_UNREAD = frozenset({"script", "style", "template", "noscript", "svg", "math", "iframe", "object", "title", "select"})
_PARAGRAPH = frozenset(
    {
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "body",
            "details",
            "div",
            "dl",
            "fieldset",
            "figcaption",
            "figure",
        ),
        *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre"),
        *("section", "summary", "table", "ul"),
    }
)
_LINE = frozenset({"br", "li", "dt", "dd", "tr", "option", "caption"})
_CELL = frozenset({"td", "th"})


def html_text(source: str) -> str:
    """The text that a reader of the page would see, without its title."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    return reader.text


class _Reader(HTMLParser):
    """Collects lines; an empty one stands between paragraphs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line = ""
        self._unread: list[str] = []
        """Open elements whose text is none; the outermost alone would do, were they always closed."""
        self._kept = 0
        """Open elements whose spaces and line ends mean something."""

    @property
    def text(self) -> str:
        """All of it."""
        self._end_line()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self._lines)).strip("\n")

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Begin what the element begins."""
        del attrs
        if tag in _UNREAD:
            self._unread.append(tag)
        self._break(tag)
        if tag in _CELL and self._line:
            self._line += "\t"
        self._kept += tag == "pre"

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """An element that has no inside."""
        del attrs
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        """End what the element has begun."""
        if tag in self._unread:
            del self._unread[self._unread.index(tag) :]
        self._break(tag)
        self._kept = max(0, self._kept - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if self._unread:
            return
        if self._kept:
            first, *more = data.split("\n")
            self._line += first
            for line in more:
                self._end_line()
                self._line = line
            return
        words = re.sub(r"\s+", " ", data)
        self._line += words.lstrip() if not self._line or self._line[-1].isspace() else words

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPH or tag in _LINE:
            self._end_line()
        if tag in _PARAGRAPH and self._lines:
            self._lines.append("")

    def _end_line(self) -> None:
        if self._kept or self._line.strip():
            self._lines.append(self._line.rstrip())
        self._line = ""
