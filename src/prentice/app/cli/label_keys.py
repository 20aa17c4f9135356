"""What each key of `prentice label` does."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from prentice.app.cli import keyboard
from prentice.app.cli.label_screen import print_help
from prentice.errors import DataError
from prentice.records.feedback import COMMENT, DEMONSTRATION, Feedback
from prentice.records.labelling.answers import as_text
from prentice.records.labelling.session import Session


class Quit(Exception):  # noqa: N818 - not an error
    """The person leaves."""


def press(session: Session, console: Console, everything: bool) -> tuple[str, bool]:
    """Wait for a key and do what it says.

    Args:
        everything: whether long chats are shown whole.
    Returns: a note for the person, and `everything` from now on.
    Raises: Quit.
    """
    try:
        pressed = keyboard.key()
    except (KeyboardInterrupt, EOFError):
        raise Quit from None
    if pressed in ("q", "Q"):
        raise Quit
    if pressed == "v":
        return "", not everything
    if pressed == "?":
        print_help(console)
        _any_key()
        return "", everything
    act = _ACTS.get(pressed)
    if act is None:
        return f"{pressed!r} does nothing here; ? shows the keys", everything
    at_hand = session.words
    try:
        note = act(session)
    except DataError as error:
        return str(error), everything
    return note, everything and session.words is at_hand


def _any_key() -> None:
    try:
        keyboard.key()
    except (KeyboardInterrupt, EOFError):
        raise Quit from None


def _accept(session: Session) -> str:
    session.judge(accept=True)
    return "accepted"


def _reject(session: Session) -> str:
    session.judge(accept=False)
    return "rejected"


def _edit(session: Session) -> str:
    words = session.words
    if words is None or not words.episode.turns:
        return "it has no answer to edit"
    text = as_text(words.shown(session.turn) or words.episode.turns[session.turn].reply.message)
    while (changed := keyboard.edited(text)) is not None:
        try:
            return "your answer is kept" if session.correct(changed) else "nothing was changed"
        except DataError as error:
            keyboard.tell(f"not kept: {error}. e goes on editing, any other key drops it")
            if keyboard.key() != "e":
                return "nothing was changed"
            text = changed
    return "nothing was changed"


def _comment(session: Session) -> str:
    text = keyboard.line("comment: ")
    return "your comment is kept" if text and session.comment(text) else "no comment"


def _skip(session: Session) -> str:
    session.skip()
    return "skipped"


def _undo(session: Session) -> str:
    gone = session.undo()
    return f"taken back: {' and '.join(_named(each) for each in gone)}" if gone else "there is nothing to take back"


def _named(gone: Feedback) -> str:
    if gone.name == DEMONSTRATION:
        return "your answer"
    if gone.name == COMMENT:
        return "your comment"
    return "an acceptance" if gone.value is True else "a rejection"


def _next(session: Session) -> str:
    session.move(1)
    return ""


def _previous(session: Session) -> str:
    session.move(-1)
    return ""


def _toggle(session: Session) -> str:
    session.toggle()
    return ""


_ACTS: dict[str, Callable[[Session], str]] = {
    "a": _accept,
    "r": _reject,
    "e": _edit,
    "c": _comment,
    "s": _skip,
    "u": _undo,
    "n": _next,
    "p": _previous,
    keyboard.RIGHT: _next,
    keyboard.DOWN: _next,
    keyboard.LEFT: _previous,
    keyboard.UP: _previous,
    "t": _toggle,
}
