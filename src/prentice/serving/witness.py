"""One call, from what is asked to its record: it hears the answer as it passes, and the record is on disk before the
caller has the whole of it.

The endpoint and the recorded client differ only in what carries the bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from prentice.records.chats import DISCONNECTED
from prentice.serving.exchanges import Exchange
from prentice.serving.labels import HEADER
from prentice.serving.streams import DONE, Completion, Events, chunk_of, data_of, only_counts


class Hearing(Protocol):
    """Hears a stream as it passes."""

    @property
    def headers(self) -> dict[str, str]:
        """What the answer is labelled with."""
        ...

    def hear(self, data: bytes) -> Iterable[bytes]:
        """What of this goes on to the caller."""
        ...

    def rest(self) -> Iterable[bytes]:
        """What goes on at the end."""
        ...

    def ended(self, *, early: bool = False) -> None:
        """The stream is over."""
        ...

    def failed(self, problem: str) -> None:
        """The stream broke off."""
        ...


class Unheard:
    """Lets all pass."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def hear(self, data: bytes) -> Iterable[bytes]:
        """See `Hearing`."""
        return (data,)

    def rest(self) -> Iterable[bytes]:
        """See `Hearing`."""
        return ()

    def ended(self, *, early: bool = False) -> None:
        """See `Hearing`."""

    def failed(self, problem: str) -> None:
        """See `Hearing`."""


class Witness:
    """Records one call, once, whatever happens.

    Args:
        record: puts a call on record.
        exchange: what was asked.
        hide_counts: the number of tokens of a stream was asked for by us alone.
    """

    def __init__(self, record: Callable[[Exchange], None], exchange: Exchange, *, hide_counts: bool = False) -> None:
        self._put, self._exchange, self._hide_counts = record, exchange, hide_counts
        self._begun, self._done = time.perf_counter(), False
        self._events, self._completion = Events(), Completion()

    @property
    def headers(self) -> dict[str, str]:
        """What an answer is labelled with, so that feedback can name the episode."""
        named = self._exchange.episode
        return {f"{HEADER}episode": named} if named.isascii() else {}

    def whole(self, status: int, body: bytes) -> None:
        """An answer that came at once."""
        completion = chunk_of(body)
        if status >= 400 or completion is None or not completion.get("choices"):
            self.failed(problem_of(status, completion))
        else:
            self._record(completion)

    def failed(self, problem: str) -> None:
        """There is no answer, or an error for one."""
        self._exchange.problem = problem
        self._record(None)

    def hear(self, data: bytes) -> Iterator[bytes]:
        """The events of a stream that go on to the caller; its last one only once the whole is on record."""
        for event in self._events.feed(data):
            if self._heard(event):
                yield event

    def rest(self) -> Iterator[bytes]:
        """What goes on at the end of a stream, which is then on record."""
        rest = self._events.rest()
        passed = bool(rest) and self._heard(rest)
        self.ended()
        if passed:
            yield rest

    def ended(self, *, early: bool = False) -> None:
        """A stream is over.

        Args:
            early: its caller did not wait for the end.
        """
        said = self._completion.error
        if said is not None:
            self.failed(problem_of(200, {"error": said}))
        elif not self._completion.begun:
            self.failed(DISCONNECTED if early else "the stream said nothing")
        else:
            self._record(self._completion.whole(DISCONNECTED if early else None))

    def _heard(self, event: bytes) -> bool:
        data = data_of(event)
        if data == DONE:
            self.ended()
        elif data and (chunk := chunk_of(data)) is not None:
            self._completion.add(chunk)
            return not (self._hide_counts and only_counts(chunk))
        return True

    def _record(self, answered: dict[str, Any] | None) -> None:
        if self._done:
            return
        self._done = True
        self._exchange.answered = answered
        self._exchange.latency_s = time.perf_counter() - self._begun
        self._put(self._exchange)


def problem_of(status: int, said: dict[str, Any] | None) -> str:
    """What a failed answer says, for a record: never of a refused key, which it may quote."""
    error = said.get("error") if said else None
    words = error.get("message") if isinstance(error, dict) else error
    return f"{status}" if status in (401, 403) or not words else f"{status}: {str(words)[:500]}"
