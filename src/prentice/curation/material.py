"""What pairs and thumbs are made of: every reply of the episodes under the student's prompt, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from prentice.curation.expression import Expression
from prentice.curation.rows import Render, Row, make_row
from prentice.curation.selection import AGAIN, Attempt, attempts_of, drop_failed
from prentice.errors import PrenticeError
from prentice.progress import Progress
from prentice.records import Episode, Message
from prentice.records.parquet import KEPT, LedgerRow

FOREIGN = "the task has no such prompt"


@dataclass(eq=False)
class Material:
    """Episodes on their way into pairs.

    Args:
        attempts: all of them; `fate` says why one takes no part.
        rows: episode → a row for each of its turns.
        values: episode → how good it is; an episode of which that is not known is not in it.
        better: the expression that says how good.
    """

    attempts: Sequence[Attempt]
    rows: Mapping[str, Sequence[Row]]
    values: Mapping[str, float]
    better: Expression
    used: set[tuple[str, int]] = field(default_factory=set)
    """Replies that stand in a pair, or have a thumb."""
    lost: dict[tuple[str, int], str] = field(default_factory=dict)
    """Other replies: why not."""

    @property
    def cases(self) -> list[list[Attempt]]:
        """The attempts that take part, those of a case together."""
        found: dict[str, list[Attempt]] = {}
        for attempt in self.attempts:
            if not attempt.fate:
                found.setdefault(attempt.episode.case, []).append(attempt)
        return list(found.values())

    @property
    def val(self) -> set[str]:
        """The cases that the task itself set aside for validation."""
        return {a.episode.case for a in self.attempts if a.episode.split == "val"}

    @property
    def runs(self) -> tuple[str, ...]:
        """The rollout runs that came in."""
        return tuple(sorted({a.episode.run for a in self.attempts}))

    def asked(self, row: Row) -> tuple[Message, ...]:
        """The chat as whoever replied was shown it."""
        episode, turn = place_of(row)
        return self._episodes[episode].turns[turn].request.messages

    @cached_property
    def _episodes(self) -> dict[str, Episode]:
        return {attempt.episode.id: attempt.episode for attempt in self.attempts}

    def lose(self, row: Row, reason: str) -> None:
        """Say why a reply is not used; the first reason stays."""
        self.lost.setdefault(place_of(row), reason)

    def ledger(self, otherwise: str) -> list[LedgerRow]:
        """What became of every reply.

        Args:
            otherwise: why one was not used of which nothing else is known.
        """
        lines: list[LedgerRow] = []
        for attempt in self.attempts:
            episode = attempt.episode
            rows = [] if attempt.fate == AGAIN else self.rows.get(episode.id, [])
            for turn in range(len(episode.turns)) if episode.turns else [None]:
                place = (episode.id, -1 if turn is None else turn)
                own = rows[turn].fate if turn is not None and turn < len(rows) else ""
                kept = place in self.used and attempt.fate != AGAIN
                fate = KEPT if kept else attempt.fate or own or self.lost.get(place, otherwise)
                lines.append(LedgerRow(episode=episode.id, turn=turn, case=episode.case, fate=fate))
        return lines


def material(episodes: Iterable[Episode], better: str, render: Render, progress: Progress) -> Material:
    """Put episodes into order, show each of their turns as the student sees it, and find how good each is.

    Args:
        better: an expression over an episode's facts; more is better.
    Raises: DataError if an episode is of the test split.
    """
    attempts = attempts_of(episodes)
    rows = _rows(attempts, render, progress)
    taking_part = drop_failed(attempts)
    expression = Expression(better, "pairs.better")
    known = [a for a in taking_part if all(name in a.facts for name in expression.names)]
    values = {a.episode.id: expression.number(a.facts) for a in known}
    return Material(attempts, rows, values, expression)


def place_of(row: Row) -> tuple[str, int]:
    """Episode and turn of a reply."""
    return row.example.episode, row.example.turn


def dropped(ledger: Sequence[LedgerRow]) -> dict[str, int]:
    """Reason → how many replies, the most frequent first."""
    return dict(Counter(line.fate for line in ledger if line.fate != KEPT).most_common())


def _rows(attempts: Sequence[Attempt], render: Render, progress: Progress) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    with progress.bar("prompts", len(attempts), "episodes") as bar:
        for attempt in attempts:
            bar.advance()
            episode = attempt.episode
            if attempt.fate:
                continue
            try:
                found[episode.id] = [make_row(episode, turn, None, render) for turn in range(len(episode.turns))]
            except (KeyError, PrenticeError):  # recorded at work, or of another task
                attempt.fate = FOREIGN
    return found
