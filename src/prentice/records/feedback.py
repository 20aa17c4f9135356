"""Feedback: what a person, a judge or a program says of an episode or one of its turns, at once or weeks later.

A number, a flag or a comment becomes a metric of its episode; a demonstration says what the reply should have been.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from prentice.records.base import Record
from prentice.records.chats import Message
from prentice.records.episodes import Demonstration, Value

SUCCESS, COMMENT, DEMONSTRATION = "success", "comment", "demonstration"
"""Names that mean the same everywhere: accepted or rejected, a remark, a better reply."""
LONGEST = 100_000
"""Characters of a comment or a demonstration."""
Id = Annotated[str, StringConstraints(min_length=1, max_length=400)]


class Feedback(Record):
    """One thing said of an episode or a turn; of two with the same id only the first is stored."""

    version: Literal[1] = 1
    id: Id
    episode: Id
    turn: int | None = Field(None, ge=0)
    """Index of the turn; None: the whole episode. A demonstration without one is of the last turn."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    value: Value | None = None
    """A flag, a number, or the text of a comment."""
    demonstration: Message | None = None
    """What the reply should have been."""
    source: Literal["judge", "program", "person"] = "person"
    author: Annotated[str, StringConstraints(max_length=200)] = ""
    at: AwareDatetime

    @model_validator(mode="after")
    def _says_one_thing(self) -> Feedback:
        if (self.value is None) == (self.demonstration is None):
            raise ValueError("feedback has either a value or a demonstration")
        if self.demonstration is not None and self.demonstration.role != "assistant":
            raise ValueError(f"a demonstration is a message of the assistant, not of role {self.demonstration.role!r}")
        text = self.value if isinstance(self.value, str) else self.demonstration.content if self.demonstration else ""
        if len(text) > LONGEST:
            raise ValueError(f"its text has {len(text):,} characters; {LONGEST:,} are allowed")
        return self

    def demonstrates(self, turns: int) -> Demonstration:
        """The demonstration as its episode holds it.

        Args:
            turns: how many turns the episode has.
        """
        if self.demonstration is None:
            raise ValueError("no demonstration")
        turn = turns - 1 if self.turn is None else self.turn
        return Demonstration(turn=turn, message=self.demonstration, source=self.source, author=self.author, at=self.at)


class Refusal(Record):
    """Feedback that cannot be stored, and why."""

    feedback: str
    reason: Literal["unknown episode", "unknown turn", "other content"]
    message: str


class FeedbackOutcome(Record):
    """What became of feedback that came in."""

    new: int = 0
    known: int = 0
    """Stored before under the same id."""
    refused: tuple[Refusal, ...] = ()
