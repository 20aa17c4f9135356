"""Pairs and thumbs as rows of the engine, checked as every row is, and the methods that learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from prentice.errors import TrainingError
from prentice.records import Pair, Thumb
from prentice.training.check import Checker
from prentice.training.forest import Row
from prentice.training.items import Item
from prentice.training.method import REFERENCE, Method, Scorer
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.losses import GOOD, KL, dpo_loss, kto_loss, preferred, told_apart

UNIT = 2
"""Rows of a pair; a thumb brings a stranger's row besides its own."""


def method_of(config: PreferenceConfig) -> Method:
    """What the settings say is learnt."""
    if config.loss == "kto":
        return Method(
            "preference",
            kto_loss(config.beta, config.desirable_weight, config.undesirable_weight),
            size=lambda rows: sum(item.row.weight for item in rows),
            reference=True,
            prepare=kl_known,
            also={"accuracy": told_apart},
        )
    return Method(
        "preference",
        dpo_loss(config.beta, config.label_smoothing, config.sft_weight),
        size=lambda rows: sum(item.row.weight for item in rows) / UNIT,
        reference=True,
        also={"accuracy": preferred},
    )


def pair_items(checker: Checker, pairs: Sequence[Pair]) -> list[Item]:
    """Two rows of each pair, the better reply first; one family that is never cut, so that its prompt is computed once.

    Raises: RowFaultError naming the pair and the side that cannot be trained; TrainingError if a pair's two sides are
        the same tokens.
    """
    sides = [
        side for pair in pairs for side in (pair.side(pair.chosen, "chosen"), pair.side(pair.rejected, "rejected"))
    ]
    rows = checker.check(sides)
    items: list[Item] = []
    for number, (pair, *two) in enumerate(zip(pairs, rows[0::2], rows[1::2], strict=True)):
        if two[0].row.tokens == two[1].row.tokens:
            raise TrainingError(
                f"{checker.where}: pair {pair.id}: both sides are the same tokens, so nothing can be preferred",
                "drop such pairs",
            )
        items += [
            Item(row.example.id, row.row, family=f"pair{number}", turn=turn, case=pair.case, whole=True)
            for turn, row in enumerate(two)
        ]
    return items


def thumb_items(checker: Checker, thumbs: Sequence[Thumb]) -> list[Item]:
    """Two rows of each thumb: its own, and its prompt with another one's reply, from which the KL is estimated.

    That reply is the one before it of another prompt, cut where the row would be longer than `max_tokens`.

    Raises: RowFaultError naming the row that cannot be trained.
    """
    rows = [checked.row for checked in checker.check(thumbs)]
    items: list[Item] = []
    for number, (thumb, row, place) in enumerate(zip(thumbs, rows, _strangers(rows), strict=True)):
        reply = rows[place].reply[: max(1, checker.max_tokens - len(row.prompt))]
        for turn, own in enumerate((row, replace(row, reply=reply))):
            item = Item(thumb.id, own, family=f"thumb{number}", turn=turn, case=thumb.case, whole=True)
            items.append(item.knowing({GOOD: (float(thumb.good),) * len(own.reply)}))
    return items


def kl_known(score: Scorer, rows: Sequence[Item]) -> list[Item]:
    """The thumbs' own rows, with the step's estimate of KL(pi, pi_ref): the mean, over the rows of strangers, of what
    the student has departed from its reference, and at least 0.

    Source: Ethayarajh et al., arXiv:2402.01306, section 4.1: replies y' of other prompts estimate it. Ours: one
        estimate for the whole step, over all micro-batches and processes, where TRL takes one for each micro-batch; and
        a reply is always one of another prompt.
    """
    strangers = [item for item in rows if item.turn == 1]
    departed = [
        sum(now) - sum(item.row.given[REFERENCE]) for item, now in zip(strangers, score(strangers), strict=True)
    ]
    estimate = max(0.0, fmean(departed))
    return [item.knowing({KL: (estimate,) * len(item.row.reply)}) for item in rows if item.turn == 0]


def _strangers(rows: Sequence[Row]) -> list[int]:
    """For each row the place of the last one before it that has another prompt; where all are equal, the one before."""
    alone = len({row.prompt for row in rows}) == 1
    found: list[int] = []
    for place, row in enumerate(rows):
        other = place - 1
        while not alone and rows[other].prompt == row.prompt:
            other -= 1
        found.append(other % len(rows))
    return found
