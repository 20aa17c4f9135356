"""Which slot of a local server answers: the one that has read most of the prompt already."""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GOES_ON = 0.9
"""A prompt that begins with so much of a slot's last one is the next turn of the same chat."""

ALIKE = 0.1
"""Slots that know equally much of a prompt, but for this share of it, are equally good for it."""


class Slots:
    """The slots of one server. Each remembers the prompt that it read last, as the server's cache does.

    An episode of many turns comes back to the slot that holds its history, unless that one is busy. Functions whose
    instructions differ come back to slots that have read theirs.

    Args:
        count: slots of the server.
        at_once: of them, how many may be held at once; default: all.
    """

    def __init__(self, count: int, at_once: int | None = None) -> None:
        self._at_once = at_once or count
        self._prompts = [""] * count
        self._used = [0] * count
        self._free = set(range(count))
        self._clock = itertools.count(1)
        self._gate: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    @asynccontextmanager
    async def take(self, prompt: str) -> AsyncIterator[int]:
        """Hold a free slot: the one whose chat goes on with this prompt, else of those that have read most of it, or
        were never used, the one unused for longest."""
        async with self._gate_of_this_loop():
            slot = self._best(prompt)
            self._free.remove(slot)
            self._prompts[slot], self._used[slot] = prompt, next(self._clock)
            try:
                yield slot
            finally:
                self._free.add(slot)

    def _best(self, prompt: str) -> int:
        known = {slot: shared(self._prompts[slot], prompt) for slot in self._free}
        slot = max(known, key=lambda slot: known[slot])
        if known[slot] > GOES_ON * len(self._prompts[slot]):
            return slot
        # all chats of a task begin alike, so a little more likeness is no reason to take the place of one's history
        least = known[slot] - ALIKE * len(prompt)
        good = [slot for slot, length in known.items() if length >= least or not self._used[slot]]
        return min(good, key=lambda slot: self._used[slot])

    def _gate_of_this_loop(self) -> asyncio.Semaphore:
        # a semaphore belongs to one event loop, and a script may run several, one after the other
        loop = asyncio.get_running_loop()
        if self._gate is None or self._gate[0] is not loop:
            self._gate = (loop, asyncio.Semaphore(self._at_once))
        return self._gate[1]


def shared(one: str, other: str) -> int:
    """How many characters both texts begin with."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect_left(lengths, True, key=lambda length: one[:length] != other[:length])
