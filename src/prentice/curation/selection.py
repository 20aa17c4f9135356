"""Which attempts are worth learning from: those that did not fail, satisfy `keep`, and are the best of their case; and
which of their turns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prentice.curation.expression import Expression, Scalar
from prentice.curation.facts import check_names, facts_of, turn_facts
from prentice.curation.rows import Row, still_in
from prentice.errors import DataError
from prentice.records import Episode
from prentice.records.feedback import SUCCESS

AGAIN = "same episode twice"
REJECTED = "rejected by a person"


@dataclass(eq=False, slots=True)
class Attempt:
    """One episode on its way: `fate` is empty while it is in, else the reason it was dropped."""

    episode: Episode
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    fate: str = ""


def attempts_of(episodes: Iterable[Episode]) -> list[Attempt]:
    """Put episodes into an order that does not depend on when they were played, and find their facts.

    Raises: DataError if an episode is of the test split, or one case is in two splits.
    """
    ordered = sorted(episodes, key=lambda e: (e.case, e.run, e.attempt, e.id))
    splits: dict[str, str] = {}
    for episode in ordered:
        if episode.split == "test":
            raise DataError(
                f"episode {episode.id} of case {episode.case!r} is of the split 'test': nothing may be learnt from it",
                "curate episodes of the splits train and val only",
            )
        if splits.setdefault(episode.case, episode.split) != episode.split:
            raise DataError(f"case {episode.case!r} came in twice, once in the split 'train' and once in 'val'")
    attempts: dict[str, Attempt] = {}
    again: list[Attempt] = []
    for episode in ordered:
        if episode.id in attempts:
            again.append(Attempt(episode, fate=AGAIN))
        else:
            attempts[episode.id] = Attempt(episode)
    for attempt, facts in zip(attempts.values(), facts_of([a.episode for a in attempts.values()]), strict=True):
        attempt.facts = facts
    return [*attempts.values(), *again]


def drop_failed(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Drop what ended early, named by the boundary it crossed."""
    for attempt in attempts:
        failure = attempt.episode.failure
        if attempt.fate:
            continue
        if failure is not None:
            attempt.fate = f"failed: {failure.where}"
        elif not attempt.episode.turns:
            attempt.fate = "no turns"
    return _still_in(attempts)


def drop_unwanted(attempts: Sequence[Attempt], keep: Expression) -> list[Attempt]:
    """Drop what does not satisfy `keep`, and, under its own reason, what lacks a metric that `keep` names.

    Raises: ConfigError if no attempt has a metric of that name, or its values do not fit the expression.
    """
    if attempts:
        check_names(keep, (a.facts for a in attempts))
    for attempt in attempts:
        attempt.fate = _verdict(keep, attempt.facts)
    return _still_in(attempts)


def drop_rejected(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Drop what a person rejected as a whole, even where `keep` does not ask for `success`."""
    for attempt in attempts:
        if None in rejections(attempt.episode):
            attempt.fate = REJECTED
    return _still_in(attempts)


def rejections(episode: Episode) -> set[int | None]:
    """The turns that people rejected, None for the whole episode; the last person's word on each counts."""
    said = {m.turn: m.value for m in episode.metrics if m.name == SUCCESS and m.source == "person"}
    return {turn for turn, value in said.items() if value is False}


def drop_rejected_turns(attempts: Sequence[Attempt], rows: Sequence[Row]) -> list[Row]:
    """Drop the policies' own replies that a person rejected.

    Args:
        attempts: the episodes that `rows` are turns of.
    """
    rejected = {(a.episode.id, turn) for a in attempts for turn in rejections(a.episode)}
    for row in still_in(rows):
        if not row.shown and (row.example.episode, row.example.turn) in rejected:
            row.fate = REJECTED
    return still_in(rows)


def drop_unwanted_turns(attempts: Sequence[Attempt], rows: Sequence[Row], keep_turns: Expression) -> list[Row]:
    """Drop rows whose turn does not satisfy `keep_turns`, and, under its own reason, what lacks a metric it names.

    A demonstration stays, whatever is known of the reply it stands for.

    Args:
        attempts: the episodes whose turns are meant.
    Raises: ConfigError if no turn has a metric of that name, or its values do not fit the expression.
    """
    facts = {
        (attempt.episode.id, number): names
        for attempt in attempts
        for number, names in enumerate(turn_facts(attempt.episode, attempt.facts))
    }
    if facts:
        check_names(keep_turns, facts.values())
    for row in still_in(rows):
        if row.shown:
            continue
        row.fate = _verdict(keep_turns, facts[row.example.episode, row.example.turn])
    return still_in(rows)


def _verdict(keep: Expression, facts: Mapping[str, Scalar]) -> str:
    """Empty if `keep` says yes, else the reason why not."""
    missing = next((name for name in keep.names if name not in facts), None)
    if missing is not None:
        return f"no metric `{missing}`"
    try:
        return "" if keep.holds(facts) else f"`{keep.text}` is false"
    except ArithmeticError as error:
        return f"`{keep.text}` cannot be calculated: {error}"


def drop_second_best(attempts: Sequence[Attempt], best: int, rank_by: Expression | None) -> list[Attempt]:
    """Leave the `best` attempts of each case: highest rank first, then the earliest attempt.

    Raises: ConfigError if no attempt has a metric that `rank_by` names, or it gives no number.
    """
    if rank_by is not None and attempts:
        check_names(rank_by, (a.facts for a in attempts))
    cases: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        cases.setdefault(attempt.episode.case, []).append(attempt)
    for rivals in cases.values():
        rivals.sort(key=lambda a: (-_rank(a, rank_by), a.episode.attempt, a.episode.run, a.episode.id))
        for attempt in rivals[best:]:
            attempt.fate = f"not among the best {best} of its case"
    return _still_in(attempts)


def _rank(attempt: Attempt, rank_by: Expression | None) -> float:
    if rank_by is None:
        return 0.0
    if any(name not in attempt.facts for name in rank_by.names):
        return -math.inf
    try:
        return rank_by.number(attempt.facts)
    except ArithmeticError:
        return -math.inf


def _still_in(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [attempt for attempt in attempts if not attempt.fate]
