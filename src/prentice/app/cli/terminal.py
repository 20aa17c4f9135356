"""How long work looks in a terminal: bars where there is one, plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from prentice.progress import Bar

LINE_EVERY_S = 15.0
"""Seconds between two lines about the same work, where there is no terminal to draw a bar in."""


def terminal_progress() -> Terminal | Lines:
    """Bars in a terminal, lines in a log."""
    console = Console()
    return Terminal(console) if console.is_terminal else Lines(console)


class Terminal:
    """Bars with count, rate, facts and time left."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """Show one bar until the block ends, then leave its last state as a line."""
        columns = (
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Count(unit),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        with RichProgress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=max(total, 1), facts="")
            progress.update(task, completed=done if total else 1)
            yield _RichBar(progress, task)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False)


class _RichBar:
    def __init__(self, progress: RichProgress, task: Any) -> None:
        self._progress, self._task = progress, task
        self._facts: dict[str, str] = {}

    def advance(self, amount: float = 1, **facts: str) -> None:
        self._facts |= facts
        self._progress.update(self._task, advance=amount, facts=_in_words(self._facts))


class _Count(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        counted = f"{task.completed:,.0f}/{task.total or 0:,.0f} {self._unit}"
        return Text(f"{counted}{_rate(speed or 0.0, ' ')}", style="cyan")


class Lines:
    """Plain lines: at the start, every few seconds, at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """Print a line now and then until the block ends."""
        bar = _LineBar(self, title, total, unit, done)
        yield bar
        bar.end()

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _LineBar:
    def __init__(self, lines: Lines, title: str, total: float, unit: str, done: float) -> None:
        self._lines, self._title, self._total, self._unit = lines, title, total, unit
        self._done, self._begun_with = done, done
        self._began = self._last = time.monotonic()
        self._facts: dict[str, str] = {}
        self._said: float | None = None

    def advance(self, amount: float = 1, **facts: str) -> None:
        self._done += amount
        self._facts |= facts
        if time.monotonic() - self._last >= LINE_EVERY_S:
            self.line()

    def end(self) -> None:
        if self._said != self._done or not self._total:
            self.line()

    def line(self) -> None:
        self._said = self._done
        self._last = time.monotonic()
        seconds = self._last - self._began
        rate = (self._done - self._begun_with) / seconds if seconds > 0 else 0.0
        left = f", {(self._total - self._done) / rate:,.0f} s left" if rate and self._done < self._total else ""
        facts = f", {_in_words(self._facts)}" if self._facts else ""
        counted = f"{self._done:,.0f}/{self._total:,.0f} {self._unit}"
        self._lines.say(f"{self._title}: {counted}{_rate(rate, ', ')}{facts}{left}")


def _rate(per_second: float, before: str) -> str:
    # below one in ten seconds a rate says nothing that the count does not
    return f"{before}{per_second:,.1f}/s" if per_second >= 0.1 else ""


def _in_words(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
