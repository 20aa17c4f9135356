"""How a chat looks, and what each key does in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from prentice.app.cli import keyboard
from prentice.app.cli.episode_views import harmless, message_view
from prentice.app.cli.label_screen import key_line
from prentice.errors import DataError
from prentice.pipeline.chat import Answer, Chat, Exchange, Preference, Standing
from prentice.records.labelling.answers import as_text

WIDE = 100
"""Columns from which on two answers stand side by side."""
_REMARKS = (("e", "edit"), ("c", "comment"), ("enter", "go on"))
ONE = (("+", "good"), ("-", "bad"), *_REMARKS)
TWO = (("l", "left is better"), ("r", "right"), ("b", "both good"), ("n", "neither"), *_REMARKS)
COMMANDS = "/reset begins anew, /reveal ends and says who did how well, /quit ends without"
_PREFERENCES: dict[str, Preference] = {
    "l": "left",
    keyboard.LEFT: "left",
    "r": "right",
    keyboard.RIGHT: "right",
    "b": "both",
    "n": "neither",
}


class Talk:
    """One chat at a terminal.

    Args:
        say: has the chat answer.
    """

    def __init__(self, chat: Chat, console: Console, say: Callable[[str], Exchange]) -> None:
        self._chat, self._console, self._say = chat, console, say
        self._blind = len(chat.speakers) > 1

    def run(self, specs: Sequence[str]) -> None:
        """Talk until the person leaves."""
        who = f"{len(specs)} models, left and right by chance" if self._blind else specs[0]
        self._tell(f"{who}; kept in {self._chat.store.place}. {COMMANDS}")
        typed = ""
        while (text := keyboard.line("you: ", typed)) is not None:
            typed, text = "", text.strip()
            if text in ("/quit", "/reveal"):
                break
            if text == "/reset":
                self._chat.reset()
                self._tell("a new conversation")
            elif text.startswith("/"):
                self._tell(f"{text.split()[0]} is no command: {COMMANDS}")
            elif text:
                typed = self._exchange(text)
        self._end(text or "/quit")

    def _exchange(self, text: str) -> str:
        """Ask, show, and take in what the person thinks of it; return how the next message begins."""
        try:
            exchange = self._say(text)
        except KeyboardInterrupt:
            self._tell("stopped; nothing of it is kept")
            return ""
        except DataError as error:
            self._tell(str(error))
            return ""
        self._show(exchange)
        if all(answer.message is None for answer in exchange.answers):
            return ""
        self._console.print(key_line(TWO if self._blind else ONE))
        typed = self._remarks(exchange)
        self._console.print()
        return typed

    def _remarks(self, exchange: Exchange) -> str:
        while True:
            try:
                pressed = keyboard.key()
            except (KeyboardInterrupt, EOFError):
                return ""
            if pressed in (keyboard.ENTER, keyboard.ESCAPE):
                return ""
            try:
                told = self._remark(pressed, exchange)
            except DataError as error:
                told = f"not kept: {error}"
            if told is None:
                return pressed if len(pressed) == 1 and pressed.isprintable() else ""
            self._tell(told)

    def _remark(self, pressed: str, exchange: Exchange) -> str | None:
        """What came of a key; None if it begins the next message."""
        if self._blind and pressed in _PREFERENCES:
            self._chat.prefer(_PREFERENCES[pressed])
            return _PREFERENCES[pressed] + (" is better" if pressed not in ("b", "n") else "")
        if not self._blind and pressed in ("+", "-"):
            self._chat.thumb(exchange.answers[0], up=pressed == "+")
            return "good" if pressed == "+" else "bad"
        if pressed not in ("e", "c"):
            return None
        answer = self._which(exchange)
        if answer is None or answer.message is None:
            return "nothing was changed"
        return self._edit(answer) if pressed == "e" else self._comment(answer)

    def _which(self, exchange: Exchange) -> Answer | None:
        """The answer that is meant: the better one, else the one that the person names."""
        if not self._blind or exchange.preference in ("left", "right"):
            return exchange.answers[exchange.chosen if self._blind else 0]
        self._tell("which one? l or r")
        place = {"left": 0, "right": 1}.get(_PREFERENCES.get(keyboard.key(), ""))
        return None if place is None else exchange.answers[place]

    def _edit(self, answer: Answer) -> str:
        text = keyboard.edited(as_text(answer.best)) if answer.best else None
        return "your answer is kept" if text and self._chat.correct(answer, text) else "nothing was changed"

    def _comment(self, answer: Answer) -> str:
        text = keyboard.line("comment: ")
        return "your comment is kept" if text and self._chat.comment(answer, text) else "no comment"

    def _show(self, exchange: Exchange) -> None:
        titles = ("left", "right") if self._blind else (exchange.answers[0].speaker.spec,)
        views = [_view(answer, title, self._blind) for answer, title in zip(exchange.answers, titles, strict=True)]
        if self._blind and self._console.width >= WIDE:
            table = Table.grid(expand=True, padding=(0, 2))
            for _ in views:
                table.add_column(ratio=1)
            table.add_row(*views)
            self._console.print(table)
            return
        for view in views:
            self._console.print(view)

    def _end(self, how: str) -> None:
        if how == "/reveal":
            for standing in self._chat.standings():
                self._tell(_in_words(standing, "preferred" if self._blind else "good"))
        number = len(self._chat.exchanges)
        self._tell(f"{number:,} exchanges kept in {self._chat.store.place}")

    def _tell(self, text: str) -> None:
        self._console.print(Text(harmless(text), style="dim"))


def _view(answer: Answer, title: str, blind: bool) -> Group | Text:
    if answer.message is not None:
        return message_view(answer.message, title)
    failure = answer.words.episode.failure
    # what a provider complains about would say who it is
    why = "" if blind or failure is None else f": {failure.message}"
    return Text(harmless(f"{title} gave no answer{why}"), style="red")


def _in_words(standing: Standing, word: str) -> str:
    share = standing.share
    told = f"{standing.spec}: {word} in {standing.good:,} of {standing.judged:,}"
    if not standing.judged:
        return told
    value, low, high = (f"{100 * part:.0f}" for part in (share.value, share.low, share.high))
    return f"{told} ({value} %, 95 % interval {low} to {high} %)"
