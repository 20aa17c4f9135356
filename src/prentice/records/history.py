"""What was said in an episode, each message written once, and each request as stretches of it.

A chat's request shows all that was said before, so written out in full an episode would grow with the square of its
turns. This module does not know how anything is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from operator import is_
from typing import Generic, TypeVar

M = TypeVar("M")
Stretch = tuple[int, int]
"""Positions [from, to) in the list of all that was said."""


class Said(Generic[M]):
    """All messages of an episode in the order they were first shown; every reply is one more.

    Args:
        key: equal for equal messages.
    """

    def __init__(self, key: Callable[[M], Hashable]) -> None:
        self.messages: list[M] = []
        self._key = key
        self._places: dict[Hashable, int] = {}
        """Of the first `_looked_up` messages: a history that only grows is never searched, and hashing takes long."""
        self._looked_up = 0

    def add(self, request: Sequence[M], reply: M) -> tuple[list[M], list[Stretch]]:
        """Take in one turn.

        Returns: the messages that are new in it, the reply last, and the request as stretches of all that was said.
        """
        before = len(self.messages)
        # a history shows the very same messages again and again: all at once, or time would grow with their square
        if len(request) >= before and all(map(is_, self.messages, request)):
            self.messages += request[before:]
            shown = [(0, len(request))] if request else []
        else:
            shown = self._stretches(request)
        self.messages.append(reply)
        return self.messages[before:], shown

    def _stretches(self, request: Sequence[M]) -> list[Stretch]:
        shown: list[Stretch] = []
        place = -1
        for message in request:
            place = self._place(message, place + 1)
            if shown and shown[-1][1] == place:
                shown[-1] = (shown[-1][0], place + 1)
            else:
                shown.append((place, place + 1))
        return shown

    def _place(self, message: M, next_: int) -> int:
        """Where `message` stands: best as the next of its stretch, since a history then is one, else anywhere."""
        if next_ < len(self.messages):
            if self.messages[next_] is message or self._key(self.messages[next_]) == self._key(message):
                return next_
        elif next_:
            return self._append(message)  # new at the end of a history, even where it repeats something
        found = self._find(self._key(message))
        return self._append(message) if found is None else found

    def _find(self, key: Hashable) -> int | None:
        for place in range(self._looked_up, len(self.messages)):
            self._places[self._key(self.messages[place])] = place
        self._looked_up = len(self.messages)
        return self._places.get(key)

    def _append(self, message: M) -> int:
        self.messages.append(message)
        return len(self.messages) - 1


def shown_messages(said: Sequence[M], shown: Sequence[Stretch]) -> tuple[M, ...]:
    """The messages of a request again.

    Raises: ValueError if a stretch leads beyond what was said.
    """
    if any(not 0 <= start <= end <= len(said) for start, end in shown):
        raise ValueError("a request shows what was not said")
    return tuple(message for start, end in shown for message in said[start:end])
