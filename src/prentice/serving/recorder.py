"""Calls as they crossed the wire → records: on disk before the answer is complete, in the store soon after.

`Recorder.record` never raises for what a client or a provider said, and never waits for the store. A call waits as it
crossed the wire, and becomes a record in the thread that stores it; only where there is a guard it becomes one at once,
since nothing may touch a disk that the guard has not seen.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from prentice.errors import PrenticeError, StoreError
from prentice.records import Call
from prentice.records.guard import Guard
from prentice.records.importing.chats import Tools
from prentice.records.store import Store
from prentice.serving.conversations import Conversations
from prentice.serving.costs import Prices
from prentice.serving.exchanges import Exchange, Origin, Waiting, read_waiting
from prentice.serving.labels import Labels
from prentice.serving.refusals import Refusals
from prentice.serving.spool import Spool

LOG = logging.getLogger("prentice.record")
GATHER_S = 0.1
"""A transaction costs as much as many calls: it waits so long for more of them."""
LONGEST_PAUSE_S = 5.0
DEFAULT_SPOOL_BYTES = 1_000_000_000
LOOK_S = 30.0
REFUSED = "refused.jsonl"
"""Beside the spool: what could not become a record, with the reason."""


class Recorder:
    """Takes exchanges in, and brings them to a store from a thread of its own.

    Args:
        home: a project's `.prentice`, where records wait.
        open_store: opens the store; it is called again as long as that fails.
        guard: what every record passes before it is written anywhere.
        most_bytes: the most that may wait on disk; calls beyond that go on and are not recorded, which is counted.
        look_s: how often it looks for what others that were killed have left.
    """

    def __init__(
        self,
        home: Path,
        open_store: Callable[[], Store],
        origin: Origin,
        *,
        guard: Guard | None = None,
        most_bytes: int = DEFAULT_SPOOL_BYTES,
        look_s: float = LOOK_S,
    ) -> None:
        self.origin, self._guard, self._open_store = origin, guard, open_store
        self._home = home / "spool"
        self._spool = Spool(self._home, most_bytes)
        self._conversations = Conversations()
        self._tools = Tools()
        self._store: Store | None = None
        self._work, self._hurry = threading.Event(), threading.Event()
        self._stopping = False
        self._stored = threading.Condition()
        self._counting, self._opening, self._reading = threading.Lock(), threading.Lock(), threading.Lock()
        self._look_s, self._look_at = look_s, time.monotonic() + look_s
        self._prices = Prices()
        self._refusals = Refusals(self._home / REFUSED, guard, most_bytes)
        self.recorded = self.lost = self.refused = 0
        self.trouble = ""
        """What keeps records from the store now, in one line."""
        self._thread = threading.Thread(target=self._drain, name="prentice-record", daemon=True)
        self._thread.start()

    def episode_of(self, asked: dict[str, Any], labels: Labels) -> str:
        """The name of the episode that a call belongs to."""
        messages = asked.get("messages")
        return labels.episode or self._conversations.episode_of(messages if isinstance(messages, list) else ())

    def record(self, exchange: Exchange) -> None:
        """Write a call to disk; it is recorded when this returns, whatever becomes of the process."""
        try:
            line = self._line(exchange)
            self._remember(exchange)
        except Exception as error:
            self._refuse(to_json([exchange.asked, exchange.answered], fallback=repr).decode("utf-8", "replace"), error)
            return
        kept = self._spool.append(line)
        with self._counting:
            self.recorded += kept
            self.lost += not kept
            lost = self.lost
        if kept:
            self._work.set()
        elif lost & (lost - 1) == 0:  # said at 1, 2, 4, 8 ...: not for every call of a long outage
            LOG.error("the spool or its disk is full: %d calls were answered and not recorded", lost)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was recorded before is stored; return whether it is."""
        recorded = self._spool.appended
        self._hurry.set()
        self._work.set()
        with self._stored:
            return self._stored.wait_for(lambda: self._spool.removed >= recorded, timeout_s)

    @property
    def waiting(self) -> int:
        """Bytes on disk that are not stored yet."""
        return self._spool.waiting

    @property
    def personal_data(self) -> dict[str, int]:
        """How much of it was found, by kind."""
        return {} if self._guard is None else dict(self._guard.found)

    def store(self) -> Store:
        """The open store.

        Raises: StoreError if it cannot be opened.
        """
        with self._opening:
            if self._store is None:
                self._store = self._open_store()
            return self._store

    def close(self, timeout_s: float = 10.0) -> None:
        """Store what waits, if that can be done in time; the rest waits on disk for the next start."""
        self._stopping = True
        self._work.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return
        self._spool.close()
        with self._opening:
            if self._store is not None:
                self._store.close()

    def _line(self, exchange: Exchange) -> bytes:
        waiting = Waiting(exchange, self.origin)
        return waiting.line() if self._guard is None else self._call(waiting).model_dump_json().encode()

    def _call(self, waiting: Waiting) -> Call:
        with self._reading:
            call = waiting.call(self._tools)
            return call if self._guard is None else self._guard.call(call)

    def _remember(self, exchange: Exchange) -> None:
        """How the conversation stands now: the next call may go on with it."""
        messages = exchange.asked.get("messages")
        if exchange.answered is not None and isinstance(messages, list):
            self._conversations.went_on(messages, _said(exchange.answered), exchange.episode)

    def _drain(self) -> None:
        pause = 0.1
        while self._spool.waiting or not self._stopping:
            try:
                if not self._spool.waiting:
                    self._work.wait(self._look_s)
                self._work.clear()
                if time.monotonic() > self._look_at:
                    self._look_at = time.monotonic() + self._look_s
                    self._spool.take_over()
                if not self._stopping:
                    self._hurry.wait(GATHER_S)
                    self._hurry.clear()
                self._store_some()
                pause, self.trouble = 0.1, ""
            except Exception as error:  # whatever it is, calls go on and their records wait
                self._say(error)
                if self._stopping:
                    return
                self._work.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _store_some(self) -> None:
        while (batch := self._spool.read()) is not None:
            calls, poisoned = [], []
            for line in batch.lines:
                try:
                    calls.append(self._read(line))
                except Exception as error:
                    poisoned.append((line.decode("utf-8", "replace"), error))
            self._store_calls(calls)
            for text, fault in poisoned:  # not before: what could not be stored is read again
                self._refuse(text, fault)
            self._spool.remove(batch)
            with self._stored:
                self._stored.notify_all()

    def _read(self, line: bytes) -> Call:
        waiting = read_waiting(line)
        return self._prices.add_to(self._call(waiting) if isinstance(waiting, Waiting) else waiting)

    def _store_calls(self, calls: list[Call]) -> None:
        store = self.store()
        try:
            store.add_calls(calls)
        except StoreError:
            raise
        except Exception as error:
            if len(calls) == 1:
                self._refuse(calls[0].model_dump_json(), error)
                return
            for call in calls:  # one of them cannot be stored, which must not keep the others out
                self._store_calls([call])

    def _refuse(self, text: str, error: Exception) -> None:
        with self._counting:
            self.refused += 1
            self._refusals.keep(text, error)

    def _say(self, error: Exception) -> None:
        trouble = str(error) if isinstance(error, PrenticeError) else f"{type(error).__name__}: {error}"
        if trouble != self.trouble:
            a_bug = None if isinstance(error, PrenticeError | OSError) else error
            LOG.warning("the store cannot be written, records wait on disk: %s", trouble, exc_info=a_bug)
        self.trouble = trouble


def _said(answered: dict[str, Any]) -> Any:
    choices = answered.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first.get("message") if isinstance(first, dict) else None
