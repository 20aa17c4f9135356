"""The guard at the record boundary: what every episode and all feedback passes on its way into a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from prentice.records.calls import Call
from prentice.records.episodes import Episode
from prentice.records.feedback import Feedback


class Guard(Protocol):
    """Changes what must not be stored as it is, such as personal data. It is pickled for other processes."""

    found: Counter[Any]
    """How much it found in this process, by kind."""

    def told(self, found: Mapping[Any, int]) -> str:
        """One line on what was found and what became of it; empty where nothing was."""
        ...

    def episode(self, episode: Episode) -> Episode:
        """The episode as it may be stored."""
        ...

    def call(self, call: Call) -> Call:
        """The recorded call as it may be stored."""
        ...

    def feedback(self, feedback: Feedback) -> Feedback:
        """The feedback as it may be stored."""
        ...
