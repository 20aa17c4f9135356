"""Datasets: frozen rows to train on, and the ledger of every row that came in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from prentice.records.base import Record
from prentice.records.chats import Message, Tool


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
    """What a dataset is made of; `hash` covers the rows, so equal rows are an equal dataset."""

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
    replies_without_rows: tuple[str, ...] = ()
    """Choices that the task allows and no kept row shows: the student cannot learn them."""
