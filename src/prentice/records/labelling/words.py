"""What one person has said of one episode, and how a new word is written down.

A word is feedback like any other. It is never changed: a later word of the same kind overrules an earlier one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from prentice.errors import DataError
from prentice.records.chats import Message
from prentice.records.episodes import Episode, Value, utc_now
from prentice.records.feedback import COMMENT, DEMONSTRATION, SUCCESS, Feedback
from prentice.records.labelling.answers import check_text, corrected

State = Literal["open", "accepted", "rejected", "corrected"]
Draft = tuple[int | None, str, Value | Message]
"""Turn, name, and what is said."""


class Words:
    """One person's words on one episode, in the order they were given."""

    def __init__(self, episode: Episode, said: Iterable[Feedback] = ()) -> None:
        self.episode = episode
        self.said = list(said)

    @property
    def single(self) -> bool:
        """Whether a word on a turn is one on the whole episode, as it has no other turn."""
        return len(self.episode.turns) < 2

    def verdict(self, turn: int | None) -> bool | None:
        """Whether the turn, or the whole episode, was accepted; None where nothing was said."""
        found = self._last(SUCCESS, turn)
        return found.value if found is not None and isinstance(found.value, bool) else None

    def shown(self, turn: int) -> Message | None:
        """What the reply of the turn should have been."""
        found = self._last(DEMONSTRATION, turn)
        return None if found is None else found.demonstration

    def comments(self, turn: int | None = None) -> list[str]:
        """The comments on the turn, or on the whole episode."""
        return [str(each.value) for each in self.said if each.name == COMMENT and each.turn == turn]

    @property
    def state(self) -> State:
        """Where the episode stands: open until it, or each of its turns, has been judged."""
        return state_of(self.said) or self._state_of_turns()

    def _state_of_turns(self) -> State:
        verdicts = [self.verdict(n) for n in range(len(self.episode.turns))]
        if not verdicts or None in verdicts:
            return "open"
        return "accepted" if all(verdicts) else _wrong(self.said)

    def judge(self, turn: int | None, *, accept: bool) -> list[Draft]:
        """The words that accept or reject a turn, or the whole episode.

        Accepting a reply that the same person has corrected says that the reply was right after all.
        """
        drafts: list[Draft] = [(None if self.single else turn, SUCCESS, accept)]
        place = 0 if self.single else turn
        if accept and place is not None and (shown := self.shown(place)) and shown != self._reply(place):
            drafts.append((place, DEMONSTRATION, self._reply(place)))
        return drafts

    def correct(self, turn: int, text: str) -> list[Draft]:
        """The words that say what the reply should have been, and so that it was wrong; none where nothing is new.

        Raises: DataError if the text cannot be a reply there.
        """
        message = corrected(self.episode.turns[turn], text)
        if message == self._reply(turn):
            return [] if self.shown(turn) in (None, message) else self.judge(turn, accept=True)
        if message == self.shown(turn):
            return []
        return [(turn, DEMONSTRATION, message), (None if self.single else turn, SUCCESS, False)]

    def comment(self, turn: int | None, text: str) -> list[Draft]:
        """The words of a comment; none where the same was the last one.

        Raises: DataError if the text cannot be kept.
        """
        text = text.strip()
        check_text(text)
        turn = None if self.single else turn
        return [(turn, COMMENT, text)] if text and text not in self.comments(turn)[-1:] else []

    def _reply(self, turn: int) -> Message:
        return self.episode.turns[turn].reply.message

    def _last(self, name: str, turn: int | None) -> Feedback | None:
        alike = (None, 0) if self.single else (turn,)
        return next((each for each in reversed(self.said) if each.name == name and each.turn in alike), None)


def state_of(said: Sequence[Feedback]) -> State | None:
    """Where an episode stands, as far as that can be told without knowing its turns."""
    verdict = next((each.value for each in reversed(said) if each.name == SUCCESS and each.turn is None), None)
    if verdict is not None:
        return "accepted" if verdict is True else _wrong(said)
    return None if any(each.name == SUCCESS for each in said) else "open"


def _wrong(said: Sequence[Feedback]) -> State:
    return "corrected" if any(each.name == DEMONSTRATION for each in said) else "rejected"


def written(
    episode: str, author: str, drafts: Sequence[Draft], id_of: Callable[[Draft], str] | None = None
) -> list[Feedback]:
    """Drafts as feedback of now.

    Args:
        id_of: gives the id of each; else the words of this call share a new one, and so make up one step.
    """
    step, now = uuid.uuid4().hex, utc_now()
    return [
        Feedback(
            id=id_of(draft) if id_of else f"{STEP}{step}:{number}",
            episode=episode,
            turn=draft[0],
            name=draft[1],
            value=None if isinstance(draft[2], Message) else draft[2],
            demonstration=draft[2] if isinstance(draft[2], Message) else None,
            author=author,
            at=now,
        )
        for number, draft in enumerate(drafts)
    ]


STEP = "label:"
"""How the ids of words begin that were given one after another, and so can be taken back."""


def step_of(feedback: Feedback) -> str | None:
    """The step that the feedback is a part of; None if it was not given in a session."""
    return feedback.id.rpartition(":")[0] if feedback.id.startswith(STEP) else None


def check_author(author: str) -> str:
    """The name, trimmed.

    Raises: DataError if it cannot be kept.
    """
    author = author.strip()
    check_text(author)
    if len(author) > 200:
        raise DataError(f"the author's name has {len(author)} characters; 200 are allowed")
    return author
