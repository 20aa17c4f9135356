"""How long work says where it stands. The doors (`app/`) decide how it looks; all else talks to this contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of long work."""

    def advance(self, amount: float = 1, **facts: str) -> None:
        """Count `amount` units as done; `facts` (e.g. success="48 %") are shown beside the bar until replaced."""
        ...


class Progress(Protocol):
    """Where long work reports to."""

    def bar(self, title: str, total: float, unit: str, done: float = 0) -> AbstractContextManager[Bar]:
        """Show a bar for `total` units of which `done` were finished before (a resumed run)."""
        ...

    def say(self, text: str) -> None:
        """Print one line of result, in place with any bar on screen."""
        ...


class _SilentBar:
    def advance(self, amount: float = 1, **facts: str) -> None:
        del amount, facts


class Silent:
    """Shows nothing: for libraries and tests."""

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """Show nothing."""
        del title, total, unit, done
        yield _SilentBar()

    def say(self, text: str) -> None:
        """Show nothing."""
        del text
