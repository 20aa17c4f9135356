"""Calls as they crossed the wire → records: on disk before the answer is complete, in the store soon after.

`Recorder.record` never raises for what a client or a provider said, and never waits for the store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import ValidationError
from pydantic_core import to_json

from prentice.errors import PrenticeError, StoreError
from prentice.records import Call, Failure, Turn, utc_now
from prentice.records.episodes import Split
from prentice.records.guard import Guard
from prentice.records.importing.chats import Tools
from prentice.records.importing.conversations import LogOptions
from prentice.records.importing.openai import read_openai
from prentice.records.store import Store
from prentice.serving.conversations import Conversations
from prentice.serving.costs import Prices
from prentice.serving.labels import Labels, stored_id
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


@dataclass(slots=True)
class Exchange:
    """One call as it crossed the wire."""

    asked: dict[str, Any]
    """The request's body, without our own field."""
    labels: Labels
    episode: str
    """The client's name of the episode, or one made for it."""
    at: datetime = field(default_factory=utc_now)
    answered: dict[str, Any] | None = None
    """The completion; None where the call failed."""
    problem: str = ""
    """Why it failed."""
    latency_s: float | None = None
    policy: str = ""
    """Who answers, where that differs from the recorder's own."""


@dataclass
class Origin:
    """What all calls of a recorder have in common."""

    run: str = "record"
    task: str = "recorded"
    policy: str = ""
    """Who answers: `openai`, a URL; the model's name is added."""
    split: Split = "train"


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
        self._counting, self._opening, self._guarding = threading.Lock(), threading.Lock(), threading.Lock()
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
            line = self._call(exchange).model_dump_json().encode()
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

    def _call(self, exchange: Exchange) -> Call:
        labels, origin = exchange.labels, self.origin
        turn = None if exchange.answered is None else self._turn(exchange)
        model = str(exchange.asked.get("model") or "unknown")
        policy = exchange.policy or origin.policy
        call = Call(
            id=uuid4().hex,
            episode=stored_id(exchange.episode),
            run=origin.run,
            task=origin.task,
            case=labels.case or exchange.episode,
            split=labels.split or origin.split,
            policy=f"{policy}:{model}" if policy else model,
            at=exchange.at,
            turn=turn,
            failure=Failure(where="model", message=exchange.problem) if turn is None else None,
            tags={"episode": exchange.episode, **labels.tags},
        )
        if self._guard is None:
            return call
        with self._guarding:
            return self._guard.call(call)

    def _turn(self, exchange: Exchange) -> Turn:
        asked, answered = exchange.asked, exchange.answered or {}
        said = _said(answered)  # before it is read: reading takes what is known out of a row
        row = {"request": dict(asked), "response": dict(answered), "latency_s": exchange.latency_s}
        draft = read_openai(row, LogOptions(function=exchange.labels.function), self._tools)
        turn = draft.turns[0]
        self._conversations.went_on(asked["messages"], said, exchange.episode)
        extra = {**draft.extra, "at": exchange.at.isoformat()}
        return Turn(request=turn.request, reply=turn.reply, extra=extra)

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
                    calls.append(self._prices.add_to(Call.model_validate_json(line)))
                except ValidationError as error:
                    poisoned.append((line.decode("utf-8", "replace"), error))
            self._store_calls(calls)
            for text, fault in poisoned:  # not before: what could not be stored is read again
                self._refuse(text, fault)
            self._spool.remove(batch)
            with self._stored:
                self._stored.notify_all()

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
