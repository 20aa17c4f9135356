"""A finished episode on its way to the store, and what the progress line says of those that got there."""

from __future__ import annotations

from typing import Self

from prentice.records import Episode, Record
from prentice.records.rows import EpisodeRows, to_rows


class Played(Record):
    """A finished episode, taken apart for the store where it was played, and what is counted of it."""

    rows: EpisodeRows
    success: bool
    failed: bool
    cost_usd: float
    processing_s: float

    @classmethod
    def of(cls, episode: Episode) -> Self:
        """Take it apart.

        Raises: DataError if it cannot be stored.
        """
        return cls(
            rows=to_rows(episode),
            success=episode.metric("success") is True,
            failed=episode.failure is not None,
            cost_usd=episode.total("cost_usd") or 0.0,
            processing_s=episode.total("processing_s") or 0.0,
        )


class Tally:
    """Counts of one go of a rollout."""

    def __init__(self) -> None:
        self.played = self.right = self.failed = self.in_flight = 0
        self.dollars = self.cpu = 0.0

    def count(self, episode: Played) -> None:
        """Take in one more finished episode."""
        self.played += 1
        self.right += episode.success
        self.failed += episode.failed
        self.dollars += episode.cost_usd
        self.cpu += episode.processing_s

    def facts(self) -> dict[str, str]:
        """Name → figure, as far as there is something to say."""
        facts = {"success": f"{self.right / self.played:.0%}"} if self.played else {}
        if self.dollars:
            facts["cost"] = f"${self.dollars:.4f}"
        elif self.cpu:
            facts["cost"] = f"{self.cpu:.0f} CPU-s"
        if self.failed:
            facts["failed"] = f"{self.failed:,}"
        if self.in_flight > 1:
            facts["in flight"] = f"{self.in_flight:,}"
        return facts
