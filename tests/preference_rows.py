"""Pairs and thumbs that a tiny model can be trained on."""

from __future__ import annotations

from collections.abc import Sequence

from prentice.records import Example, Message, Pair, Thumb
from training_models import examples

LABELS = ("card arrival", "transfer missing", "payment charged twice", "exchange rate", "other")


def wrong_for(example: Example, step: int = 1) -> Message:
    """A reply that is not the example's."""
    others = [label for label in LABELS if label != example.reply.content]
    return Message(role="assistant", content=others[step % len(others)])


def pairs(count: int = 8, *, val: int = 0) -> list[Pair]:
    """Pairs that share a system prompt; the last `val` of them are validation pairs."""
    return [
        Pair(
            id=f"pair{number}",
            episodes=(f"e{number}", f"f{number}"),
            case=example.case,
            split=example.split,
            messages=example.messages,
            chosen=example.reply,
            rejected=wrong_for(example, number),
            weight=example.weight,
        )
        for number, example in enumerate(examples(count, val=val))
    ]


def thumbs(count: int = 8, *, val: int = 0) -> list[Thumb]:
    """Thumbs up and down in turns."""
    rows = []
    for number, example in enumerate(examples(count, val=val)):
        good = number % 2 == 0
        reply = example.reply if good else wrong_for(example, number)
        rows.append(Thumb.model_validate({**dict(example), "id": f"thumb{number}", "reply": reply, "good": good}))
    return rows


def evenly(rows: Sequence[Pair]) -> list[Pair]:
    """The same, all of weight 1."""
    return [row.model_copy(update={"weight": 1.0}) for row in rows]
