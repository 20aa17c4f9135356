"""What a check says: findings, each about one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prentice.errors import PrenticeError
from prentice.records import Record

State = Literal["bad", "doubtful", "good"]
"""In the way of a run or of a true verdict; worth a look; as it should be."""
MOST_OF_A_KIND = 20
"""Findings that are listed one by one; more of the same are counted."""


class Finding(Record):
    """One thing that was looked at."""

    topic: str
    state: State
    text: str
    """With file and line in front, where there is one."""
    step: str = ""
    """What to do about it."""


def bad(topic: str, text: str, step: str = "") -> Finding:
    """Something in the way."""
    return Finding(topic=topic, state="bad", text=text, step=step)


def doubtful(topic: str, text: str, step: str = "") -> Finding:
    """Something worth a look."""
    return Finding(topic=topic, state="doubtful", text=text, step=step)


def good(topic: str, text: str) -> Finding:
    """Something as it should be."""
    return Finding(topic=topic, state="good", text=text)


def from_error(topic: str, error: PrenticeError) -> Finding:
    """What an error says, as a finding."""
    return bad(topic, error.problem, error.hint)


def shortened(findings: Sequence[Finding]) -> list[Finding]:
    """The first of many alike, and how many more there are."""
    if len(findings) <= MOST_OF_A_KIND:
        return list(findings)
    more = len(findings) - MOST_OF_A_KIND
    first = findings[0]
    rest = Finding(topic=first.topic, state=first.state, text=f"and {more:,} more like these", step=first.step)
    return [*findings[:MOST_OF_A_KIND], rest]
