"""A policy that answers with what another one was recorded to say: its replies, tokens, times and costs.

A recording answers only the very prompt it was made with. Asked anything else it says so, instead of answering a
question that was never put.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prentice.errors import DataError
from prentice.records import Episode, Reply, Request, Sampling, digest


class RecordedModel:
    """Replays recorded episodes, matched by the whole request and the number of the try.

    Args:
        episodes: the recording.
        name: how records call it; default: the recorded policy's own name.
    """

    slots = 64

    def __init__(self, episodes: Iterable[Episode], name: str = "") -> None:
        self._replies: defaultdict[tuple[str, int], list[Reply]] = defaultdict(list)
        self._asked: defaultdict[tuple[str, int], int] = defaultdict(int)
        recorded = name
        for episode in episodes:
            recorded = recorded or episode.policy
            for turn in episode.turns:
                self._replies[digest(turn.request), episode.attempt].append(turn.reply)
        self.name = recorded or "recorded"

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Give the recorded reply; a request that came several times within a try is answered in that order.

        Raises: DataError if this request was not recorded, or not in this try, or not so often: unlike a failed call
            that stops the rollout, since to count it as the recorded policy's failure would be false.
        """
        key = digest(request), sampling.attempt
        replies = self._replies.get(key)
        if replies is None and (key[0], 0) in self._replies:
            raise DataError(f"try {sampling.attempt + 1} of this prompt was not recorded", "lower [rollout] tries")
        if replies is None:
            raise DataError(
                "this prompt was not recorded: the recording was made with other instructions, choices or cases",
                'put a live model in its place: [teacher] model = "local:…", and record again with `prentice rollout`',
            )
        index = self._asked[key]
        if index >= len(replies):
            raise DataError(f"this prompt was recorded {len(replies)} times and is asked once more")
        self._asked[key] += 1
        return replies[index]

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""
