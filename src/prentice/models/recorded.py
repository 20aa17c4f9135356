"""A policy that answers with what another one was recorded to say: its replies, tokens, times and costs.

A recording answers only the very prompt it was made with. Asked anything else it says so, instead of answering a
question that was never put.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prentice.errors import ModelError
from prentice.records import Episode, Reply, Request, Sampling, digest


class RecordedModel:
    """Replays recorded episodes, matched by the whole request; a request recorded n times is answered n times in order.

    Args:
        episodes: the recording.
        name: how records call it; default: the recorded policy's own name.
    """

    slots = 64

    def __init__(self, episodes: Iterable[Episode], name: str = "") -> None:
        self._replies: defaultdict[str, list[tuple[int, Reply]]] = defaultdict(list)
        self._asked: defaultdict[str, int] = defaultdict(int)
        recorded = name
        for episode in episodes:
            recorded = recorded or episode.policy
            for turn in episode.turns:
                self._replies[_key(turn.request)].append((episode.attempt, turn.reply))
        for replies in self._replies.values():
            replies.sort(key=lambda row: row[0])
        self.name = recorded or "recorded"

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Give the recorded reply; the tries of a case come in the order they were recorded.

        Raises: ModelError if this request was not recorded, or not so often.
        """
        del sampling
        key = _key(request)
        replies = self._replies.get(key)
        if replies is None:
            raise ModelError(
                "this prompt was not recorded: the recording was made with other instructions, choices or cases",
                'put a live model in its place: [teacher] model = "local:…", and record again with `prentice rollout`',
            )
        index = self._asked[key]
        if index >= len(replies):
            raise ModelError(f"this prompt was recorded {len(replies)} times and is asked once more")
        self._asked[key] += 1
        return replies[index][1]

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""


def _key(request: Request) -> str:
    return digest(request)
