"""One person going through episodes: each decision is stored at once, and can be taken back later.

This module does not know how anything looks or which key does what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from prentice.errors import DataError
from prentice.records.episodes import Episode
from prentice.records.feedback import Feedback
from prentice.records.labelling.words import Draft, State, Words, state_of, step_of, written
from prentice.records.store import Store


@dataclass(frozen=True)
class Tally:
    """How far one person has come."""

    total: int
    states: Counter[State]

    @property
    def judged(self) -> int:
        """Episodes that are not open."""
        return self.total - self.states["open"]


class Session:
    """One person's way through episodes.

    Args:
        store: where the episodes are and the words go.
        ids: the episodes, in the order they are to be shown.
        author: whose words they are.
        again: show also what this author has judged.
    """

    def __init__(self, store: Store, ids: Sequence[str], author: str, *, again: bool = False) -> None:
        self._store, self.author = store, author
        self._ids = list(ids)
        self._said, self._steps = _said_before(store, self._ids, author)
        self._states = {id_: state_of(said) or _state(store, id_, said) for id_, said in self._said.items()}
        self._queue = [id_ for id_ in self._ids if again or self._states.get(id_, "open") == "open"]
        self._place = -1
        self._past: set[str] = set()
        self._words: Words | None = None
        self.turn = 0
        """Number of the turn that is shown."""
        self.whole = True
        """Whether a verdict is about the whole episode, or the turn that is shown."""
        self._go_on()

    @property
    def words(self) -> Words | None:
        """The episode at hand with this author's words on it; None at the end."""
        return self._words

    @property
    def tally(self) -> Tally:
        """How far this author has come, earlier sessions included."""
        states = Counter(self._states.values())
        states["open"] = len(self._ids) - sum(n for state, n in states.items() if state != "open")
        return Tally(len(self._ids), states)

    def judge(self, *, accept: bool) -> None:
        """Accept or reject what is meant, and go on to what is next."""
        words = self._at_hand
        whole = self.whole or words.single
        self._say(words.judge(None if whole else self.turn, accept=accept))
        self._after_verdict(whole)

    def correct(self, text: str) -> bool:
        """Say what the reply of the turn should have been; return whether that was new.

        Raises: DataError if the text cannot be a reply there.
        """
        words = self._at_hand
        drafts = words.correct(self.turn, text)
        if drafts:
            self._say(drafts)
            self._after_verdict(words.single)
        return bool(drafts)

    def comment(self, text: str) -> bool:
        """Remark on what is meant; return whether that was new.

        Raises: DataError if the text cannot be kept.
        """
        drafts = self._at_hand.comment(None if self.whole else self.turn, text)
        self._say(drafts)
        return bool(drafts)

    def skip(self) -> None:
        """Go on without a word; the next session shows the episode again."""
        self._past.add(self._at_hand.episode.id)
        self._go_on()

    def undo(self) -> list[Feedback]:
        """Take back the last step, also one of an earlier session, and show its episode; return what was taken back."""
        if not self._steps:
            return []
        id_, step = self._steps.pop()
        gone = [each for each in self._said[id_] if step_of(each) == step]
        self._store.remove_feedback([each.id for each in gone])
        self._said[id_] = [each for each in self._said[id_] if step_of(each) != step]
        self._past.discard(id_)
        if id_ in self._queue:
            self._place = self._queue.index(id_)
        else:
            self._place = max(self._place, 0)
            self._queue.insert(self._place, id_)
        self._open(id_)
        self._states[id_] = self._at_hand.state
        turns = [each.turn for each in gone if each.turn is not None]
        self.turn = turns[0] if turns else self.turn
        return gone

    def move(self, by: int) -> None:
        """Show another turn."""
        self.turn = min(max(self.turn + by, 0), max(len(self._at_hand.episode.turns) - 1, 0))

    def toggle(self) -> None:
        """Change what a verdict is about."""
        self.whole = not self.whole

    @property
    def _at_hand(self) -> Words:
        if self._words is None:
            raise DataError("there is no episode left")
        return self._words

    def _say(self, drafts: Sequence[Draft]) -> None:
        """Store the words of one step, all or none."""
        words = self._at_hand
        said = written(words.episode.id, self.author, drafts)
        outcome = self._store.add_feedback(said)
        if outcome.refused:
            raise DataError(outcome.refused[0].message)
        words.said += said
        self._steps += [(words.episode.id, step) for each in said[:1] if (step := step_of(each))]
        self._said[words.episode.id] = words.said
        self._states[words.episode.id] = words.state

    def _after_verdict(self, whole: bool) -> None:
        words = self._at_hand
        last = self.turn == len(words.episode.turns) - 1
        if whole or (last and words.state != "open"):
            self._past.add(words.episode.id)
            self._go_on()
        elif not self.whole:
            self.move(1)

    def _go_on(self) -> None:
        self._words = None
        while self._words is None and self._place < len(self._queue):
            self._place += 1
            if self._place < len(self._queue) and self._queue[self._place] not in self._past:
                with suppress(DataError):  # someone has deleted it meanwhile
                    self._open(self._queue[self._place])

    def _open(self, id_: str) -> None:
        self._words = Words(load(self._store, id_), self._said.get(id_, []))
        self.turn = max(len(self._words.episode.turns) - 1, 0) if self.whole else 0


def _said_before(
    store: Store, ids: Sequence[str], author: str
) -> tuple[dict[str, list[Feedback]], list[tuple[str, str]]]:
    """What the author said of these episodes, and the steps in which that was given, each with its episode."""
    wanted = set(ids)
    found: dict[str, list[Feedback]] = {}
    steps: dict[tuple[str, str], None] = {}
    for each in store.feedback_where(author=author):
        if each.episode in wanted:
            found.setdefault(each.episode, []).append(each)
            if (step := step_of(each)) is not None:
                steps[each.episode, step] = None
    return found, list(steps)


def _state(store: Store, id_: str, said: Sequence[Feedback]) -> State:
    return Words(load(store, id_), said).state


def load(store: Store, id_: str) -> Episode:
    """The episode of that id.

    Raises: DataError if someone has deleted it.
    """
    found = next(store.these([id_]), None)
    if found is None:
        raise DataError(f"episode {id_!r} is no longer there")
    return found
