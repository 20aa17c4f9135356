"""Finished episodes go to the store from one thread, all that have gathered while it was busy in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from prentice.records.rows import EpisodeRows
from prentice.records.store import Store

GATHER_S = 0.02
"""A transaction costs as much as a few episodes: it waits so long for more of them."""


class Writer:
    """Writes episodes while it is entered; leaving it waits for what is under way.

    Whoever hands an episode over waits until it is stored. So never more episodes wait here than are in flight, and a
    kill loses none that was counted.

    Args:
        in_flight: episodes at once; a transaction waits for no more than half of them.
    """

    def __init__(self, store: Store, in_flight: int) -> None:
        self._store = store
        self._enough = in_flight / 2
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: list[tuple[EpisodeRows, asyncio.Future[None]]] = []
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._work is not None:
            await self._work
        self._thread.shutdown()

    async def add(self, episode: EpisodeRows) -> None:
        """Store `episode`; it is stored too if the caller is cancelled meanwhile.

        Raises: StoreError if the store refuses.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((episode, done))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if len(self._waiting) < self._enough:
                await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting, []
            error = await loop.run_in_executor(self._thread, self._store_all, [episode for episode, _ in batch])
            for _, done in batch:
                if done.done():
                    continue  # who waited for it was cancelled
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

    def _store_all(self, episodes: Sequence[EpisodeRows]) -> Exception | None:
        """What kept them from being stored."""
        try:
            self._store.add_rows(episodes)
        except Exception as error:
            return error
        return None
