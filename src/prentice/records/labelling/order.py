"""Which episodes a person is shown, and in which order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from prentice.records.base import digest
from prentice.records.chats import Message
from prentice.records.episodes import Episode
from prentice.records.filters import Filter
from prentice.records.store import Store

Order = Literal["newest", "random", "uncertain"]


def in_order(store: Store, where: Filter, order: Order) -> list[str]:
    """The ids of the episodes that fit.

    Args:
        order: newest: stored last first. random: by a hash of the id, so that all people are shown the same ones, and
            new episodes move no old one. uncertain: those first whose replies had the smallest probability,
            or that other attempts at the same case disagree with; of equal ones the newest.
    """
    if order == "random":
        return sorted(store.newest(where), key=digest)
    if order == "newest":
        return store.newest(where)
    doubts = doubts_of(store.episodes(where))
    return sorted(store.newest(where), key=lambda id_: -doubts.get(id_, 0.0))


def doubts_of(episodes: Iterable[Episode]) -> dict[str, float]:
    """How doubtful each episode is, by its id: from 0 to 1."""
    seen = [(e.id, (e.task, e.case), digest([_said(t.reply.message) for t in e.turns]), _unsure(e)) for e in episodes]
    tries, agreeing = Counter(row[1] for row in seen), Counter(row[1:3] for row in seen)
    return {id_: max(unsure, 1 - agreeing[case, said] / tries[case]) for id_, case, said, unsure in seen}


def _said(message: Message) -> list[object]:
    return [message.content, [[call.name, call.arguments] for call in message.tool_calls]]


def _unsure(episode: Episode) -> float:
    """One minus the smallest mean probability of a reply's tokens; 0 where none is known."""
    known = [turn.reply.token_logprobs for turn in episode.turns if turn.reply.token_logprobs]
    return max((1 - math.exp(min(0.0, sum(t.logprob for t in each) / len(each))) for each in known), default=0.0)
