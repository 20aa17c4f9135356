"""A hard limit in dollars: what a call may cost is set aside before it is made, and what it did cost booked after it.

The book is a small SQLite file, so it holds across kills, restarts and processes: money set aside for a call that a
kill cut off stays spent, since the provider may have billed it. The budget of a rollout reaches every remote model that
works for it (teacher, judge, simulated user) through the context of the running code, as a trace would.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from uuid import uuid4

from prentice.errors import PrenticeError

TABLES = """
CREATE TABLE IF NOT EXISTS spent (run TEXT PRIMARY KEY, usd REAL NOT NULL);
CREATE TABLE IF NOT EXISTS held (run TEXT, name TEXT, usd REAL NOT NULL, PRIMARY KEY (run, name));
"""
ROUNDING_USD = 1e-12
"""Sums of many small prices are not exact."""


class BudgetSpentError(PrenticeError):
    """The next call does not fit into the budget; what is under way may finish."""


class Budget:
    """Dollars that the calls of one run may cost together, earlier goes of the run included.

    Args:
        limit_usd: the most that may be spent.
        file: where the book is kept, for several runs side by side; None = in memory, for this process only.
        run: whose money it is.
        already_usd: what is known to have been spent before the book was begun.
    """

    def __init__(self, limit_usd: float, file: Path | None = None, run: str = "", already_usd: float = 0.0) -> None:
        self.limit_usd, self.run = limit_usd, run
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        self._book = sqlite3.connect(file or ":memory:", isolation_level=None, timeout=60)
        self._book.execute("PRAGMA journal_mode = WAL")
        # a kill loses nothing; a power cut may lose the last bookings
        self._book.execute("PRAGMA synchronous = NORMAL")
        self._book.executescript(TABLES)
        with self._writing():
            self._add(max(0.0, already_usd - self.spent_usd))
        self._open: set[str] = set()
        self._settled = asyncio.Event()

    @property
    def spent_usd(self) -> float:
        """Dollars spent, with those set aside for calls that are under way or were cut off."""
        both = "SELECT run, usd FROM spent UNION ALL SELECT run, usd FROM held"
        return float(self._book.execute(f"SELECT total(usd) FROM ({both}) WHERE run = ?", (self.run,)).fetchone()[0])

    async def hold(self, usd: float, name: str = "") -> str:
        """Set money aside for a call; wait while calls under way may give some back.

        Args:
            name: of the call, where it may be asked for again after a kill: it is then held once.

        Returns: the name to settle it by.
        Raises: BudgetSpentError if it does not fit and nothing can come back.
        """
        name = name or uuid4().hex
        while not self._try_to_hold(usd, name):
            if not self._open:
                raise BudgetSpentError(
                    f"budget spent: ${self.spent_usd:.4f} of ${self.limit_usd:.4f}, "
                    f"and the next call may cost ${usd:.4f}",
                    "raise the budget and run the same command again: it goes on from here",
                )
            await self._settled.wait()
        self._open.add(name)
        return name

    def settle(self, name: str, usd: float) -> None:
        """Book what a call did cost instead of what was set aside for it."""
        with self._writing():
            self._book.execute("DELETE FROM held WHERE run = ? AND name = ?", (self.run, name))
            self._add(usd)
        self._open.discard(name)
        self._settled.set()
        self._settled = asyncio.Event()

    def close(self) -> None:
        """Close the book."""
        self._book.close()

    def _try_to_hold(self, usd: float, name: str) -> bool:
        with self._writing():
            before = self._book.execute("SELECT usd FROM held WHERE run = ? AND name = ?", (self.run, name)).fetchone()
            fits = self.spent_usd - (before[0] if before else 0.0) + usd <= self.limit_usd + ROUNDING_USD
            if fits:
                self._book.execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", (self.run, name, usd))
        return fits

    def _add(self, usd: float) -> None:
        self._book.execute(
            "INSERT INTO spent VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET usd = usd + excluded.usd", (self.run, usd)
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # taken at once, so that two processes never both find room for the last call
        self._book.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._book.execute("ROLLBACK")
            raise
        self._book.execute("COMMIT")


class Bill:
    """What one request comes to, attempt by attempt: a reply that was lost on its way is billed too.

    Args:
        most_usd: the most that one attempt can cost.
    """

    def __init__(self, most_usd: float) -> None:
        self._budget, self._most_usd = current_budget(), most_usd
        self._held: list[str] = []
        self._lost = 0

    async def attempt(self, name: str = "") -> None:
        """Set money aside for one more attempt.

        Raises: BudgetSpentError.
        """
        if self._budget is not None:
            self._held.append(await self._budget.hold(self._most_usd, name))

    def refund(self) -> None:
        """The last attempt was refused: it costs nothing."""
        self._settle(self._held[-1:], 0.0)

    def lose(self) -> None:
        """The last attempt may have been billed, but its reply never came: for now it costs the most it can.

        Booked at once: calls that wait for each other's change must not hold any themselves.
        """
        self._settle(self._held[-1:], self._most_usd)
        self._lost += 1

    def pay(self, usd_each: float | None) -> None:
        """Book what is left, lost attempts too, at this price of one; None = unknown, so at the most it can be."""
        if usd_each is None:
            usd_each = self._most_usd
        self._settle(self._held, usd_each)
        if self._lost and self._budget is not None:
            self._budget.settle("", self._lost * (usd_each - self._most_usd))
        self._lost = 0

    def _settle(self, names: list[str], usd: float) -> None:
        for name in tuple(names):
            self._held.remove(name)
            if self._budget is not None:
                self._budget.settle(name, usd)


_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current_budget() -> Budget | None:
    """The budget that calls made here are paid from; None = there is no limit."""
    return _CURRENT.get()


@contextmanager
def paid_from(budget: Budget | None) -> Iterator[None]:
    """Pay from `budget` for every call of a remote model inside the block, and in tasks begun inside it."""
    token = _CURRENT.set(budget)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def spent_in(file: Path, run: str) -> float:
    """Dollars that the book says a run has spent; 0 where there is no book."""
    if not file.exists():
        return 0.0
    with closing(Budget(0.0, file, run)) as budget:
        return budget.spent_usd
