"""What the progress line says beside the count."""

from __future__ import annotations

from prentice.records import Episode


class Tally:
    """Counts of one go of a rollout."""

    def __init__(self) -> None:
        self.played = self.right = self.failed = self.in_flight = 0
        self.dollars = self.cpu = 0.0

    def count(self, episode: Episode) -> None:
        """Take in one more finished episode."""
        self.played += 1
        self.right += episode.metric("success") is True
        self.failed += episode.failure is not None
        self.dollars += episode.total("cost_usd") or 0.0
        self.cpu += episode.total("processing_s") or 0.0

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
