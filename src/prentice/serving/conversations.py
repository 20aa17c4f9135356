"""Which call goes on with which conversation, where the client does not say.

A request that repeats, up to its last reply, all that was said in an earlier call goes on with that call's episode.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

REMEMBERED = 100_000
"""Conversations; of an older one the next call begins a new episode."""


class Conversations:
    """Remembers how the latest conversations ended; forgets them with the process."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._episodes: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def episode_of(self, messages: Sequence[Any]) -> str:
        """The name of the episode that a request goes on with, or of a new one."""
        last = max(
            (n for n, m in enumerate(messages) if isinstance(m, dict) and m.get("role") == "assistant"), default=None
        )
        known = None
        if last is not None:
            with self._lock:
                # a second call that goes on from the same place is another conversation
                known = self._episodes.pop(_ending(messages[: last + 1]), None)
        return known or uuid4().hex

    def went_on(self, messages: Sequence[Any], reply: Any, episode: str) -> None:
        """Remember how a conversation stands now."""
        with self._lock:
            self._episodes[_ending([*messages, reply])] = episode
            while len(self._episodes) > self._most:
                self._episodes.popitem(last=False)


def _ending(messages: Sequence[Any]) -> bytes:
    """A hash of what was said, whatever a client adds to messages or leaves out of them."""
    said = [
        [m.get("role"), m.get("content") or "", _called(m.get("tool_calls"))] for m in messages if isinstance(m, dict)
    ]
    return hashlib.blake2b(to_json(said, inf_nan_mode="strings"), digest_size=16).digest()


def _called(calls: Any) -> list[Any]:
    return [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
