"""A sheet that came back, as feedback: every good row is stored, every wrong cell is named.

The same sheet read twice stores nothing new. A cell that was changed since is a new word of the same author.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prentice.errors import DataError
from prentice.records.base import digest
from prentice.records.chats import Message
from prentice.records.episodes import Episode
from prentice.records.feedback import COMMENT, DEMONSTRATION, SUCCESS, Feedback
from prentice.records.labelling.answers import as_text, check_text, corrected, shortened, tidy
from prentice.records.labelling.sheet_cells import Fault, Line, read_lines
from prentice.records.labelling.sheet_rows import AUTHOR, BETTER, EPISODE, REMARK, TURN, VERDICT, WHOLE
from prentice.records.labelling.words import Draft, Words, check_author, written
from prentice.records.store import Store

SHEET = "sheet:"
"""How the ids of words begin that came on a sheet."""
_AT_ONCE = 256
"""Rows whose episodes are in memory at once."""
_YES = {"accept", "accepted", "a", "yes", "y", "true", "ok", "right", "correct", "good", "1", "✓", "✔"}
_NO = {"reject", "rejected", "r", "no", "n", "false", "wrong", "incorrect", "bad", "0", "✗", "✘"}


@dataclass
class SheetOutcome:
    """What a sheet came to."""

    rows: int = 0
    """Rows in which something was written."""
    new: Counter[str] = field(default_factory=Counter)
    """Words that were not stored before, by name."""
    known: int = 0
    """Words that were."""
    faults: list[Fault] = field(default_factory=list)


def read_sheet(store: Store, path: Path, author: str, *, dry_run: bool = False) -> SheetOutcome:
    """Store what experts wrote on a sheet.

    Args:
        author: whose words they are where the row names nobody.
        dry_run: store nothing, and say what would be.
    Raises: DataError if the sheet as a whole cannot be read; MissingExtraError for a spreadsheet without `openpyxl`.
    """
    lines = [line for line in read_lines(path) if line.is_filled_in]
    reader = _Reader(store, author, lines)
    outcome = SheetOutcome(rows=len(lines))
    new: list[Feedback] = []
    for start in range(0, len(lines), _AT_ONCE):
        some = lines[start : start + _AT_ONCE]
        reader.look_up(some)
        for line in some:
            feedback, known = reader.read(line)
            outcome.faults += line.faults
            outcome.known += known
            new += feedback
    outcome.new = Counter(each.name for each in new)
    if new and not dry_run:
        for refusal in store.add_feedback(new).refused:  # deleted since it was looked up
            outcome.faults.append(Fault(0, "", refusal.message))
    return outcome


class _Reader:
    """Rows to feedback, one after the other."""

    def __init__(self, store: Store, author: str, lines: Iterable[Line]) -> None:
        self._store, self._author = store, author
        self._episodes: dict[str, Episode] = {}
        ids = sorted({_id(line) for line in lines})
        self._said: dict[tuple[str, str], list[Feedback]] = {}
        for each in store.feedback_on(ids):
            self._said.setdefault((each.episode, each.author), []).append(each)
        self._rows: dict[tuple[str, int | None, str], int] = {}

    def look_up(self, lines: Iterable[Line]) -> None:
        """Get ready for these rows."""
        self._episodes = {each.id: each for each in self._store.these(sorted({_id(line) for line in lines}))}

    def read(self, line: Line) -> tuple[list[Feedback], int]:
        """What is new in a row, and how many words of it are known; what is wrong with it is added to its faults."""
        episode = self._episode(line)
        author = self._name(line)
        if episode is None or line.faults:
            return [], 0
        turn = _turn(line, episode)
        place = (episode.id, turn, author)
        if not line.faults and self._rows.setdefault(place, line.row) != line.row:
            problem = f"row {self._rows[place]} is about the same turn of the same episode, by the same author"
            line.faults.append(line.fault(EPISODE, problem))
        said = self._said.setdefault((episode.id, author), [])
        drafts = [] if line.faults else list(_drafts(line, Words(episode, said), turn))
        if line.faults:
            return [], 0
        new = [each for draft in drafts if (each := self._new(episode, author, draft, said)) is not None]
        said += new
        return new, len(drafts) - len(new)

    def _episode(self, line: Line) -> Episode | None:
        id_ = _id(line)
        if not id_:
            line.faults.append(line.fault(EPISODE, "is empty: which episode is this about?"))
            return None
        episode = self._episodes.get(id_)
        if episode is None:
            hint = "; a spreadsheet may have made a number of it" if _looks_like_a_number(id_) else ""
            line.faults.append(line.fault(EPISODE, f"no episode {shortened(id_)} is stored{hint}"))
        return episode

    def _name(self, line: Line) -> str:
        try:
            return check_author(line.cells.get(AUTHOR, "")) or self._author
        except DataError as error:
            line.faults.append(line.fault(AUTHOR, error.problem))
            return ""

    def _new(self, episode: Episode, author: str, draft: Draft, said: Sequence[Feedback]) -> Feedback | None:
        """The draft as feedback; None if this author's last sheet said the same.

        Only sheets are compared: an old sheet that is read again does not overrule what was said in between.
        """
        turn, name, value = draft
        before = [s for s in said if s.id.startswith(SHEET) and (s.name, s.turn) == (name, turn)]
        what = value.model_dump(mode="json") if isinstance(value, Message) else value
        id_ = f"{SHEET}{digest([author, episode.id, turn, name, what, len(before)])}"
        (made,) = written(episode.id, author, [draft], lambda _: id_)
        if self._store.guard is not None:
            made = self._store.guard.feedback(made)
        last = before[-1] if before else None
        return None if last and (last.value, last.demonstration) == (made.value, made.demonstration) else made


def _id(line: Line) -> str:
    return line.cells.get(EPISODE, "").strip()


def _turn(line: Line, episode: Episode) -> int | None:
    """The turn that a row is about; None for the whole episode."""
    text, turns = line.cells.get(TURN, "").strip(), len(episode.turns)
    if text.casefold() == WHOLE or (not text and turns == 1):
        return 0 if turns == 1 else None
    if text.isdecimal() and text.isascii() and len(text) < 9 and int(text) < turns:
        return int(text)
    known = "0" if turns == 1 else f"0 to {turns - 1}, or {WHOLE}" if turns else WHOLE
    line.faults.append(line.fault(TURN, f"{shortened(text)} is no turn of this episode: {known}"))
    return None


def _drafts(line: Line, words: Words, turn: int | None) -> Iterator[Draft]:
    """The words of a row, without those whose cells are wrong."""
    episode = words.episode
    where = None if words.single else turn
    verdict = _verdict(line)
    better = _better(line, episode, turn)
    if better is not None and turn is not None:
        changed = better != episode.turns[turn].reply.message
        verdict = verdict if verdict is not None else not changed
        if changed:
            yield turn, DEMONSTRATION, better
    elif verdict is not None:
        yield from ((t, name, value) for t, name, value in words.judge(turn, accept=verdict) if name != SUCCESS)
    if verdict is not None:
        yield where, SUCCESS, verdict
    remark = tidy(line.cells.get(REMARK, "")).strip()
    try:
        check_text(remark)
    except DataError as error:
        line.faults.append(line.fault(REMARK, error.problem))
        return
    if remark:
        yield where, COMMENT, remark


def _verdict(line: Line) -> bool | None:
    text = " ".join(line.cells.get(VERDICT, "").replace("\xa0", " ").split()).casefold().rstrip(".!")
    if not text:
        return None
    if text in _YES or text in _NO:
        return text in _YES
    line.faults.append(line.fault(VERDICT, f"{shortened(text)} is no verdict: write accept or reject"))
    return None


def _better(line: Line, episode: Episode, turn: int | None) -> Message | None:
    text = line.cells.get(BETTER, "")
    if not text.strip():
        return None
    if turn is None:
        line.faults.append(line.fault(BETTER, "a better answer is one of a turn: write it into the row of that turn"))
        return None
    reply = episode.turns[turn].reply.message
    try:
        return reply if tidy(text) == tidy(as_text(reply)) else corrected(episode.turns[turn], text)
    except DataError as error:
        line.faults.append(line.fault(BETTER, str(error)))
        return None


def _looks_like_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
