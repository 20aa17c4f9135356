"""Calls as they were recorded at work: each is a turn on its way into an episode that grows call by call."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from prentice.records.base import Record
from prentice.records.episodes import Episode, Failure, Split, Turn


class Call(Record):
    """One recorded call; of two with the same id only the first is stored."""

    version: Literal[1] = 1
    id: str
    episode: str
    """Id of the episode that it is the next turn of."""
    run: str
    task: str
    case: str
    split: Split = "train"
    policy: str
    at: AwareDatetime
    turn: Turn | None = None
    """None where the call failed."""
    failure: Failure | None = None
    tags: dict[str, str] = Field(default_factory=dict)

    def begun(self) -> Episode:
        """The episode that begins with this call."""
        return Episode(
            id=self.episode,
            run=self.run,
            task=self.task,
            case=self.case,
            split=self.split,
            policy=self.policy,
            turns=() if self.turn is None else (self.turn,),
            failure=self.failure,
            started_at=self.at,
            tags=self.tags,
        )

    def added_to(self, episode: Episode) -> Episode:
        """The episode with this call as its next turn; a failure stays only while it is what came last."""
        turns = episode.turns if self.turn is None else (*episode.turns, self.turn)
        return episode.model_copy(update={"turns": turns, "failure": self.failure})
