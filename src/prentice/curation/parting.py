"""Where attempts at one case part ways: the first turn at which both were shown the same and replied otherwise.

What comes before is the same in both, and what comes after was shown to one of them alone: only there can the two
replies be held against each other. A multi-turn failure may have gone wrong later still; pairs from episodes cannot
tell, which is why several tries of a case are better than two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from prentice.curation.critic import Judged
from prentice.curation.facts import check_names
from prentice.curation.material import Material
from prentice.curation.rows import Render, Row, demonstrated, make_row
from prentice.curation.selection import AGAIN, Attempt
from prentice.records import PairSource

SAME = "both sides say the same"
APART = "what came before was shown to one side alone"
"""The environment took another way although all replies were equal."""
ONCE = "its case was tried once"
ALIKE = "all attempts at its case are equally good"
UNKNOWN = "nobody says how good it is"


@dataclass(frozen=True, eq=False)
class Candidate:
    """Two replies to one prompt, of which one is said to be better."""

    better: Row
    worse: Row
    source: PairSource
    reason: str

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for candidates that teach the same."""
        return self.better.prompt, self.better.reply, self.worse.reply

    @property
    def opposite(self) -> tuple[object, ...]:
        """The key of one that says the contrary."""
        return self.better.prompt, self.worse.reply, self.better.reply


def parting(one: Sequence[Row], other: Sequence[Row]) -> tuple[Row, Row] | str:
    """The two replies at which attempts part ways, or why there are none."""
    for a, b in zip(one, other, strict=False):
        if a.prompt != b.prompt:
            return APART
        if a.reply != b.reply:
            return a, b
    return SAME


def from_episodes(material: Material, *, strict: bool = True) -> list[Candidate]:
    """The reply of the better attempt over that of the worse, for every two attempts at one case that differ in it.

    Raises: ConfigError if it is strict, and no attempt has what says how good it is.
    """
    found: list[Candidate] = []
    cases = material.cases
    if strict and cases:
        check_names(material.better, (attempt.facts for attempts in cases for attempt in attempts))
    for attempts in cases:
        for a, b in _decided(material, attempts):
            good, bad = material.values[a.episode.id], material.values[b.episode.id]
            sides = _sides(material, a, b)
            if sides is not None:
                found.append(Candidate(*sides, "episodes", f"`{material.better.text}` is {good:g} against {bad:g}"))
        reason = _why_none(material, attempts)
        for attempt in attempts if reason else ():
            for row in material.rows[attempt.episode.id]:
                material.lose(row, reason)
    return found


def undecided(material: Material, per_case: int) -> list[tuple[Row, Row]]:
    """Replies that nobody has held against each other: of attempts at one case that are equally good, or of which
    nobody says how good they are; each two different ones once, and at most so many of a case."""
    found: list[tuple[Row, Row]] = []
    for attempts in material.cases:
        own: dict[tuple[object, ...], tuple[Row, Row]] = {}
        for a, b in combinations(attempts, 2):
            if material.values.get(a.episode.id) != material.values.get(b.episode.id):
                continue
            sides = parting(material.rows[a.episode.id], material.rows[b.episode.id])
            if not isinstance(sides, str) and not (sides[0].fate or sides[1].fate):
                own.setdefault((sides[0].prompt, frozenset(side.reply for side in sides)), sides)
        found += list(own.values())[:per_case]
    return found


def from_critic(material: Material, sides: Sequence[tuple[Row, Row]], judged: Sequence[Judged]) -> list[Candidate]:
    """The replies that a critic preferred, both times it was asked."""
    found: list[Candidate] = []
    for (one, other), said in zip(sides, judged, strict=True):
        if said.winner is None:
            for row in (one, other):
                material.lose(row, f"the critic: {said.reason}")
        else:
            better, worse = (one, other) if said.winner == 0 else (other, one)
            found.append(Candidate(better, worse, "critic", said.reason))
    return found


def from_edits(material: Material, render: Render) -> list[Candidate]:
    """What a person, a program or a judge wrote instead of a reply, over that reply."""
    found: list[Candidate] = []
    for attempt in material.attempts:
        episode = attempt.episode
        if attempt.fate == AGAIN or episode.id not in material.rows:
            continue
        for turn in demonstrated(episode):
            given = [each for each in episode.demonstrations if each.turn == turn][-1]
            edit, own = make_row(episode, turn, given.message, render), material.rows[episode.id][turn]
            if edit.reply == own.reply:
                material.lose(own, SAME)
            elif edit.fate or own.fate:
                material.lose(own, edit.fate or own.fate)
            else:
                by = given.author or f"a {given.source}"
                found.append(Candidate(edit, own, "edits", f"edited by {by}"))
    return found


def _decided(material: Material, attempts: Sequence[Attempt]) -> Iterator[tuple[Attempt, Attempt]]:
    """Better and worse attempt, for every two of which that is known."""
    known = [a for a in attempts if a.episode.id in material.values]
    for a, b in combinations(known, 2):
        one, other = material.values[a.episode.id], material.values[b.episode.id]
        if one != other:
            yield (a, b) if one > other else (b, a)


def _sides(material: Material, better: Attempt, worse: Attempt) -> tuple[Row, Row] | None:
    rows = material.rows[better.episode.id], material.rows[worse.episode.id]
    sides = parting(*rows)
    if isinstance(sides, str):
        for row in (*rows[0], *rows[1]):
            material.lose(row, sides)
        return None
    return None if sides[0].fate or sides[1].fate else sides


def _why_none(material: Material, attempts: Sequence[Attempt]) -> str:
    """Why a case has nothing to hold against each other; empty where it has."""
    values = [material.values[a.episode.id] for a in attempts if a.episode.id in material.values]
    if not values:
        return UNKNOWN
    if len(attempts) == 1:
        return ONCE
    if len(set(values)) > 1:
        return ""
    return {0.0: "its case has failures only", 1.0: "its case has successes only"}.get(values[0], ALIKE)
