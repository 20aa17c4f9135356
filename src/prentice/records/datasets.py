"""Datasets: frozen rows to train on, and the ledger of every row that came in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from prentice.records.base import Record
from prentice.records.chats import Message, Tool, said

PairSource = Literal["episodes", "edits", "critic"]
"""Who says which reply is better: what came of the episodes, a person who wrote a better one, or a critic model."""


class Example(Record):
    """One row to imitate: a chat as the student will see it and the reply it shall give."""

    id: str
    episode: str
    """The episode it came from; for a human label, the case's id with the prefix `human:`."""
    case: str
    turn: int = 0
    split: Literal["train", "val"] = "train"
    """`val` rows choose the checkpoint; no case is in both."""
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    reply: Message
    weight: float = Field(1.0, gt=0)


class Thumb(Example):
    """A reply with a thumb up or down: what it is worth without another one beside it."""

    good: bool


class Pair(Record):
    """Two replies to one chat, of which one is better."""

    id: str
    episodes: tuple[str, ...]
    """The episodes that the two replies came from; one alone where the better reply was written by a person."""
    case: str
    turn: int = 0
    split: Literal["train", "val"] = "train"
    """`val` pairs choose the checkpoint; no case is in both."""
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    chosen: Message
    rejected: Message
    weight: float = Field(1.0, gt=0)
    source: PairSource = "episodes"
    reason: str = ""
    """Why the chosen one is better, in the words of who said so."""

    @model_validator(mode="after")
    def _sides_differ(self) -> Pair:
        if said(self.chosen) == said(self.rejected):
            raise ValueError(f"pair {self.id}: both sides say the same, so nothing can be preferred")
        return self

    def side(self, reply: Message, name: str) -> Example:
        """One side as a row of its own, called `ID (NAME)` in errors."""
        return Example(
            id=f"{self.id} ({name})",
            episode=self.id,
            case=self.case,
            turn=self.turn,
            split=self.split,
            messages=self.messages,
            tools=self.tools,
            reply=reply,
            weight=self.weight,
        )


class Ledger(Record):
    """Every row that came in is kept or counted under one reason."""

    rows_in: int
    kept: int
    dropped: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adds_up(self) -> Ledger:
        if self.rows_in != self.kept + sum(self.dropped.values()):
            raise ValueError(f"ledger does not add up: {self.rows_in} in, {self.kept} kept, dropped {self.dropped}")
        return self


class Manifest(Record):
    """What a dataset is made of; `hash` covers the rows, so equal rows are an equal dataset.

    Of pairs the ledger counts replies: one that stands in a pair is kept, in however many.
    """

    version: Literal[1] = 1
    hash: str
    ledger: Ledger
    splits: dict[str, int]
    """Rows per split."""
    config: dict[str, JsonValue]
    runs: tuple[str, ...] = ()
    """The rollout runs whose episodes came in."""
    demonstrations: int = 0
    """Kept rows whose reply was demonstrated, by a person most often, instead of being the policy's own."""
    notes: tuple[str, ...] = ()
    """What else is to be known of it, in words."""
    replies_without_rows: tuple[str, ...] = ()
    """Choices that the task allows and no kept row shows: the student cannot learn them."""
