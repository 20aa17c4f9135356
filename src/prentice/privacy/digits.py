"""Stretches of digits and the runs in them: a card stands beside its expiry date, a phone number beside a date."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prentice.privacy.config import Kind
from prentice.privacy.found import Found, Text

STRETCH = re.compile(
    r"(?<![\w#$/\-])(?:\( ?)?(?:\+ ?)?\(?\d(?:[ \u00a0]?[-./\u2013)(]{0,2}[ \u00a0]?\d){5,39}(?:(?=x\d)|(?!\w))",
    re.ASCII,
)
_DATE = re.compile(
    r"(?<![\d.\-/])(?:(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:19|20)\d\d)(?![.\-/]?\d)"
)
_GROUP = re.compile(r"\d+", re.ASCII)
_OPENING = re.compile(r"(?:\( ?\+? ?|\+ ?\(?)$")
_GLUE = re.compile(r"(?<=\d)[-.\u2013](?=\d)", re.ASCII)
_EXTENSION = re.compile(r" ?(?:x|ext\.?|extension) ?\d{1,6}(?!\w)", re.IGNORECASE)
_MOST_GROUPS = 14
"""More in a row are a table."""
_MOST_IN_RUN = 8
SHORTEST, LONGEST = 6, 19
"""Digits that a number of any kind has."""


@dataclass(frozen=True, slots=True)
class Run:
    """Groups of digits that stand side by side, as they may make one number."""

    text: str
    """As written, with its separators and an opening + or bracket."""
    groups: tuple[str, ...]
    before: str
    """The words before it, in lower case."""
    first: bool
    """Whether no other digits stand before it."""
    alone: bool
    """Whether none stand behind it either."""
    whole: bool
    """Whether nothing else at all stands in its text."""

    @property
    def digits(self) -> str:
        """The digits alone."""
        return "".join(self.groups)


Judge = Callable[[Run], "Kind | None"]
"""Says what a run of digits is; None: nothing that is looked for."""


def numbers(text: Text, judge: Judge) -> Iterator[Found]:
    """Every run of digits that the judge knows; of two that overlap the one with more groups."""
    for start, end in _stretches(text.text):
        groups = list(_GROUP.finditer(text.text, start, end))
        if len(groups) <= _MOST_GROUPS:
            yield from _judged(text, groups, start, judge)


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """Where digits stand together; a date is a gap between two."""
    for stretch in STRETCH.finditer(text):
        start = stretch.start()
        for date in _DATE.finditer(text, start, stretch.end()):
            yield start, date.start()
            start = date.end()
        yield start, stretch.end()


def _judged(text: Text, groups: Sequence[re.Match[str]], start: int, judge: Judge) -> Iterator[Found]:
    for size in range(min(len(groups), _MOST_IN_RUN), 0, -1):
        for at in range(len(groups) - size + 1):
            found = _judge(text, groups, slice(at, at + size), start, judge)
            if found is not None:
                yield from _judged(text, groups[:at], start, judge)
                yield found
                yield from _judged(text, groups[at + size :], found.end, judge)
                return


def _judge(text: Text, groups: Sequence[re.Match[str]], some: slice, first: int, judge: Judge) -> Found | None:
    taken = groups[some]
    if not SHORTEST <= sum(len(group[0]) for group in taken) <= LONGEST:
        return None
    said, start, end = text.text, taken[0].start(), taken[-1].end()
    if _glued(said, start - 1) or _glued(said, end):
        return None
    opening = _OPENING.search(said, first, start)
    if opening and ("(" not in opening[0] or ")" in said[start:end]):
        start = opening.start()
    run = Run(
        said[start:end],
        tuple(group[0] for group in taken),
        text.before(start),
        first=some.start == 0,
        alone=len(taken) == len(groups),
        whole=not text.key and len(said.strip()) == end - start,
    )
    kind = judge(run)
    if kind == "phone" and (extension := _EXTENSION.match(said, end)):
        end = extension.end()
    return None if kind is None else Found(kind, start, end)


def _glued(text: str, at: int) -> bool:
    """Whether the sign there binds two groups into one number, as the point of 25.00 does."""
    return _GLUE.match(text, max(0, at)) is not None
